/*
 * unix_listen.h - Unix sockets that listen, and their files. -errno on failure, or one of safepath.h.
 */
#ifndef OS_UNIX_LISTEN_H
#define OS_UNIX_LISTEN_H

#include <sys/types.h>

/* Listens at a path, or at "@NAME", which has no file. A file at which nobody answers was left by a process that was killed: it is
 * replaced. -EADDRINUSE: somebody answers there, or something else is in its place; -ELOOP: as root, over a link of another user's, to where
 * that user wants a socket. */
int unix_listen(const char *path, mode_t mode, int backlog);

/* Whose the file is from now on: of the socket that we have made there, and of nothing that has been put in its place. */
int unix_listen_give(const char *path, uid_t uid, gid_t gid);

/* Its rights, likewise. */
int unix_listen_mode(const char *path, mode_t mode);

/* As a text that follows "cannot listen at PATH: ". */
const char *unix_listen_error(int error);

#endif
