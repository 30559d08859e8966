/*
 * newfile.h - a file that is written anew as a whole: under another name in its directory, then renamed. Whoever reads it finds the old
 * one or the new one; a link in its place is replaced, not followed (one that only root can have made is followed: os/safepath.h).
 */
#ifndef OS_NEWFILE_H
#define OS_NEWFILE_H

#include <stdbool.h>

/* The new one, empty, to be written; what another try has left is removed. A descriptor, or -errno; -ENODEV: what is there is no file. */
int newfile_open_at(int dir, const char *name);
/* It is written and on the disk (fsync): from now on it is the file. 0 or -errno: then the new one is removed. */
int newfile_commit_at(int dir, const char *name);
/* The same by an absolute path, with the rights that we have. */
int newfile_open(const char *path);
int newfile_commit(const char *path);

#endif
