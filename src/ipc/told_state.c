#include "ipc/told_state.h"

/* bits 0-3 to the log, 4-7 to programs, then milliseconds */

#define STATE_MASK 0xfULL

struct told_state told_state_read(const atomic_ullong *word, bool checked)
{
	uint64_t now = atomic_load(word);
	enum server_state nothing = checked ? STATE_UNKNOWN : STATE_UNTRIED;
	struct told_state t = {.logged = (enum server_state)(now & STATE_MASK),
	                       .noted = (enum server_state)(now >> 4 & STATE_MASK),
	                       .limited_ms = (int64_t)(now >> 8)};

	if (!t.logged)
		t.logged = nothing;
	if (!t.noted)
		t.noted = nothing;
	return t;
}

void told_state_write(atomic_ullong *word, struct told_state t)
{
	atomic_store(word, (uint64_t)t.limited_ms << 8 | (uint64_t)t.noted << 4 | (uint64_t)t.logged);
}

void told_state_check(atomic_ullong *word)
{
	uint64_t now = atomic_load(word);

	if ((now & STATE_MASK) >= SERVER_STATES || (now >> 4 & STATE_MASK) >= SERVER_STATES)
		atomic_store(word, 0);
}
