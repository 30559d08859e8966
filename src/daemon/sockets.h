/*
 * sockets.h - the listening sockets: all of a configuration, or none.
 */
#ifndef DAEMON_SOCKETS_H
#define DAEMON_SOCKETS_H

#include <sys/types.h>
#include "base/buf.h"
#include "config/config.h"

struct socket_entry {
	struct addr addr;
	int fd;
	uint32_t id;   /* for the workers; never used again for another */
};

struct sockets {
	struct socket_entry *list;
	size_t n;
	uint32_t last_id;
};

/* Sockets that somebody else opened for us (systemd), fds first..first+n-1: those that listen become
 * entries; the others are closed. */
void sockets_adopt(struct sockets *s, int first, int n);

/* One that the workers know by this id already. Closed if it is in the list. */
void sockets_adopt_one(struct sockets *s, int fd, uint32_t id);

/* What a reload would change: opens what is missing. Returns false, with one line per failure in `why`
 * ("port 25: address already in use"), and nothing open that was not before. On success *next is the new
 * set, which shares descriptors with the old one: also those of single addresses where all are to be served now. */
bool sockets_open(const struct sockets *old, const struct config *c,
		  const struct interface_address *ifs, size_t n_ifs, struct sockets *next,
		  struct buf *why);
/* Closes the sockets of `old` that are not in `kept` (NULL: all), and frees its list. */
void sockets_close(struct sockets *old, const struct sockets *kept);
/* The sockets belong to this user from now on: only then may others of his share their ports. */
void sockets_give(const struct sockets *s, uid_t uid);
/* Sets what accepted sockets inherit, as their sections say. */
void sockets_tune(const struct sockets *s, const struct config *c,
		  const struct interface_address *ifs, size_t n_ifs);

bool sockets_has(const struct sockets *s, uint32_t id);

#endif
