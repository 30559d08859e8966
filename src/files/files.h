/*
 * files.h - files of root's, after root was given up: a private configuration is read again, a log in a directory of
 * root's opened, a pidfile written or removed.
 *
 * A small process, "tcpproxy: files", keeps the rights for that (files/helper.h). What it does is drawn up while we still are
 * root (files/list.h): that list is the first wall, landlock the second. Where the kernel has no landlock there is no such
 * process. It cannot be replaced once root is given up, so it stays what it is over upgrades. The socket to it is the
 * supervisor's alone: no child has it, and what a trial of another program needs read the supervisor reads for it (trial.c).
 */
#ifndef CHILDREN_FILES_H
#define CHILDREN_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include "files/list.h"
#include "os/user.h"

struct files {
	int fd; /* to the helper, -1: there is none */
	pid_t pid;
	bool root_was;    /* files belong to root: links that others can change are not followed */
	uint32_t version; /* that it speaks; 0: not known yet */
	uint64_t serial;
	bool owed; /* an answer that has not come in time: until it has, nothing more is asked */
};

/* Still root: starts the helper, which becomes `identity`. Returns false if there is no landlock or it cannot be
 * started (*f then has no helper). */
bool files_start(struct files *f, const struct identity *identity, const struct files_list *list);
void files_stop(struct files *f); /* it ends at that */

/* Each tries by itself first, then through the helper, and waits for it 2 s at most. A descriptor or 0; -errno; see
 * files_error(). */
int files_open_read(struct files *f, const char *path);
int files_open_log(struct files *f, const char *path);
int files_unlink(struct files *f, const char *path);
/* An empty directory that we have made: as root, then the helper knows; or `own`, later. */
int files_rmdir(struct files *f, const char *path, bool own);
int files_write_pid(struct files *f, const char *path, bool wait); /* of this process (pidfile.h) */
/* A file that is written anew as a whole (os/newfile.h): a descriptor to write it; it takes the place of the old one. */
int files_open_new(struct files *f, const char *path);
int files_commit(struct files *f, const char *path);
/* As a text that follows "cannot open PATH: ". */
const char *files_error(int error);

/* The whole text of a file, or NULL with *why set, until the next call. */
char *files_read(struct files *f, const char *path, const char **why);
/* Paths that match, sorted, NULL-terminated, malloc()ed with its strings; NULL: none. */
char **files_glob(struct files *f, const char *pattern);

/* Is the helper of the first version, which knows no list? */
bool files_is_old(struct files *f);

/* A descriptor to the helper for another process of ours, or -1. */
int files_another(struct files *f);

#endif
