/* child.h - for what a process can do to itself only once: it is done in a child. */
#ifndef CHILD_H
#define CHILD_H

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "os/proc.h"

/* In the child: ends it with the line as its message. */
#define EXPECT(condition)                                                                            \
	do {                                                                                         \
		if (!(condition)) {                                                                  \
			dprintf(2, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
			_exit(1);                                                                    \
		}                                                                                    \
	} while (0)

/* Runs fn in a child that has nothing open but 0, 1 and 2; fails the test if it does not end well. */
static inline void in_child(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		proc_close_except(3, NULL, 0);
		fn();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#endif
