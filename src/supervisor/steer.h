/*
 * steer.h - what the commands do that come by the admin sockets.
 */
#ifndef SUPERVISOR_STEER_H
#define SUPERVISOR_STEER_H

#include <stdbool.h>
#include <stddef.h>
#include "admin/commands.h"
#include "base/addr.h"
#include "base/record.h"
#include "ipc/world.h"

struct supervisor;

/* The trios are there: commands are heard. */
void steer_start(struct supervisor *s);
/* No more; the sockets are closed and removed, too. */
void steer_stop(struct supervisor *s);
/* A client that comes by the page, from this address, and may steer; fd is taken. */
void steer_welcome(struct supervisor *s, int fd, const struct addr *from);

/* The client that waits for the end of an upgrade; -1: none. */
int steer_upgrade_client(const struct supervisor *s);
/* It is over; the client that has asked for it is told. */
void steer_upgrade_over(struct supervisor *s, bool done, const char *text);

/* steer_tap.c: answers the client with where to read what is seen. */
void steer_tap(struct supervisor *s, struct admin_client *c, const struct connection_filter *filter);
/* steer_out.c: which servers are kept from clients by tcpproxyctl, or by the file: note it before a change; those that are no longer after
 * it come. was_out is taken. */
bool *steer_note_out(struct supervisor *s);
void steer_let_come(struct supervisor *s, bool *was_out);
/* steer_admin.c: whether clients may come to a server, as set_admin_state of struct admin_ops. False: there is none, or `why` says what is
 * wrong. */
bool steer_admin(struct supervisor *s, const char *service, const char *what, enum admin_state value, int64_t within_ms,
                 struct buf *why);
/* steer_words.c: what is said of a server in this service alone, or (COUNTED_SERVICES) in all. False: there is no room for more, says `why`. */
struct words;
bool steer_words(struct supervisor *s, uint32_t service, uint32_t target, struct words *ret, struct buf *why);
/* Calls each for what may be said of a server in a part of this, and is: in some service (COUNTED_SERVICES), or in sections of this one that
 * have a name. */
void steer_each_part(struct supervisor *s, uint32_t service, uint32_t target,
                     void (*each)(void *arg, const struct words *words), void *arg);
/* As in struct admin_ops. */
bool steer_change(struct supervisor *s, const char *server, enum change_kind change, uint32_t n, struct buf *text);
/* steer_pool.c: change adds a server to a service, or takes one out; answers the client when all workers go by it. */
void steer_pool(struct supervisor *s, struct admin_client *c,
                bool (*change)(struct supervisor *s, const char *service, const char *server, struct buf *text),
                const char *service, const char *server);
void steer_forget_all(struct supervisor *s, struct buf *text);
void steer_changes(const struct supervisor *s, struct buf *out);
int steer_is(struct supervisor *s, const char *server, enum server_is is, struct buf *text);
/* steer_file.c: a configuration holds from now on: what it says anew of a server beats what was changed, and the log says so. */
void steer_take_file(struct supervisor *s);
/* To the log: what differs from it still. */
void steer_tell_changes(const struct supervisor *s);
/* steer_explain.c: as in struct admin_ops. */
int steer_explain(struct supervisor *s, const char *client, const char *local, char *const *more, size_t n,
                  struct buf *out);
/* What differs, with numbers for what the file said (ipc/state.h). */
void steer_state_text(const struct supervisor *s, struct buf *out);
/* A line of that. */
bool steer_again(struct supervisor *s, char **words, size_t n, struct buf *why);
/* steer_restore.c: at a start that finds no memory of before, when the configuration has been taken. */
void steer_restore(struct supervisor *s);
/* steer_state.c: something may have changed; so has the configuration; the end. */
void steer_state_look(struct supervisor *s);
void steer_state_reload(struct supervisor *s);
void steer_state_end(struct supervisor *s);
/* steer_check.c: asks a server now; answers the client. */
void steer_check(struct supervisor *s, struct admin_client *c, const char *server);
void steer_check_stop(struct supervisor *s);
/* steer_drain.c: some drain has begun, or may have ended. */
void steer_drain_plan(struct supervisor *s);
/* steer_kill.c: these end, wherever they are by now; no client waits for that any more. */
void steer_kill(struct supervisor *s, const struct connection_view *list, size_t n, enum end end);
void steer_kill_stop(struct supervisor *s);

#endif
