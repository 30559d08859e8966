/* pattern.c - a stream of bytes that repeats after a prime number of them. */
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define PERIOD 262139u
#define ENDS   64         /* bytes that are compared at each end of a piece */
#define ALL    (1u << 20) /* so far into a stream, every byte is */

static unsigned char bytes_of[PERIOD + GULP];

void pattern_init(void)
{
	uint32_t x = 19991231;

	for (size_t i = 0; i < PERIOD; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		bytes_of[i] = (unsigned char)(x >> 11);
	}
	memcpy(bytes_of + PERIOD, bytes_of, GULP);
}

const void *pattern_at(uint32_t seed, uint64_t offset, size_t n)
{
	if (n > GULP)
		abort();
	return bytes_of + (seed * 7919ull + offset) % PERIOD;
}

void pattern_check(const void *bytes, size_t n, uint32_t seed, uint64_t offset)
{
	const unsigned char *got = bytes, *wanted = pattern_at(seed, offset, n);
	size_t ends = n < ENDS ? n : ENDS;

	if (offset + n <= ALL ? !memcmp(got, wanted, n)
	                      : !memcmp(got, wanted, ends) && !memcmp(got + n - ends, wanted + n - ends, ends))
		return;
	die("wrong bytes in the %zu from offset %llu on", n, (unsigned long long)offset);
}
