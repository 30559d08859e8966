/*
 * admin_sockets.h - admin sockets in the file system: bound while we are still root, given away, listened at, removed.
 */
#ifndef SUPERVISOR_ADMIN_SOCKETS_H
#define SUPERVISOR_ADMIN_SOCKETS_H

#include "admin/server.h"
#include "base/buf.h"
#include "config/config.h"
#include "files/files.h"
#include "ipc/admin_socket.h"
#include "os/user.h"

/* Binds those of c that `before` lacks; takes the others from there, which keeps them too. False:
 * `why` says which cannot be had, nothing is left open. */
bool admin_sockets_open(struct files *files, const struct config *c, const struct admin_sockets *before,
                        struct admin_sockets *ret, struct buf *why);
/* Closes and removes what `except` (NULL: nothing) does not have; frees the list. files: NULL: we are still root. */
void admin_sockets_close(struct files *files, struct admin_sockets *sockets, const struct admin_sockets *except);
/* Still root: the service user is to own them. */
void admin_sockets_give(const struct admin_sockets *sockets, const struct identity *id);

/* The server hears the clients that come to them, but for those of the page; or no longer. */
void admin_sockets_listen(const struct admin_sockets *sockets, struct admin_server *server);
void admin_sockets_forget(const struct admin_sockets *sockets, struct admin_server *server);
/* A reload: from now on those in *next, whose new ones are open. server: NULL: there is none. */
void admin_sockets_change(struct files *files, struct admin_sockets *now, struct admin_sockets *next,
                          struct admin_server *server);

#endif
