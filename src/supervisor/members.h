/*
 * members.h - which servers the pools have, while that changes: the one way in which it does. A source of the configuration (a list, a
 * name, a program) has other servers now, or tcpproxyctl has added one or taken one out: the configuration that was read last is parsed
 * once more, with these, and taken as a reload takes one, but for what a change of servers cannot change: sockets, the log, the admin
 * sockets. No file is read for it.
 *
 * Who looks after sources of a kind (lists.c) calls members_set() with what one has now; which there are he is told by
 * members_events, and finds by members_of_sources(). Changes that come together are taken together.
 */
#ifndef SUPERVISOR_MEMBERS_H
#define SUPERVISOR_MEMBERS_H

#include "config/config.h"
#include "event/loop.h"
#include "ipc/roster.h"

struct supervisor;

struct members_events {
	/* Those of this configuration, which is not in force yet, are to say what they have now, as far as that is known at once. */
	void (*read)(void *arg, const struct config *c);
	/* Those of members.read are looked after from now on, and no others. */
	void (*look_after)(void *arg);
};

struct members {
	const struct members_events *events;
	struct config *read;  /* as the file says it; rules.config is that with the members */
	struct roster roster; /* what the file does not say */
	struct timer timer;   /* a change is to be taken */
	bool dirty;           /* one is */
	bool telling;         /* workers have not yet obeyed the last one */
};

/* At the start, when the world is there: what the supervisor before has kept, and what lists have now. rules.config is with the members
 * from then on. */
void members_begin(struct supervisor *s);
void members_end(struct supervisor *s);

/* What a newly read configuration is with the members: itself, if there are none; it is not in force before members_took(). NULL: it
 * is not to be (which does not happen), and *why says so. */
struct config *members_expand(struct supervisor *s, struct config *read, struct buf *why);
/* That is in force: read is taken over, what nobody wants any more is forgotten, lists are looked after. */
void members_took(struct supervisor *s, struct config *read);

/* A source, by struct source.line, has these servers now: one a line, as list_parse() makes them; "": none. Nothing happens if it has
 * had them. */
void members_set(struct supervisor *s, const char *line, const char *lines);
/* Calls each for every source of a configuration once, however many sections have it. */
void members_of_sources(struct supervisor *s, const struct config *c,
                        void (*each)(struct supervisor *s, const struct source *source));

/* By which tcpproxyctl means this section; NULL: there is none. */
const char *members_word(const struct supervisor *s, const struct section *section);
/* The roster was changed: that is taken now. */
void members_take(struct supervisor *s);

#endif
