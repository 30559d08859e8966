/*
 * row_state.h - the one way to change the state of a row (docs/relay-states.md): whatever was written before it stands in memory
 * before it, and a worker may die before and after, which the tests let it do at each such point.
 */
#ifndef TAKEOVER_ROW_STATE_H
#define TAKEOVER_ROW_STATE_H

#include <stdbool.h>
#include "base/check.h"
#include "base/fault.h"
#include "takeover/table.h"

/* Can the one follow the other? The same again is no change: a successor may repeat what was begun. */
/* As it is shown. */
const char *row_state_name(unsigned state);
bool row_state_may_follow(enum row_state from, enum row_state to);

static inline void row_set_state(struct row *row, enum row_state next)
{
#ifdef FAULTS
	CHECK(row_state_may_follow((enum row_state)row->state, next));
#endif
	barrier();
	FAULT_POINT();
	row->state = (uint8_t)next;
	barrier();
	FAULT_POINT();
}

#endif
