/*
 * meant.h - which services and servers are meant by a word: a port, a name, HOST:PORT as in the file, SERVICE/SERVER.
 */
#ifndef SUPERVISOR_MEANT_H
#define SUPERVISOR_MEANT_H

#include "base/buf.h"
#include "ipc/world.h"

/* Numbers in the world, each once. */
struct meant {
	uint32_t *list;
	size_t n;
};

/* The services of this port, name or ports ("8000-8010") that c has; a section with that name of its own is one. */
struct meant meant_services(const struct world *w, const struct config *c, const char *word);
/* The targets of this name or spelling, of one service only if that is said (NULL: of all); SERVICE/NAME says it, too. */
struct meant meant_servers(const struct world *w, const struct config *c, const char *service, const char *word);
/* Whether this one is also a server of another service: then it cannot be meant in one of them only. */
bool meant_elsewhere(const struct world *w, const struct config *c, const char *service, uint32_t target);
void meant_release(struct meant *m);

#endif
