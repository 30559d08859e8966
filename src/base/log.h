/*
 * log.h - one line for the reader of the log. Where it goes is set by the process: the supervisor
 * has targets, a worker a ring in shared memory, a program run by hand its stderr.
 *
 * A line says what was being done, for which client or server, why it failed, and what to do about it; it has no
 * newline, no time and no "tcpproxy: " in it: the sink adds what its target wants.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

typedef void log_sink_fn(void *arg, enum log_level level, const char *line);

/* Until it is called, lines go to stderr as "tcpproxy: line". */
void log_set_sink(log_sink_fn *fn, void *arg);

/* How much is said: lines beyond this level are dropped before they reach the sink. The word stays where it is, and may
 * be shared by processes and changed at any time. Until it is called: LOG_LEVEL_INFO. */
void log_set_level_word(const atomic_uint *level);
bool log_wants(enum log_level level);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Several errors in one text, a line each, `before` in front of each; the text is cut up. */
void log_error_lines(const char *before, char *lines);
void log_warning_lines(char *lines);

const char *log_level_name(enum log_level level); /* "error", "warning", "info", "debug" */
bool log_level_parse(const char *name, enum log_level *ret);

#endif
