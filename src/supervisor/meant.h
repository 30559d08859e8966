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
	size_t n_said; /* of servers: so many, the first ones, are called so; the others are members of a line that is (`each`, srv:) */
	char *within; /* of servers: the service that was said before a slash; NULL: none */
};

/* The services of this port, name or ports ("8000-8010") that c has; a section with that name of its own is one. */
struct meant meant_services(const struct world *w, const struct config *c, const char *word);
/* The targets of this name or spelling, of one service only if that is said (NULL: of all); SERVICE/NAME says it, too. */
struct meant meant_servers(const struct world *w, const struct config *c, const char *service, const char *word);
/* One of them is a server of other services, too, because it has no name: then it cannot be meant in this one (NULL: any) only; `why`
 * says so. */
bool meant_too_much(const struct world *w, const struct config *c, const char *service, const struct meant *m,
                    struct buf *why);
/* Those of this word that the configuration has. None: `why` says why not. */
struct meant meant_configured(const struct world *w, const struct config *c, const char *word, struct buf *why);
/* Is this section, or its service, meant by this word? */
bool meant_section(const struct world *w, const struct config *c, const struct section *s, const char *word);
void meant_release(struct meant *m);

#endif
