/*
 * moving_parts.h - what the parts of moving have from each other: moving.c (the link), moving_rows.c (what both sides do), moving_give.c,
 * moving_take.c. Not for others.
 */
#ifndef PROXY_MOVING_PARTS_H
#define PROXY_MOVING_PARTS_H

#include "proxy/engine.h"
#include "proxy/moving.h"

extern struct handover_message moving_message; /* one is written or read at a time */

static inline struct move *move_of(struct engine *e, uint32_t i)
{
	return &trio_moves(e->env.trio)->rows[i];
}

static inline enum move_state given_state(struct engine *e, uint32_t i)
{
	return (enum move_state)(atomic_load(&move_of(e, i)->given) & 3);
}

/* moving_rows.c */
/* The row's connection is the other's: our copies are closed, and have left nothing that could end a stream. */
void moving_close_copies(struct engine *e, uint32_t i);
void moving_free_row(struct engine *e, uint32_t i);
/* whole: nothing is left that could go. */
void moving_end_link(struct engine *e, bool whole);

/* moving_give.c */
uint32_t moving_half_of_busy(struct engine *e); /* how many: half of what is busy is to stay */
void moving_begin_giving(struct engine *e);
/* Answers of the taker, in moving_message. */
void moving_taker_is_open(struct engine *e);
void moving_taken(struct engine *e);
/* Rows that were offered or given: what has become of them? Those that the taker has not let go of yet stay. */
void moving_settle_given(struct engine *e);
/* It is ours alone, whatever comes: the taker sees that the word is another. */
void moving_take_back(struct engine *e, uint32_t i);

/* moving_take.c */
/* To the giver's message of this serial. */
void moving_answer(struct engine *e, enum handover_type type, uint32_t serial, uint32_t n);
void moving_take_rows(struct engine *e, int *fds, size_t n_fds); /* in moving_message; fds are taken */
/* What has become of the rows that are kept? lazily: those that are ours now are taken up later. */
void moving_settle_taken(struct engine *e, bool lazily);

#endif
