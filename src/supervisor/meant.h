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
	uint32_t *services; /* of servers: those in which alone they are meant, because one was said */
	size_t n_services;  /* 0: none was: they are meant in all */
};

/* The one of these in which they are meant: 0, 1 ... meant_n_services() - 1. COUNTED_SERVICES: in all. */
static inline size_t meant_n_services(const struct meant *m)
{
	return m->n_services ? m->n_services : 1;
}

static inline uint32_t meant_service(const struct meant *m, size_t i)
{
	return m->n_services ? m->services[i] : COUNTED_SERVICES;
}

/* The services of this port, name or ports ("8000-8010") that c has; a section with that name of its own is one. */
struct meant meant_services(const struct world *w, const struct config *c, const char *word);
/* The targets of this name or spelling, of one service only if that is said (NULL: of all); SERVICE/NAME says it, too. */
struct meant meant_servers(const struct world *w, const struct config *c, const char *service, const char *word);
/* Those of this word that the configuration has. None: `why` says why not. */
struct meant meant_configured(const struct world *w, const struct config *c, const char *word, struct buf *why);
/* Is this section, or its service, meant? */
bool meant_in(const struct meant *m, const struct world *w, const struct config *c, const struct section *s);
/* Is this section, or its service, meant by this word? */
bool meant_section(const struct world *w, const struct config *c, const struct section *s, const char *word);
void meant_release(struct meant *m);

#endif
