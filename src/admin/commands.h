/*
 * commands.h - what can be asked of a running tcpproxy: the table commands.def, and what each command needs
 * of the supervisor.
 *
 * admin/ knows snapshots only; the functions that take them, and that change connections and configurations,
 * are handed to it here.
 */
#ifndef ADMIN_COMMANDS_H
#define ADMIN_COMMANDS_H

#include "admin/server.h"
#include "stats/snapshot.h"

enum admin_change { ADMIN_ENABLE, ADMIN_DRAIN, ADMIN_DISABLE };

enum change_kind {
	CHANGE_WEIGHT, /* n */
	CHANGE_WEIGHT_PERCENT,
	CHANGE_WEIGHT_FILE,
	CHANGE_MAX, /* n; 0: no limit */
	CHANGE_MAX_FILE,
	CHANGE_FORCE_UP,
	CHANGE_FORCE_DOWN,
	CHANGE_FORCE_AUTO,
	CHANGE_FORGET, /* whatever it was */
};

enum server_is { SERVER_IS_UP, SERVER_IS_DOWN, SERVER_IS_DRAINED };

struct admin_ops {
	void *arg;
	/* Takes a snapshot, now or soon, and calls done with it (owned by the caller of done, who
	 * frees it). tcp: with what TCP says of each connection. */
	void (*look)(void *arg, bool connections, bool tcp, void (*done)(void *done_arg, struct snapshot *s),
	             void *done_arg);
	/* Ends those that are still there. */
	void (*kill)(void *arg, const struct connection_view *list, size_t n);
	/* Answers the client itself: with where to read what is seen of the connections that fit.
	 */
	void (*tap)(void *arg, struct admin_client *c, const struct connection_filter *filter);
	/* A service (what NULL), or a server: of this service, of all (service NULL); or whatever is called so.
	 * within_ms: connections of a server that are left then are ended; -1: they are not. false: `why` says what is
	 * wrong. */
	bool (*set_admin_state)(void *arg, const char *service, const char *what, enum admin_change change,
	                        int64_t within_ms, struct buf *why);
	/* `text` says what holds now, or, if false is returned, what is wrong. */
	bool (*change)(void *arg, const char *server, enum change_kind change, uint32_t n, struct buf *text);
	/* Answers the client itself, when all go by it. server: as behind "server"; of which one (remove): how it is spelt or
	 * called. */
	void (*add)(void *arg, struct admin_client *c, const char *service, const char *server);
	void (*remove)(void *arg, struct admin_client *c, const char *service, const char *server);
	/* All of all servers and services. */
	void (*forget_all)(void *arg, struct buf *text);
	/* What differs from the file, as commands. */
	void (*changes)(void *arg, struct buf *out);
	/* Is it so? 1, 0, or -1: `text` says what is wrong. */
	int (*is)(void *arg, const char *server, enum server_is is, struct buf *text);
	/* Answers the client itself, when the server has answered. */
	void (*check)(void *arg, struct admin_client *c, const char *server);
	/* Answers the client itself, when all go by it. */
	void (*reload)(void *arg, struct admin_client *c);
	/* Answers the client itself: another program may have to. */
	void (*upgrade)(void *arg, struct admin_client *c);
	const char *(*log_level)(void *arg);
	bool (*set_log_level)(void *arg, const char *level); /* false: no such level */
	/* As --explain: returns its exit code, or -1: `out` says what is wrong with the words. */
	int (*explain)(void *arg, const char *client, const char *local, char *const *more, size_t n, struct buf *out);
};

/* A line of `changes`, but for add and remove, said again without a client: no other command is obeyed. false: `why` says what is wrong. */
bool admin_again(const struct admin_ops *world, char **words, size_t n, struct buf *why);

/* For admin_setup.request: arg is a struct admin_ops. */
void admin_dispatch(void *arg, struct admin_client *c, char **words, size_t n);

#endif
