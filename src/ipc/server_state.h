/*
 * server_state.h - what a server is said to be: in the log, to `notify` programs, to whoever looks in. Computed from what checks and
 * clients have found and what tcpproxyctl says, never kept; kept is only what was told last, so that a supervisor that follows one
 * that has died knows what nobody has heard of yet.
 */
#ifndef IPC_SERVER_STATE_H
#define IPC_SERVER_STATE_H

#include "ipc/told_state.h"
#include "ipc/world.h"

const char *server_state_name(enum server_state state); /* "up" */

/* By the checks of its seat, if it has one. health: what they say; with `now` of health_read() it is what is so. */
enum server_state server_state(const struct world *w, const struct standing *s, enum health_state health);
/* The same, with what the checks say now. */
enum server_state server_state_now(const struct world *w, const struct standing *s);

#endif
