/*
 * state.h - the text of `state FILE`: the lines of `tcpproxyctl changes`, and before those of a server one that says by a number what the
 * configuration said of it (ipc/changed.h), so that a line of the configuration that has changed since is known:
 *
 *   #: db/db1 91b0c2d3e4f5a6b7
 *   drain db/db1
 *   weight db/db1 5
 *
 * A server that the configuration calls disabled has that word behind the number. Who writes such lines by hand needs no number.
 */
#ifndef IPC_STATE_H
#define IPC_STATE_H

#include "base/buf.h"
#include "ipc/world.h"

#define STATE_SAID       "#:"
#define STATE_WRONG_TOLD 20 /* lines that are wrong; the others are counted */

/* Appends what there is of this server; nothing if it is as the file says. */
void state_of(const struct world *w, const struct spoken *of, int64_t now_ms, struct buf *out);

struct state_reader {
	void *arg;
	/* A command; false: `why` says what is wrong with it. */
	bool (*command)(void *arg, char **words, size_t n, struct buf *why);
	/* What the configuration said of a server. */
	void (*said)(void *arg, const char *server, uint64_t line, bool disabled);
	/* A line that is left out; text: cleaned and cut. */
	void (*wrong)(void *arg, uint32_t line, const char *text, const char *why);
};

/* What was read. */
struct state_read {
	uint32_t taken, wrong; /* lines */
};

/* Anybody may have written it. It is taken apart. */
struct state_read state_read(char *text, const struct state_reader *r);

#endif
