/*
 * relay_parts.h - what the parts of the relay have from each other: relay.c (two directions, the ends of both), relay_state.c
 * (how far it is),
 * relay_time.c (silence and waiting), relay_resume.c (after a worker's death). Not for others.
 */
#ifndef PROXY_RELAY_PARTS_H
#define PROXY_RELAY_PARTS_H

#include "proxy/relay.h"

static inline enum side other(enum side s)
{
	return s == CLIENT ? SERVER : CLIENT;
}

static inline struct row_cold *cold_of(const struct relay *r)
{
	struct trio *t = r->owner->env->trio;

	return trio_cold(t, row_index(t, r->row));
}

static inline bool is_unix(const struct relay *r, enum side s)
{
	return r->row->flags & (s == CLIENT ? ROWFLAG_CLIENT_UNIX : ROWFLAG_SERVER_UNIX);
}

static inline bool was_reset(const struct relay *r, enum side s)
{
	return r->row->flags & (s == CLIENT ? ROWFLAG_CLIENT_RESET : ROWFLAG_SERVER_RESET);
}

/* relay_state.c */
void relay_init(struct relay *r, const struct relay_owner *owner, struct row *row);
void relay_finish(struct relay *r, enum relay_outcome outcome);
/* Bytes are missing: better no end of a stream than a wrong one. */
void relay_lose(struct relay *r, const char *why);
/* A byte that moves and the end of a stream are signs of life; the next time limit is measured from the last of them. */
void relay_note_life(struct relay *r);
void relay_note_reset(struct relay *r, enum side s);
/* Receiving from side s, or sending to it, has failed. false: it is not over, and so the relay is lost. */
bool relay_note_error(struct relay *r, enum side s, bool sending, int error);
bool relay_half_closed(const struct relay *r);
/* closing: both streams have ended, so that only a FIN may be under way; else side s is to get a reset after all
 * data. */
bool relay_all_acknowledged(struct relay *r, enum side s, bool closing);

/* relay_time.c */
void relay_plan_tick(struct relay *r);                /* RELAY: for silence */
void relay_plan_look(struct relay *r, int64_t in_ms); /* RESETTING, CLOSING: for acknowledgements */

#endif
