#include "children/phase.h"

#include <stddef.h>
#include "base/check.h"
#include "base/log.h"

#define DRAINS  "a graceful stop is under way: nothing new is accepted any more"
#define LEAVES  "a restart or a stop is under way"
#define STOPS   "it is stopping"
#define ALREADY "that is under way already"

static const char *const refusals[PHASES][REQUESTS] = {
        [PHASE_STARTING] = {[REQUEST_UPGRADE] = "it is still starting"},
        [PHASE_SERVING] = {NULL},
        [PHASE_DRAINING] = {[REQUEST_RELOAD] = DRAINS, [REQUEST_UPGRADE] = DRAINS, [REQUEST_DRAIN] = ALREADY},
        [PHASE_LEAVING] = {[REQUEST_RELOAD] = LEAVES, [REQUEST_UPGRADE] = LEAVES, [REQUEST_DRAIN] = LEAVES},
        [PHASE_STOPPING] = {[REQUEST_RELOAD] = STOPS,
                            [REQUEST_UPGRADE] = STOPS,
                            [REQUEST_DRAIN] = STOPS,
                            [REQUEST_LEAVE] = ALREADY,
                            [REQUEST_STOP] = ALREADY},
};

/* A bit for each that can come next. */
static const unsigned next[PHASES] = {
        [PHASE_STARTING] = 1u << PHASE_SERVING | 1u << PHASE_STOPPING,
        [PHASE_SERVING] = 1u << PHASE_DRAINING | 1u << PHASE_LEAVING | 1u << PHASE_STOPPING,
        [PHASE_DRAINING] = 1u << PHASE_STOPPING,
        [PHASE_LEAVING] = 1u << PHASE_STOPPING,
};

const char *phase_name(enum phase p)
{
	static const char *const names[PHASES] = {
	        [PHASE_STARTING] = "starting", [PHASE_SERVING] = "serving",   [PHASE_DRAINING] = "draining",
	        [PHASE_LEAVING] = "leaving",   [PHASE_STOPPING] = "stopping",
	};

	return names[p];
}

bool phase_may_follow(enum phase from, enum phase to)
{
	return next[from] >> to & 1;
}

const char *phase_refuses(enum phase p, enum request r)
{
	return refusals[p][r];
}

void phase_set(enum phase *phase, enum phase next_one)
{
	CHECK(phase_may_follow(*phase, next_one));
	log_debug("the supervisor is %s, was %s", phase_name(next_one), phase_name(*phase));
	*phase = next_one;
}

const char *phase_ask(enum phase phase, enum request r, const char *what)
{
	const char *why = phase_refuses(phase, r);

	if (why)
		log_warning("%s: %s", what, why);
	return why;
}
