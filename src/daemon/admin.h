/*
 * admin.h - looking into the supervisor and steering it: its admin sockets, and what their commands
 * do here.
 *
 * The sockets are bound while we are still root, and go over an upgrade, with the client that asked
 * for it.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "base/buf.h"
#include "config/config.h"
#include "os/user.h"

struct supervisor;

/* A socket of ours in the file system, or for the page. */
struct admin_socket {
	char *path; /* of the page: "tcp:ADDR:PORT" */
	bool page;
	int fd;
	char *made;  /* the directory that was made for it; NULL: it was there */
	char *token; /* of the page: what steering needs; NULL: looking only */
};

struct admin_sockets {
	struct admin_socket *list;
	size_t n;
};

/* Binds those of c that `before` lacks; takes the others from there, which keeps them too. false:
 * `why` says which cannot be had, nothing is left open. */
bool admin_sockets_open(struct supervisor *s, const struct config *c,
                        const struct admin_sockets *before, struct admin_sockets *ret,
                        struct buf *why);
/* Closes and removes what `except` (NULL: nothing) does not have; frees the list. */
void admin_sockets_close(struct supervisor *s, struct admin_sockets *sockets,
                         const struct admin_sockets *except);
/* Still root: the service user is to own them. */
void admin_sockets_give(const struct admin_sockets *sockets, const struct identity *id);

/* The trios are there. */
void admin_start(struct supervisor *s);
void admin_stop(struct supervisor *s);
/* A reload: from now on these, whose new ones are open. */
void admin_change_sockets(struct supervisor *s, struct admin_sockets *next);
/* A client that comes by another way than a socket of ours, and may speak; fd is taken. */
void admin_welcome(struct supervisor *s, int fd);
/* Somebody will look at what TCP says of the connections. */
void admin_want_facts(struct supervisor *s);
/* A worker has written what TCP says of its rows. */
void admin_facts_written(struct supervisor *s, uint32_t worker, uint64_t request);

/* admin_tap.c: answers the client with where to read what is seen. */
struct admin_client;
struct connection_filter;
struct snapshot;
void admin_tap(struct supervisor *s, struct admin_client *c,
               const struct connection_filter *filter);
/* Calls done once all workers have obeyed what they were told before (or do not answer). */
void admin_ask_workers(struct supervisor *s, void (*done)(void *arg, struct snapshot *shot),
                       void *arg);

/* The parts of a tap. ret (room for SOCK_MAX_FDS + 1): [0] is a socket that says when there is
 * something, and hangs up after the last worker; then a ring (base/tap.h) for each worker; ret[n]
 * is the workers' end of the socket. Returns n, or -errno. */
int tap_new(uint32_t n_workers, int *ret);
uint64_t tap_number(void); /* the next one */
/* A worker shall write there what it sees of these connections. */
struct crew;
struct tap_filter;
void tap_tell(struct crew *c, uint64_t number, const struct tap_filter *filter, int wake_fd,
              int ring_fd);

/* For an upgrade: the descriptors stay open in the next program, which finds them by the
 * environment; or not, after all. */
void admin_keep_over_exec(struct supervisor *s, bool keep);
/* Whoever waits for it; -1: nobody. */
int admin_upgrade_client(const struct supervisor *s);
/* In the next program, before anything is bound. */
void admin_inherit(struct supervisor *s);
/* The upgrade is over; the client that has asked for it is told. */
void admin_upgrade_over(struct supervisor *s, bool done, const char *text);

#endif
