/*
 * listeners.h - the listening sockets: all of a configuration, or none.
 */
#ifndef CHILDREN_LISTENERS_H
#define CHILDREN_LISTENERS_H

#include <sys/types.h>
#include "base/buf.h"
#include "config/config.h"
#include "os/blank.h"

struct socket_entry {
	struct addr addr; /* scope: its place */
	int fd;
	uint32_t id; /* for the workers; never used again for another */
	bool overlaps; /* one of an address and one of all of them are at the same port, as some reloads leave them: one that
	                * stopped listening could not begin again beside the other */
};

/* Of an id: another program (systemd) has opened it, which knows nothing of what we do to it. It stays with it for good, through all
 * supervisors; what other versions take for numbers. */
#define SOCKET_FOREIGN 0x40000000u

struct sockets {
	struct socket_entry *list;
	size_t n;
	uint32_t last_id; /* without SOCKET_FOREIGN */
};

/* Sockets that another program (systemd) opened for us, fds first..first+n-1, and their names, with colons between: those that listen become
 * entries, each at the place of the `port fd:NAME` or `port unix:PATH` of c that it is for; the others are closed. */
void sockets_adopt(struct sockets *s, const struct config *c, int first, int n, const char *names);

/* One that the workers know by this id, and this place, already. Closed if it is in the list, or no such thing; if it does not listen, because
 * its port was refusing, it listens again, or is left as it is if it cannot. */
void sockets_adopt_one(struct sockets *s, int fd, uint32_t id, uint32_t place);
/* We have opened it ourselves, or a supervisor before us. */
bool socket_is_ours(const struct socket_entry *e);

/* What a reload would change: opens what is missing. Returns false, with one line per failure in `why`
 * ("port 25: address already in use"), and nothing open that was not before. On success *next is the new
 * set, which shares descriptors with the old one: also those of single addresses where all are to be served now.
 * blanks: as for opening.h. Where there is no IPv6, an address of it is left out if it was not asked for in numbers, and the ::1 of "localhost". */
bool sockets_open(const struct sockets *old, const struct config *c, const struct interface_address *ifs, size_t n_ifs,
                  const struct blank_list *blanks, struct sockets *next, struct buf *why);
/* Calls remove() with each path at which a Unix socket of ours listens that is not in `kept` (NULL: with all). */
void sockets_unlink(const struct sockets *old, const struct sockets *kept, void (*remove)(void *arg, const char *path),
                    void *arg);
/* Workers are about to close those of `old` that are not in `kept`: until they have, for some seconds at most, the same
 * ports can be opened again. */
void sockets_leave(const struct sockets *old, const struct sockets *kept);
/* Closes the sockets of `old` that are not in `kept` (NULL: all), and frees its list. */
void sockets_close(struct sockets *old, const struct sockets *kept);
/* The sockets belong to this user from now on: only then may other sockets of the same user share their ports. So do the files of those of
 * Unix, unless the configuration says whose they are. */
void sockets_give(const struct sockets *s, const struct config *c, uid_t uid, gid_t gid);
/* Sets what accepted sockets inherit, as their sections say. */
void sockets_tune(const struct sockets *s, const struct config *c, const struct interface_address *ifs, size_t n_ifs);

bool sockets_has(const struct sockets *s, uint32_t id);
/* One of them listens at this address and port, perhaps for all addresses. */
bool sockets_listen_at(const struct sockets *s, const struct addr *a);

#endif
