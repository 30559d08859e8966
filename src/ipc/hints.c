#include "ipc/hints.h"

#include <string.h>

#define PROBES 8

static uint32_t slot(uint64_t number, uint32_t probe)
{
	return (uint32_t)((number ^ number >> 32) + probe) % HINTS_SIZE;
}

uint32_t hints_find(const struct hints *h, uint64_t number, bool (*is)(const void *arg, uint32_t entry),
                    const void *arg)
{
	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t place = h->place[slot(number, i)];

		if (place == 0)
			break;
		if (is(arg, place - 1))
			return place - 1;
	}
	return HINTS_NONE;
}

void hints_note(struct hints *h, uint64_t number, uint32_t entry)
{
	uint32_t i = 0;

	while (i < PROBES - 1 && h->place[slot(number, i)] && h->place[slot(number, i)] != entry + 1)
		i++;
	h->used += h->place[slot(number, i)] == 0;
	h->place[slot(number, i)] = entry + 1;
}

uint32_t hints_begin(struct hints *h, const void *of, uint32_t n)
{
	uint32_t first;

	if (h->of != of || h->known > n || h->used > HINTS_SIZE / 2) { /* many lead nowhere by now */
		memset(h, 0, sizeof(*h));
		h->of = of;
	}
	first = h->known;
	h->known = n;
	return first;
}
