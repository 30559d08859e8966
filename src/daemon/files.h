/*
 * files.h - after root is given up: reading a private configuration again, opening a log in a directory
 * of root's, removing the pidfile there.
 *
 * A small process of the service user keeps CAP_DAC_OVERRIDE for that, confined by landlock to the
 * directories of these files. Where the kernel has no landlock there is no such process. It cannot be replaced once root
 * is given up, so it stays what it is over upgrades.
 */
#ifndef DAEMON_FILES_H
#define DAEMON_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include "os/user.h"

/* Descriptors that a new program gets from the one before it (upgrade.c): of the helper, for a trial; of the helper and
 * the guard, for good. */
#define FILES_VARIABLE   "TCPPROXY_FILES"
#define UPGRADE_VARIABLE "TCPPROXY_UPGRADE"

struct files {
	int fd; /* to the helper, -1: there is none */
	pid_t pid;
};

/* Still root: starts the helper, which becomes `identity`. directories: n of them. Returns false if there is
 * no landlock or it cannot be started (*f then asks nobody). */
bool files_start(struct files *f, const struct identity *identity, char *const *directories, size_t n);

/* Each tries by itself first, then through the helper. A descriptor or 0; -errno. */
int files_open_read(struct files *f, const char *path);
int files_open_log(struct files *f, const char *path);
int files_unlink(struct files *f, const char *path);
void files_stop(struct files *f);

#endif
