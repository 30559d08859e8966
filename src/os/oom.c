#include "os/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/param.h>
#include <unistd.h>

#define LOWEST   (-999)         /* -1000: never, whatever it does */
#define VARIABLE "TCPPROXY_OOM" /* "DESCRIPTOR SCORE BEFORE" */

static struct {
	bool held;
	int fd;
	int score, before;
} oom;

static bool set_score(int score)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", score);
	int saved = errno;
	bool done = pwrite(oom.fd, text, (size_t)len, 0) == len;

	errno = saved; /* a wish, not a need */
	return done;
}

void oom_protect(int by)
{
	char text[16] = "";

	oom.fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (oom.fd < 0)
		return;
	if (pread(oom.fd, text, sizeof(text) - 1, 0) > 0) {
		oom.before = atoi(text);
		oom.score = MAX(oom.before - by, LOWEST);
		oom.held = set_score(oom.score);
	}
	if (!oom.held)
		close(oom.fd);
}

pid_t oom_fork(void)
{
	pid_t pid;

	if (!oom.held)
		return fork();
	set_score(oom.before);
	pid = fork();
	if (pid != 0)
		set_score(oom.score);
	else
		oom.held = false; /* the descriptor leads to the parent's */
	return pid;
}

void oom_keep_over_exec(bool keep)
{
	char text[48];

	if (!oom.held)
		return;
	fcntl(oom.fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
	snprintf(text, sizeof(text), "%d %d %d", oom.fd, oom.score, oom.before);
	if (keep)
		setenv(VARIABLE, text, 1);
	else
		unsetenv(VARIABLE);
}

void oom_inherit(void)
{
	const char *text = getenv(VARIABLE);

	oom.held = text && sscanf(text, "%d %d %d", &oom.fd, &oom.score, &oom.before) == 3 &&
	           fcntl(oom.fd, F_SETFD, FD_CLOEXEC) == 0;
	unsetenv(VARIABLE);
}
