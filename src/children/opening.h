/*
 * opening.h - how one listening socket is opened: of a port, in whichever network namespace, or of Unix.
 */
#ifndef CHILDREN_OPENING_H
#define CHILDREN_OPENING_H

#include <sys/types.h>
#include "base/buf.h"
#include "config/config.h"
#include "os/blank.h"

/* Listens there for this service; share: beside others of ours at the same port. blanks: where sockets of namespaces can be had that we may not
 * enter; NULL: nowhere. A descriptor or -errno, which opening_explain() says. */
int opening_listen(const struct service *service, const struct addr *a, bool share, const struct blank_list *blanks);
/* Of a service with netns: is this the namespace in which that socket listens? 0: no, it was deleted and made anew; 1: yes; -errno: there is none. */
int opening_is_there(const struct service *service, int fd, const struct blank_list *blanks);
/* Appends a line: what was to be opened, and why it could not be. */
void opening_explain(const struct service *service, const struct addr *a, int error, struct buf *why);

#endif
