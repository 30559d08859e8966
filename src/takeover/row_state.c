#include "takeover/row_state.h"

#include "base/mem.h"

#define BIT(state) (1u << (state))

/* What every connection may come to: its end. */
#define END (BIT(ROW_ENDING) | BIT(ROW_ABORTING))
/* There is no server for it now. */
#define WAIT (BIT(ROW_QUEUED) | BIT(ROW_HELD))
/* Where the next server leads. */
#define NEXT_SERVER (BIT(ROW_RESOLVE) | BIT(ROW_CONNECTING) | BIT(ROW_STARTING) | WAIT)

static const unsigned next[] = {
        [ROW_FREE] = BIT(ROW_ACCEPTED) | BIT(ROW_TAKING),
        [ROW_ACCEPTED] = BIT(ROW_PREAMBLE) | BIT(ROW_SNIFFING) | BIT(ROW_VERDICT) | NEXT_SERVER | END,
        [ROW_VERDICT] = BIT(ROW_LINGER) | NEXT_SERVER | END,
        [ROW_RESOLVE] = NEXT_SERVER | END,
        [ROW_CONNECTING] = BIT(ROW_RELAY) | NEXT_SERVER | END,
        [ROW_RELAY] = BIT(ROW_RESETTING) | BIT(ROW_CLOSING) | BIT(ROW_GIVING) | END,
        [ROW_STARTING] = BIT(ROW_HANDLER) | NEXT_SERVER | END,
        [ROW_HANDLER] = END,
        [ROW_RESETTING] = END,
        [ROW_LINGER] = END,
        [ROW_CLOSING] = BIT(ROW_RESETTING) | END,
        [ROW_ENDING] = BIT(ROW_FREE) | END,
        [ROW_ABORTING] = BIT(ROW_FREE) | END,
        [ROW_GIVING] = BIT(ROW_RELAY) | BIT(ROW_FREE),
        [ROW_TAKING] = BIT(ROW_RELAY) | BIT(ROW_FREE),
        [ROW_PREAMBLE] = BIT(ROW_ACCEPTED) | END,
        [ROW_QUEUED] = BIT(ROW_SNIFFING) | BIT(ROW_VERDICT) | NEXT_SERVER | END,
        [ROW_HELD] = BIT(ROW_VERDICT) | NEXT_SERVER | END,
        [ROW_SNIFFING] = BIT(ROW_VERDICT) | NEXT_SERVER | END,
};

bool row_state_may_follow(enum row_state from, enum row_state to)
{
	if (from == to)
		return true;
	/* of a version that knows more of them: the connection is begun anew */
	return (from < ARRAY_LEN(next) && next[from] ? next[from] : next[ROW_ACCEPTED]) >> to & 1;
}

const char *row_state_name(unsigned state)
{
	static const char
	        *const names[] =
	                {
	                        [ROW_FREE] = "free",
	                        [ROW_ACCEPTED] = "accepted",
	                        [ROW_VERDICT] = "verdict",
	                        [ROW_RESOLVE] = "resolve",
	                        [ROW_CONNECTING] = "connecting",
	                        [ROW_RELAY] = "relay",
	                        [ROW_STARTING] = "starting",
	                        [ROW_HANDLER] = "handler",
	                        [ROW_RESETTING] = "resetting",
	                        [ROW_LINGER] = "linger",
	                        [ROW_CLOSING] = "closing",
	                        [ROW_ENDING] = "ending",
	                        [ROW_ABORTING] = "aborting",
	                        [ROW_GIVING] = "relay", /* to another worker, which changes nothing outside */
	                        [ROW_TAKING] = "relay",
	                        [ROW_PREAMBLE] = "preamble",
	                        [ROW_QUEUED] = "queued",
	                        [ROW_HELD] = "held",
	                        [ROW_SNIFFING] = "sniffing",
	                };

	return state < ARRAY_LEN(names) && names[state] ? names[state] : "?";
}
