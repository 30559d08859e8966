/* eject_view.h - what a snapshot (collect.h) says of a server that is ejected. */
#ifndef IPC_EJECT_VIEW_H
#define IPC_EJECT_VIEW_H

#include "ipc/world.h"
#include "stats/snapshot.h"

/* Where `eject` is, an ejection stands above what the last client has found, but not above what a check says. left: the reason says how long
 * it lasts still. */
void eject_view(struct snapshot *s, const struct world *w, const struct section *section, uint32_t target, bool left,
                struct server_view *v);

#endif
