#include "program/lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"

#define DRAIN_MAX (64 * 1024) /* a pipe holds as much; a program that goes on and on waits its turn */

/* The first len bytes of what there is. */
static void log_part(struct lines *l, size_t len)
{
	char line[LINES_MAX + 1];

	memcpy(line, l->text, len);
	for (size_t i = 0; i < len; i++)
		if (line[i] == '\t')
			line[i] = ' ';
	line[utf8_clean_line(line, len)] = '\0';
	if (*line)
		log_at(l->level, "%s: %s", l->label, line);
	l->len -= len;
	memmove(l->text, l->text + len, l->len);
}

static void flush_line(struct lines *l)
{
	if (l->len > 0 && l->text[l->len - 1] == '\r')
		l->len--;
	log_part(l, l->len);
}

static void add_bytes(struct lines *l, const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (data[i] == '\n') {
			flush_line(l);
			continue;
		}
		if (l->len == LINES_MAX) /* not within a character */
			log_part(l, utf8_whole(l->text, l->len));
		l->text[l->len++] = data[i];
	}
}

/* Bytes read, 0 at the end (closed then), or -errno. */
static ssize_t read_some(struct lines *l)
{
	char data[4096];
	ssize_t n = read(l->watch.fd, data, sizeof(data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -errno;
	if (n > 0) {
		progress();
		add_bytes(l, data, (size_t)n);
		return n;
	}
	lines_stop(l);
	return 0;
}

static void on_readable(void *arg, uint32_t events)
{
	struct lines *l = arg;

	if (read_some(l) == 0)
		l->eof(l->arg);
}

int lines_start(struct lines *l, struct loop *loop, int fd, enum log_level level, const char *label,
                void (*eof)(void *arg), void *arg)
{
	int rc;

	l->loop = loop;
	l->level = level;
	l->label = label;
	l->eof = eof;
	l->arg = arg;
	l->len = 0;
	rc = watch_add(loop, &l->watch, fd, EPOLLIN, on_readable, l);
	if (rc < 0)
		close(fd);
	return rc;
}

void lines_drain(struct lines *l)
{
	size_t total = 0;

	while (lines_open(l) && total < DRAIN_MAX) {
		ssize_t n = read_some(l);

		if (n == 0)
			l->eof(l->arg);
		if (n <= 0)
			break;
		total += (size_t)n;
	}
}

bool lines_open(const struct lines *l)
{
	return l->watch.fn && l->watch.fd >= 0;
}

void lines_stop(struct lines *l)
{
	int fd = l->watch.fd;

	if (!lines_open(l))
		return;
	flush_line(l);
	watch_remove(l->loop, &l->watch);
	close(fd);
}
