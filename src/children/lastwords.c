#include "children/lastwords.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static void lastwords_ended(void *arg)
{
	(void)arg; /* the process that had it is dead, or has another one */
}

int lastwords_open(struct lastwords *w, struct loop *l, const char *who, ...)
{
	int ends[2], rc;
	va_list ap;

	lastwords_close(w);
	va_start(ap, who);
	vsnprintf(w->who, sizeof(w->who), who, ap);
	va_end(ap);
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	rc = lines_start(&w->lines, l, ends[0], LOG_LEVEL_ERROR, w->who, lastwords_ended, w);
	if (rc == 0)
		return ends[1];
	close(ends[1]);
	return rc;
}

void lastwords_hear(struct lastwords *w)
{
	lines_drain(&w->lines);
}

void lastwords_close(struct lastwords *w)
{
	lines_drain(&w->lines);
	lines_stop(&w->lines);
}
