/* etcd_said.h - what etcd answers over its JSON gateway (/v3/...), as strangers' words: checked, and made what we need of it. */
#ifndef SOURCES_ETCD_SAID_H
#define SOURCES_ETCD_SAID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "sources/lines.h"

/* An answer to a range. */
struct etcd_range {
	uint64_t revision; /* of the store */
	uint64_t cluster;
	uint64_t count;  /* keys there are, which may be more than were sent */
	uint64_t newest; /* the revision of the last change among those that were sent; 0: there are none */
	size_t sent;
};

/* What a watch says in one message. */
struct etcd_event {
	bool created, canceled;
	bool compacted; /* what it was to begin with is not there any more */
	bool changed;   /* there are events */
	uint64_t revision;
};

/* All of these take a text of len bytes, of which nothing is believed; false: *why says what is wrong with it, or what etcd complains
 * of; it is cleared first. */

/* Keys and values go to lines, unless it is NULL. */
bool etcd_read_range(const char *text, size_t len, struct etcd_range *ret, struct lines *lines, struct buf *why);
bool etcd_read_event(const char *text, size_t len, struct etcd_event *ret, struct buf *why);
bool etcd_read_token(const char *text, size_t len, struct buf *token, struct buf *why);
/* What an answer that is no success complains of: never empty. */
void etcd_read_complaint(const char *text, size_t len, long status, struct buf *why);

/* {"key":...,"range_end":...} of all keys that begin with prefix, without the braces. */
void etcd_range_of(const char *prefix, struct buf *out);
/* The question of who says who they are (free()). NULL: name and password are no text. */
char *etcd_login_body(const char *name, const char *password);

#endif
