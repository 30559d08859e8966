/*
 * members_steer.h - servers that tcpproxyctl adds to a pool, or takes out of it, until the file speaks of them or they are forgotten.
 */
#ifndef SUPERVISOR_MEMBERS_STEER_H
#define SUPERVISOR_MEMBERS_STEER_H

#include <stdbool.h>
#include "base/buf.h"

struct supervisor;

/* service: by its name or a port of it. server: as behind "server"; of remove: how it is spelt or called. text says what holds from now
 * on, or, if false is returned, what is wrong. */
bool members_add(struct supervisor *s, const char *service, const char *server, struct buf *text);
bool members_remove(struct supervisor *s, const char *service, const char *server, struct buf *text);
/* One that was added is gone, one that was taken out is there again. server: as tcpproxyctl takes it; NULL: all. False: it is neither. */
bool members_forget(struct supervisor *s, const char *server);
/* As commands that would do it again. */
void members_changes(const struct supervisor *s, struct buf *out);
/* To the log: what still differs from the file. */
void members_tell(const struct supervisor *s);

#endif
