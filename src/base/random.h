/* random.h - numbers that need not be secret: xorshift64 (Marsaglia, 2003). */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>
#include <sys/random.h>

/* Where a generator begins; never 0. */
static inline uint64_t random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed) || seed == 0)
		seed = 0x9e3779b97f4a7c15;
	return seed;
}

/* The next one, from 1. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
