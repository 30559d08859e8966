/*
 * landlock.h - this process may touch no file outside the given directories any more, and signal no other process
 * (landlock(7)).
 *
 * Rules are by directory and right: a rule for a file would die with its inode, when it is replaced; and making and removing
 * cannot be ruled by file.
 */
#ifndef OS_LANDLOCK_H
#define OS_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

enum landlock_right {
	LANDLOCK_READ = 1 << 0,       /* files, and what is in directories */
	LANDLOCK_WRITE = 1 << 1,      /* files */
	LANDLOCK_MAKE = 1 << 2,       /* regular files */
	LANDLOCK_REMOVE = 1 << 3,     /* files */
	LANDLOCK_REMOVE_DIR = 1 << 4, /* empty directories */
};

/* What is allowed in and below a directory. */
struct landlock_room {
	int dir;         /* O_PATH */
	unsigned rights; /* LANDLOCK_... */
};

bool landlock_available(void);
/* Confines this process and what it starts to these rooms for good. n 0: to nothing. What is open stays. Where the kernel
 * can (Linux 6.12) they connect to no abstract Unix socket of others either, unless they are to. Sets no_new_privs. Returns 0 or -errno. */
int landlock_confine(const struct landlock_room *rooms, size_t n, bool abstract_sockets);

/* From now on this process and its descendants signal only each other. Likewise for good, since Linux 6.12: 0, or
 * -errno and nothing has changed. */
int landlock_keep_signals(void);

#endif
