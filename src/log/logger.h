/*
 * logger.h - the log of a configuration: every line and every access record goes to each of its targets.
 *
 * Nothing here waits and nothing fails: a target that cannot take a line (disk full, a pipe
 * without a reader, no syslog daemon) loses it, counts it, and says how many were lost in its first
 * line after that. Lines are written at once, one write(2) each. The process ignores SIGPIPE and
 * SIGXFSZ.
 *
 *             diagnostics                      access records
 *   stderr    tcpproxy: line                   TIME close id=17 ...
 *   file      TIME error line                  TIME close id=17 ...
 *   syslog    line                             close id=17 ...
 *   journal   MESSAGE=line PRIORITY=3          the same, and TCPPROXY_ID=17 ...
 *   +json     {"time":...} in each of them
 */
#ifndef LOG_LOGGER_H
#define LOG_LOGGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/record.h"
#include "config/config.h"
#include "stats/history.h"

struct logger;

/* What a logger asks of its process. */
struct logger_ops {
	void *arg; /* open_file's */
	/* Opens a log file for appending, as logger_open_file() does; returns a descriptor, which the
	 * logger closes, or -errno. NULL: logger_open_file. */
	int (*open_file)(void *arg, const char *path);
	const char *(*error)(int error); /* as a text; NULL: strerror() */
	const char *syslog_path;         /* NULL: /dev/log */
	const char *journal_path;        /* NULL: systemd's */
};

/* Opens `path` to append, made with mode 0640 if missing; never waits for a FIFO's reader.
 * Returns a close-on-exec descriptor, or -errno. */
int logger_open_file(void *arg, const char *path);

/* Opens the targets (their texts are copied). A file that cannot be opened: NULL, and `error` says which
 * and why. A missing log daemon is not an error: it may come later. A stderr that is a FIFO or a terminal is
 * opened a second time where that is allowed: do this before root is given up. */
struct logger *logger_new(const struct log_target *targets, size_t n, const struct logger_ops *world,
                          struct buf *error);
void logger_free(struct logger *l); /* takes NULL */

/* A line as from log.h. */
void logger_line(struct logger *l, enum log_level level, const char *line, int64_t wall_us);
/* The same, now: a log_sink_fn for log_set_sink(); `logger` is a struct logger *. */
void logger_sink(void *logger, enum log_level level, const char *line);
/* What is said of a server, which stands in logs of JSON as an object. */
void logger_change(struct logger *l, enum log_level level, const struct server_change *c);
void logger_record(struct logger *l, const struct record *r);

/* Errors are remembered there, too. */
void logger_remember(struct logger *l, struct history *h);
/* Lost lines are added up there, too. */
void logger_count_lost(struct logger *l, atomic_ullong *lost);

/* The descriptors that it writes to, at most max; returns how many. For a process that closes all others. */
size_t logger_fds(const struct logger *l, int *fds, size_t max);

/* SIGUSR1: files are opened again by their paths. One that cannot be opened keeps the old file, and
 * the log says so. */
void logger_reopen(struct logger *l);

/* Reload: from now on these targets. One that was there before stays as it is, a file open. If a file
 * cannot be opened: false, `error` says why, and nothing has changed. */
bool logger_reconfigure(struct logger *l, const struct log_target *targets, size_t n, struct buf *error);

#endif
