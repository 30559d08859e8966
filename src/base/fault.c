#include "base/fault.h"

#ifdef FAULTS
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"

static uint64_t one_in, state;

void fault_arm(void)
{
	const char *n = getenv("TCPPROXY_FAULTS");

	one_in = n ? strtoull(n, NULL, 10) : 0;
	state = (uint64_t)clock_mono_us() << 20 ^ (uint64_t)getpid();
}

void fault_point(void)
{
	/* xorshift64 (Marsaglia 2003) */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	if (one_in && state % one_in == 0)
		kill(getpid(), SIGKILL);
}
#endif
