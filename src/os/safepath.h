/*
 * safepath.h - files opened with more rights than the users who may write their directories have.
 *
 * A user who may write a directory may put a link there that leads elsewhere. So a symbolic link is followed only if
 * root alone could have made it: it is root's, and root alone may write the directory that holds it and every directory
 * on the way to its target. What is opened is a regular file or a FIFO. Each component is opened by itself, without
 * following, below the descriptor of the one before; so nothing depends on openat2(), which older kernels and
 * containers refuse.
 *
 * -errno on failure, with two of our own: -ELOOP, a link that others than root can change (or too many of them);
 * -ENODEV, neither a regular file nor a FIFO; -EMLINK, a file with a second name where others than root could have
 * given it one.
 */
#ifndef OS_SAFEPATH_H
#define OS_SAFEPATH_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* Where a path leads: its directory, and the name there. */
struct safepath {
	int dir; /* O_PATH; the caller closes it */
	char name[NAME_MAX + 1];
};

/* The directory of an absolute path, walked from the root. The last component is not looked at. */
int safepath_directory(const char *path, struct safepath *ret);
/* The same as the kernel walks it: for a process with no more rights than the users who may lead it elsewhere. */
int safepath_plain_directory(const char *path, struct safepath *ret);
/* Follows `name` below `dir` (which stays open) while it is a link. A name that does not exist is found all the same. */
int safepath_follow(int dir, const char *name, struct safepath *ret);
void safepath_release(struct safepath *at);

/* Opens what is there: flags as of open(2), without O_CREAT. Never blocks: a FIFO without a reader is opened for both. */
int safepath_open(const struct safepath *at, int flags);
/* Makes the file, which must not be there. */
int safepath_create(const struct safepath *at, int flags, mode_t mode);

/* A file to be written anew: emptied, or made with this mode. As root safely, and as any other user as the kernel does
 * it. /dev/null, /dev/stdout and their like are what they are. */
int safepath_open_new(const char *path, mode_t mode);

/* May root alone write the directory? */
bool safepath_is_roots(int dir);
/* One of the errors above, or of the system, as a text that follows "cannot open PATH: ". */
const char *safepath_error(int error);

#endif
