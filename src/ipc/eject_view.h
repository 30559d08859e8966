/* eject_view.h - what a snapshot (collect.h) says of a server that is ejected, or grows. */
#ifndef IPC_EJECT_VIEW_H
#define IPC_EJECT_VIEW_H

#include "ipc/world.h"
#include "stats/snapshot.h"

/* Where `eject` is, an ejection stands above what the last client has found, but not above what a check says. left: the reason says how long
 * it lasts still. */
void eject_view(struct snapshot *s, const struct world *w, const struct section *section, uint32_t target, bool left,
                struct server_view *v);

/* A member's weight, its max and its ejections, as they are now; its target and max_file are set. */
void member_view_now(const struct world *w, const struct section *section, const struct standing *of,
                     struct member_view *m);

#endif
