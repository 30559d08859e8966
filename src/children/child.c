#include "children/child.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "os/caps.h"
#include "os/proc.h"
#include "os/sock.h"

#define CHILD_RESPAWN_MS 500 /* one that ends as soon as it was started */

void child_init(struct child *c, struct loop *loop, const char *who, int (*start)(void *arg),
                void (*emptied)(void *arg), void *arg)
{
	*c = (struct child){.loop = loop, .control.fd = -1};
	snprintf(c->who, sizeof(c->who), "%s", who);
	again_init(&c->again, loop, start, arg, "%s", who);
	outbox_init(&c->outbox, loop, &c->control, emptied, arg);
}

int child_start(struct child *c, child_fork *fork_it, const char *words,
                void (*become)(void *arg, int control_fd, int err), void (*heard)(void *arg, uint32_t events),
                void *arg)
{
	int pair[2], err, rc = sock_message_pair(pair);
	pid_t pid;

	if (rc < 0)
		return rc;
	err = lastwords_open(&c->words, c->loop, "%s", words);
	pid = err < 0 ? -1 : fork_it();
	if (pid == 0)
		become(arg, pair[1], err);
	rc = err < 0 ? err : pid < 0 ? -errno : 0;
	close(pair[1]);
	if (err >= 0)
		close(err);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	c->pid = pid;
	c->started_ms = c->loop->now_ms;
	watch_keep(c->loop, &c->control, pair[0], EPOLLIN, heard, arg);
	return 0;
}

void child_settle(const char *title, int err, int *keep, size_t n)
{
	proc_title("%s", title);
	proc_reset_signals();
	proc_leave_terminal();
	proc_streams(err);
	proc_close_except(3, keep, n);
	caps_drop();
}

void child_stop_hearing(struct child *c)
{
	int fd = c->control.fd;

	watch_remove(c->loop, &c->control);
	close(fd);
	outbox_clear(&c->outbox);
}

void child_replace(struct child *c, int status)
{
	if (WIFSIGNALED(status))
		log_error("%s was killed by signal %d and is replaced", c->who, WTERMSIG(status));
	else
		log_error("%s has ended and is replaced", c->who);
	again_start_at(&c->again, c->started_ms + CHILD_RESPAWN_MS);
}
