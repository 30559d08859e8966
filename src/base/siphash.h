/* siphash.h - SipHash-2-4 (Aumasson, Bernstein 2012): a number for bytes that nobody can foresee who does not know the secret. */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash {
	uint64_t v[4];
};

static inline uint64_t siphash_left(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void siphash_rounds(struct siphash *h, int n)
{
	uint64_t *v = h->v;

	for (int i = 0; i < n; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = siphash_left(v[1], 13) ^ v[0];
		v[3] = siphash_left(v[3], 16) ^ v[2];
		v[0] = siphash_left(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = siphash_left(v[1], 17) ^ v[2];
		v[3] = siphash_left(v[3], 21) ^ v[0];
		v[2] = siphash_left(v[2], 32);
	}
}

static inline void siphash_word(struct siphash *h, uint64_t word)
{
	h->v[3] ^= word;
	siphash_rounds(h, 2);
	h->v[0] ^= word;
}

/* Words are little-endian, as the paper has them, so that all machines agree. */
static inline uint64_t siphash_load(const uint8_t *b, size_t n)
{
	uint64_t word = 0;

	for (size_t i = 0; i < n; i++)
		word |= (uint64_t)b[i] << 8 * i;
	return word;
}

static inline uint64_t siphash(const uint64_t secret[2], const void *bytes, size_t n)
{
	const uint8_t *b = bytes;
	struct siphash h = {{secret[0] ^ 0x736f6d6570736575ULL, secret[1] ^ 0x646f72616e646f6dULL,
	                     secret[0] ^ 0x6c7967656e657261ULL, secret[1] ^ 0x7465646279746573ULL}};
	size_t at = 0;

	for (; at + 8 <= n; at += 8)
		siphash_word(&h, siphash_load(b + at, 8));
	siphash_word(&h, (uint64_t)n << 56 | siphash_load(b + at, n - at));
	h.v[2] ^= 0xff;
	siphash_rounds(&h, 4);
	return h.v[0] ^ h.v[1] ^ h.v[2] ^ h.v[3];
}

#endif
