/*
 * rendezvous.h - where the next supervisor finds a trio whose own supervisor is dead.
 *
 * Each trio listens on an abstract SEQPACKET socket, @tcpproxy/NETNS/WHAT/N: the network namespace, the real path of
 * the configuration (or the -b list), the worker's number. It is made while we still are the user that started us, so
 * that no other can pretend to be a trio: both ends look at the other's user. Any process can take such a name before
 * us; then the door has another one, that and "~" and sixteen digits that cannot be guessed, and is found in the
 * kernel's list of sockets.
 *
 * Root is greeted. A process of the service user, which may be any program of the configuration, is greeted only if it
 * is a supervisor of ours: the one that the trio knows, which has executed another program (the pid is the same, and
 * its pidfd says that it lives), or one that knows the trio's key. It is asked for that; older versions, which do not
 * know the question, come by the first way alone.
 */
#ifndef IPC_RENDEZVOUS_H
#define IPC_RENDEZVOUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/* Descriptors that come with a greeting, in this order. */
enum greeting_fd {
	GREETING_TRIO, /* memfds */
	GREETING_WORLD,
	GREETING_WAKE, /* eventfds */
	GREETING_REARM,
	GREETING_DOOR,                  /* the listening socket itself */
	GREETING_FDS_1,                 /* so many came from the first versions */
	GREETING_SAID = GREETING_FDS_1, /* memfd: world.h */
	GREETING_FDS
};

/* A trio's first words to a process that knocks, of whatever version: new fields go to the end; then its listeners, as
 * WIRE_LISTEN messages, n_listeners in all. */
struct greeting {
	uint64_t magic;
	uint32_t trio_version, world_version; /* of the shared memory */
	uint32_t trio_size, world_size, row_size, cold_size;
	uint32_t number, n_workers;
	uint32_t supervised; /* its supervisor is alive: go away */
	uint32_t n_listeners;
	uint64_t next_id;   /* of access records */
	uint32_t has_stick; /* a WIRE_STICK follows the listeners */
	uint32_t pad;
};
#define GREETING_MAGIC 0x7463707064303031ULL

struct rendezvous_name {
	uint32_t number;
	socklen_t len;
	struct sockaddr_un sun;
};

/* what: the configuration's real path, or the -b list. Returns the listening socket or -errno. *taken: the usual name
 * was another process's. */
int rendezvous_open(const char *what, uint32_t number, bool *taken);
/* Every name that the door of a trio of these numbers, below `n`, may have: the usual ones, and those that the kernel knows. The
 * caller frees *ret. Returns how many. */
size_t rendezvous_names(const char *what, uint32_t n, struct rendezvous_name **ret);
/* Returns a connected socket, or -errno: -ECONNREFUSED: there is none; -EPERM: it belongs neither to `owner` nor to root; -EAGAIN:
 * more wait there than the kernel holds. */
int rendezvous_connect(const struct rendezvous_name *name, uid_t owner);
/* The owner of the usual name: the user, and a process, which may be dead. (uid_t)-1: that cannot be told. */
uid_t rendezvous_taker(const char *what, uint32_t number, pid_t *pid);
/* Is this the listening socket of that door? */
bool rendezvous_is(int fd, const struct rendezvous_name *name);
/* The other end: its user, and its process (NULL: not asked). */
uid_t rendezvous_peer(int fd, pid_t *pid);
/* The session of the trio at the other end; 0: it is dead, or has none of its own. */
pid_t rendezvous_session(int fd);

/* In place of a greeting: who are you? Answered by a WIRE_KEY. */
struct challenge {
	uint64_t magic;
};
#define CHALLENGE_MAGIC 0x7463707063303031ULL

#endif
