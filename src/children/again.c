#include "children/again.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"

#define AGAIN_PAUSE_MS 500

static const char *what_to_do(int error)
{
	switch (error) {
	case EAGAIN:
		return " (there are too many processes: pids.max of the control group, ulimit -u of the user, "
		       "kernel.pid_max)";
	case EMFILE:
		return " (ulimit -n bounds the descriptors of a process)";
	case ENFILE:
		return " (fs.file-max bounds the open files of the system)";
	default:
		return "";
	}
}

static void try(void *arg)
{
	struct again *a = arg;
	int rc = a->start(a->arg);

	if (rc == 0) {
		if (a->failures > 0)
			log_info("%s is started now, at try %u", a->who, a->failures + 1);
		a->failures = 0;
		return;
	}
	if (a->failures++ == 0)
		log_error("%s cannot be started: %s%s: it is tried again until it can be", a->who, strerror(-rc),
		          what_to_do(-rc));
	timer_set(a->loop, &a->timer, a->loop->now_ms + AGAIN_PAUSE_MS, try, a);
}

void again_init(struct again *a, struct loop *loop, int (*start)(void *arg), void *arg, const char *who, ...)
{
	va_list ap;

	*a = (struct again){.loop = loop, .start = start, .arg = arg};
	va_start(ap, who);
	vsnprintf(a->who, sizeof(a->who), who, ap);
	va_end(ap);
}

void again_start(struct again *a)
{
	timer_clear(a->loop, &a->timer);
	try(a);
}

void again_start_at(struct again *a, int64_t at_ms)
{
	if (at_ms > a->loop->now_ms)
		timer_set(a->loop, &a->timer, at_ms, try, a);
	else
		again_start(a);
}

void again_cancel(struct again *a)
{
	if (a->loop)
		timer_clear(a->loop, &a->timer);
	a->failures = 0;
}

bool again_is_pending(const struct again *a)
{
	return a->timer.place != 0;
}
