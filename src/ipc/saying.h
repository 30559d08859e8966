/*
 * saying.h - the log of the spawner and of the admin process: each line is a WIRE_LINE to the supervisor. The sender
 * never waits; what does not fit into the socket is counted, and the next line that does says how many there were.
 */
#ifndef IPC_SAYING_H
#define IPC_SAYING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/log.h"
#include "ipc/wire.h"
#include "event/loop.h"
#include "ipc/accesslog.h"

/* With a text of any length up to the whole; what comes before it is SAYING_HEAD. */
struct said {
	struct wire wire; /* n: so many lines before this one are lost */
	struct line_message line;
};
#define SAYING_HEAD offsetof(struct said, line.text)

struct saying {
	struct loop *loop; /* NULL: not yet */
	int fd;
	uint32_t lost;
	struct timer timer;
};

/* A log_sink_fn; arg: struct saying. */
void saying_line(void *arg, enum log_level level, const char *line);
/* One of another type, beside a descriptor, which stays the caller's. */
void saying_with(struct saying *s, enum wire_type type, const char *line, int fd);

/* The other end. m: a message of len bytes; room for one more. Returns NULL if it is too short or too long for one, else its
 * text, ended by a NUL. */
const char *said_text(struct said *m, size_t len);
/* A WIRE_LINE whose text has been looked at, if it is a line, and not just what says that others are lost. */
bool said_is_line(const struct said *m);
/* Its level; it may have said anything. */
enum log_level said_level(const struct said *m);

#endif
