/*
 * changes.h - what differs from the file because tcpproxyctl has changed it (ipc/changed.h), as commands; and what becomes of it when
 * the file changes.
 */
#ifndef IPC_CHANGES_H
#define IPC_CHANGES_H

#include "base/buf.h"
#include "ipc/world.h"

/* The commands of tcpproxyctl that would change this server, or this service, so again: one a line, quoted for sh. */
void changes_of(const struct world *w, const struct spoken *of, int64_t now_ms, struct buf *out);
void changes_of_service(const struct known_service *s, struct buf *out);
/* That tcpproxyctl has added it to this service, or taken it out of it. */
void changes_of_pool(bool added, const char *service, const char *server, struct buf *out);
void changes_of_added(const char *service, const struct server *server, struct buf *out);
/* Commands, one a line, as "weight db1 5, max db1 3". */
void changes_join(const char *commands, struct buf *out);
/* The word that means this server to tcpproxyctl, not quoted. */
void changes_word(const struct world *w, const struct spoken *of, struct buf *out);

/* Supervisor only, when the world has been given this configuration: what the file says anew of a server beats what was changed of it.
 * forgotten is called for each that this takes something from: server: its word; gone: it is no server any more; commands: what was. */
void changes_take(struct world *w, const struct config *c,
                  void (*forgotten)(void *arg, const char *server, bool gone, const char *commands), void *arg);

/* What is said of one; supervisors write it. */
struct words {
	atomic_uint *admin_state;
	struct changed *changed;
	struct spoken of;
};
struct words words_of_target(struct world *w, uint32_t target);
struct words words_of_spot(struct spot *p);
/* Also whether clients may come to it. */
void words_forget(const struct words *words);

/* Supervisor only: where something is to be said of this server in this service alone; it is noted what the file, which is in force, says of
 * it there. NULL: there is no room. */
struct spot *changes_spot(struct world *w, const struct config *c, uint32_t service, uint32_t target);

#endif
