#include "ipc/saying.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "base/clock.h"
#include "os/sock.h"

#define SAYING_TELL_MS 100 /* how long what is lost is kept back when nothing else is to be said */

static void tell_lost(void *arg);

/* False: there is no room. That the other end is gone is no loss: then there is no log. */
static bool send_said(const struct saying *s, enum wire_type type, enum log_level level, const char *line,
                      const int *fds, size_t n_fds)
{
	struct said m = {.wire.type = type, .wire.n = s->lost};
	size_t len = strnlen(line, sizeof(m.line.text) - 1);
	int rc;

	m.line.wall_us = clock_wall_us();
	m.line.level = level;
	memcpy(m.line.text, line, len);
	rc = sock_send_message(s->fd, &m, SAYING_HEAD + len, fds, n_fds);
	return rc != -EAGAIN && rc != -ENOBUFS && rc != -ENOMEM;
}

void saying_line(void *arg, enum log_level level, const char *line)
{
	struct saying *s = arg;

	if (send_said(s, WIRE_LINE, level, line, NULL, 0)) {
		s->lost = 0;
		return;
	}
	s->lost++;
	if (s->loop)
		timer_set(s->loop, &s->timer, s->loop->now_ms + SAYING_TELL_MS, tell_lost, s);
}

/* Nothing more was said since. */
static void tell_lost(void *arg)
{
	struct saying *s = arg;

	if (s->lost == 0)
		return;
	if (send_said(s, WIRE_LINE, LOG_LEVEL_ERROR, "", NULL, 0))
		s->lost = 0;
	else
		timer_set(s->loop, &s->timer, s->loop->now_ms + SAYING_TELL_MS, tell_lost, s);
}

void saying_with(struct saying *s, enum wire_type type, const char *line, int fd)
{
	uint32_t lost = s->lost;

	s->lost = 0; /* lines tell of that */
	send_said(s, type, LOG_LEVEL_INFO, line, &fd, 1);
	s->lost = lost;
}

const char *said_text(struct said *m, size_t len)
{
	if (len < SAYING_HEAD || len - SAYING_HEAD >= sizeof(m->line.text)) /* the struct is longer than its text */
		return NULL;
	m->line.text[len - SAYING_HEAD] = '\0';
	return m->line.text;
}

bool said_is_line(const struct said *m)
{
	return *m->line.text;
}

enum log_level said_level(const struct said *m)
{
	return m->line.level > LOG_LEVEL_DEBUG ? LOG_LEVEL_ERROR : m->line.level;
}
