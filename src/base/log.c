#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/utf8.h"

#define LINE_MAX_BYTES 2048
#define PREFIX         "tcpproxy: "
#define CUT_MARK       "..."

static void sink_stderr(void *arg, enum log_level level, const char *line);

static log_sink_fn *the_sink = sink_stderr;
static void *the_sink_arg;
static const atomic_uint usual_level = LOG_LEVEL_INFO;
static const atomic_uint *the_level = &usual_level;

/* One write, so that lines of several processes do not mix; one that fails is not tried again. */
static void sink_stderr(void *arg, enum log_level level, const char *line)
{
	char text[sizeof(PREFIX) + LINE_MAX_BYTES];
	int n = snprintf(text, sizeof(text), PREFIX "%s\n", line);
	ssize_t written;

	written = write(STDERR_FILENO, text, (size_t)n);
	(void)written;
}

void log_set_sink(log_sink_fn *fn, void *arg)
{
	the_sink = fn ? fn : sink_stderr;
	the_sink_arg = arg;
}

void log_set_level_word(const atomic_uint *level)
{
	the_level = level;
}

bool log_wants(enum log_level level)
{
	return level <= atomic_load_explicit(the_level, memory_order_relaxed);
}

/* Marks a line that was too long, without leaving half a UTF-8 character behind. */
static void mark_cut(char *line, size_t size)
{
	size_t at = size - sizeof(CUT_MARK);

	while (at > 0 && ((unsigned char)line[at] & 0xc0) == 0x80)
		at--;
	memcpy(line + at, CUT_MARK, sizeof(CUT_MARK));
}

static void log_line(enum log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void log_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	int n = vsnprintf(line, sizeof(line), fmt, ap);

	if (n < 0)
		snprintf(line, sizeof(line), "a message could not be written: %s", fmt);
	else if ((size_t)n >= sizeof(line))
		mark_cut(line, sizeof(line));
	/* what a peer or a program sent may stand in it */
	line[utf8_clean_line(line, strlen(line))] = '\0';
	the_sink(the_sink_arg, level, line);
	errno = saved;
}

#define LOG_AT(level, fmt)                    \
	do {                                  \
		va_list ap;                   \
		if (!log_wants(level))        \
			return;               \
		va_start(ap, fmt);            \
		log_line((level), (fmt), ap); \
		va_end(ap);                   \
	} while (0)

void log_at(enum log_level level, const char *fmt, ...)
{
	LOG_AT(level, fmt);
}

void log_error(const char *fmt, ...)
{
	LOG_AT(LOG_LEVEL_ERROR, fmt);
}

void log_warning(const char *fmt, ...)
{
	LOG_AT(LOG_LEVEL_WARNING, fmt);
}

void log_info(const char *fmt, ...)
{
	LOG_AT(LOG_LEVEL_INFO, fmt);
}

void log_debug(const char *fmt, ...)
{
	LOG_AT(LOG_LEVEL_DEBUG, fmt);
}

bool log_level_parse(const char *name, enum log_level *ret)
{
	for (enum log_level l = LOG_LEVEL_ERROR; l <= LOG_LEVEL_DEBUG; l++)
		if (strcmp(name, log_level_name(l)) == 0) {
			*ret = l;
			return true;
		}
	return false;
}

const char *log_level_name(enum log_level level)
{
	static const char *const names[] = {
	        [LOG_LEVEL_ERROR] = "error",
	        [LOG_LEVEL_WARNING] = "warning",
	        [LOG_LEVEL_INFO] = "info",
	        [LOG_LEVEL_DEBUG] = "debug",
	};

	return (unsigned)level <= LOG_LEVEL_DEBUG ? names[level] : names[LOG_LEVEL_ERROR];
}

void log_warning_lines(char *lines)
{
	char *save = NULL;

	for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_warning("%s", line);
}

void log_error_lines(const char *before, char *lines)
{
	char *save = NULL;

	for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_error("%s%s", before, line);
}
