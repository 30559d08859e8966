/*
 * network.h - what of the network only a process with CAP_NET_ADMIN may do, as the supervisor sees it: "tcpproxy: sockets"
 * (socketsd.h), started while still root. It is there only if the configuration asks for it at the start, and stays what it is over
 * upgrades; a reload that is the first to ask for it fails.
 */
#ifndef NETWORK_NETWORK_H
#define NETWORK_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "config/config.h"
#include "os/blank.h"
#include "os/user.h"

struct network {
	uint32_t caught; /* which connections, by the configuration at the start (config_interceptions_number()) */
	int control_fd;  /* -1: there is no such process */
	struct blank_list blanks; /* where its sockets wait (os/blank.h) */
};

#define NETWORK_NONE ((struct network){.control_fd = -1})

/* Still root, or with CAP_NET_ADMIN. identity: whom it becomes, NULL: nobody else. Waits until the routing is set up. false: *text says
 * why not; true: *text has what works without it, a line each, if anything. */
bool network_start(struct network *n, const struct config *c, const struct identity *identity, struct buf *text);
/* Lines that it has for the log; false: there are none now. *ended: it has, and the lines say so: the caller stops watching control_fd, and
 * closes it. */
bool network_hear(struct network *n, struct buf *lines, bool *ended);
/* The routing is taken away: waited for, but not for ever. */
void network_stop(struct network *n);
/* It goes on for those that live, until another supervisor comes. */
void network_leave(struct network *n);
/* Does this configuration ask for it? */
bool network_is_needed(const struct config *c);
/* Why a reload cannot have what this configuration asks for: part of a line; NULL: it can. */
const char *network_too_late(const struct network *n, const struct config *c);

/* For the command line. What of this machine is in the way of what the configuration asks for, a line each; true: nothing. */
bool network_look(const struct config *c, struct buf *lines);
/* Takes away what those of us have left who were killed. Lines of what that was, or (false) why not. */
bool network_clean(struct buf *lines);

#endif
