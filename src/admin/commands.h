/*
 * commands.h - what can be asked of a running tcpproxy: the table commands.def, and what each needs
 * of the one who runs.
 *
 * admin/ knows snapshots only; how they are taken, and how connections and configurations are
 * changed, it is handed here.
 */
#ifndef ADMIN_COMMANDS_H
#define ADMIN_COMMANDS_H

#include "admin/server.h"
#include "stats/snapshot.h"

enum admin_standing { ADMIN_ENABLE, ADMIN_DRAIN, ADMIN_DISABLE };

struct admin_world {
	void *arg;
	/* Takes a snapshot, now or soon, and calls done with it (owned by the caller of done, who
	 * frees it). tcp: with what TCP says of each connection. */
	void (*look)(void *arg, bool connections, bool tcp,
	             void (*done)(void *done_arg, struct snapshot *s), void *done_arg);
	/* Ends those that are still there. */
	void (*kill)(void *arg, const struct connection_view *list, size_t n);
	/* Answers the client itself: with where to read what is seen of the connections that fit.
	 */
	void (*tap)(void *arg, struct admin_client *c, const struct connection_filter *filter);
	/* false: there is no such service or server. */
	bool (*set_standing)(void *arg, const char *what, enum admin_standing standing);
	/* false: nothing has changed; `text` says why. */
	bool (*reload)(void *arg, struct buf *text);
	/* Answers the client itself: another program may have to. */
	void (*upgrade)(void *arg, struct admin_client *c);
	const char *(*log_level)(void *arg);
	bool (*set_log_level)(void *arg, const char *level); /* false: no such level */
	/* As --explain: returns its exit code, or -1: `out` says what is wrong with the words. */
	int (*explain)(void *arg, const char *client, const char *local, struct buf *out);
};

/* For admin_setup.request: arg is a struct admin_world. */
void admin_obey(void *arg, struct admin_client *c, char **words, size_t n);

#endif
