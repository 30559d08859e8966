/*
 * journal.h - entries to systemd's journal, in its native protocol.
 */
#ifndef OS_JOURNAL_H
#define OS_JOURNAL_H

#include "base/buf.h"
#include "os/logsock.h"

#define JOURNAL_PATH "/run/systemd/journal/socket"

struct journal {
	struct logsock sock;
	struct buf entry; /* for the caller that makes one */
};

/* path: NULL for the one above. Nothing is opened before the first entry. */
void journal_init(struct journal *j, const char *path);
void journal_release(struct journal *j);

/* Appends a field to an entry. key: capital letters, digits, '_'. Any bytes may stand in value. */
void journal_add(struct buf *entry, const char *key, const char *value);

/* Sends the fields as one entry; a large one goes in a sealed memfd. Returns 0, or -errno if
 * it was lost. */
int journal_send(struct journal *j, const struct buf *entry);

#endif
