/*
 * accesslog.h - the access record of a row, on its way from the worker to the process that writes it.
 */
#ifndef IPC_ACCESSLOG_H
#define IPC_ACCESSLOG_H

#include "base/log.h"
#include "base/record.h"
#include "config/config.h"
#include "ipc/world.h"
#include "takeover/announced.h"
#include "takeover/said.h"

/* What stands in a trio's ring. */
enum message_type { MESSAGE_RECORD = 1, MESSAGE_LINE = 2 };

/* Texts of a record that stand nowhere but in its message. */
enum record_text { TEXT_NAME, TEXT_SERVER, TEXT_UID, TEXT_AUTHORITY, TEXT_SNI, TEXT_ALPN, TEXT_PROTOCOL, RECORD_TEXTS };

struct record_message {
	struct record record;   /* its pointers mean nothing here */
	uint32_t label, target; /* numbers in the world; those that are not there are none */
	uint16_t service;
	uint16_t len[RECORD_TEXTS];
	char texts[CLIENT_NAME_MAX + 512 + 4 * ANNOUNCED_TEXT_MAX + SAID_WORD_MAX]; /* one after the other; no NULs */
};

struct line_message {
	int64_t wall_us;
	uint32_t level;  /* enum log_level */
	char text[2048]; /* no NUL */
};

/* Fills the message for a row; returns its length. */
size_t accesslog_fill(const struct trio *t, const struct world *world, uint32_t row, enum record_event event,
                      struct record_message *ret);

/* A server that has no address: "unix:/run/x.sock", the path of a program. Returns the length of what stands in the world,
 * without a NUL; 0: it has one, or none was called yet. */
size_t accesslog_server_text(const struct row_cold *cold, const struct world *world, const char **ret);

/* Has the section asked for such a record? log: enum access_log. */
bool accesslog_wants(uint8_t log, enum record_event event, enum end end);

/* Reads a message that came out of a ring. *label: of its rule. its texts (room for sizeof(texts) and RECORD_TEXTS) are
 * copied to `texts`, to which the record then points; its other texts stand in the world. false: it is not one. */
bool accesslog_read(const void *data, size_t len, const struct world *world, char *texts, struct record *ret,
                    uint32_t *label);

#endif
