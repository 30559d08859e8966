/*
 * pathwatch.h - hears of files that change, however they do: written in place, renamed over, made or removed, or behind a symbolic
 * link that is swapped (inotify).
 *
 * Each directory on the way to a file is watched for the one name that leads on, and the file itself for what is written into it. After
 * a change the way may be another one: then all paths are to be added again, to a watch of its own.
 */
#ifndef OS_PATHWATCH_H
#define OS_PATHWATCH_H

#include <stdbool.h>
#include <stddef.h>

struct pathwatch {
	int fd;     /* to wait for; -1: there is no inotify here */
	bool whole; /* all that may change can be heard of; false: some of it has to be looked at */
	struct pathwatch_name {
		int wd;
		char *name; /* in that directory; NULL: the file itself */
	} * names;
	size_t n;
};

void pathwatch_open(struct pathwatch *w);
void pathwatch_close(struct pathwatch *w);
/* An absolute path, which need not be there. */
void pathwatch_add(struct pathwatch *w, const char *path);
/* Takes all that was heard. True: it is about one of the paths. */
bool pathwatch_heard(struct pathwatch *w);

#endif
