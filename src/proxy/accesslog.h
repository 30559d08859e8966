/*
 * accesslog.h - the access record of a row, on its way from the worker to whoever writes it.
 */
#ifndef PROXY_ACCESSLOG_H
#define PROXY_ACCESSLOG_H

#include "base/log.h"
#include "base/record.h"
#include "config/config.h"
#include "proxy/world.h"

/* What stands in a trio's ring. */
enum message_type { MESSAGE_RECORD = 1, MESSAGE_LINE = 2 };

struct record_message {
	struct record record; /* its pointers mean nothing here */
	uint32_t label;
	uint16_t name_len, server_len;
	char texts[CLIENT_NAME_MAX + 512]; /* the client's name, the server's text; no NULs */
};

struct line_message {
	int64_t wall_us;
	uint32_t level; /* enum log_level */
	char text[2048]; /* no NUL */
};

/* Fills the message for a row; returns its length. */
size_t accesslog_fill(struct trio *t, const struct world *world, uint32_t row,
		      enum record_event event, struct record_message *ret);

/* Has the section asked for such a record? log: enum access_log. */
bool accesslog_wants(uint8_t log, enum record_event event, enum end end);

/* Reads a message that came out of a ring. *label: of its rule. name and server_text (room for sizeof(texts) together) are
 * copied to `texts`, to which the record then points. false: it is none. */
bool accesslog_read(const void *data, size_t len, const struct world *world, char *texts,
		    struct record *ret, uint32_t *label);

#endif
