/*
 * door.h - where the next supervisor finds a trio whose own supervisor is dead.
 *
 * Each trio listens on an abstract SEQPACKET socket, @tcpproxy/NETNS/WHAT/N: the network namespace, the real path of
 * the configuration (or the -b list), the worker's number. It is made while we are still who started us, so that nobody
 * else can pretend to be a trio: both ends look at the other's user.
 */
#ifndef DAEMON_DOOR_H
#define DAEMON_DOOR_H

#include <stdint.h>
#include <sys/types.h>

/* Descriptors that come with a greeting, in this order. */
enum greeting_fd {
	GREETING_TRIO,   /* memfds */
	GREETING_WORLD,
	GREETING_WAKE,   /* eventfds */
	GREETING_REARM,
	GREETING_DOOR,   /* the listening socket itself */
	GREETING_FDS
};

/* A trio's first words to whoever knocks, of whatever version: new fields go to the end; then its listeners, as WIRE_LISTEN messages, n_listeners in all. */
struct greeting {
	uint64_t magic;
	uint32_t trio_version, world_version; /* of the shared memory */
	uint32_t trio_size, world_size, row_size, cold_size;
	uint32_t number, n_workers;
	uint32_t supervised;     /* its supervisor is alive: go away */
	uint32_t n_listeners;
	uint64_t next_id;        /* of access records */
};
#define GREETING_MAGIC 0x7463707064303031ULL

/* what: the configuration's real path, or the -b list. Returns the listening socket or -errno. */
int door_open(const char *what, uint32_t number);
/* Returns a connected socket, or -errno (-ECONNREFUSED: there is none). Only if it belongs to `owner` or root. */
int door_knock(const char *what, uint32_t number, uid_t owner);
/* The user at the other end. */
uid_t door_peer(int fd);

#endif
