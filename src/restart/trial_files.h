/*
 * trial_files.h - a program that is tried reads private files through us: it may be any program, so it gets no socket to the
 * process that may read them (files/files.h), but one to us. It is told what the files say now, as long as we could have read
 * them ourselves: a copy, which it cannot write.
 */
#ifndef RESTART_TRIAL_FILES_H
#define RESTART_TRIAL_FILES_H

#include "event/loop.h"
#include "files/files.h"

struct trial_files {
	struct loop *loop;
	struct files *files;
	struct watch watch; /* its questions */
};

/* The descriptor by which the program asks, the caller's; or -errno. */
int trial_files_start(struct trial_files *t);
/* Takes one that is not started. */
void trial_files_stop(struct trial_files *t);

#endif
