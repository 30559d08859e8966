#include "ipc/hints.h"

#include <string.h>

#define PROBES 8

static uint32_t slot(uint64_t number, uint32_t probe)
{
	return (uint32_t)((number ^ number >> 32) + probe) % HINTS_SIZE;
}

static uint32_t find(const struct hints *h, const struct hinted *w)
{
	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t place = h->place[slot(w->number, i)];

		if (place == 0)
			break;
		if (place <= w->n && w->is(w->arg, place - 1))
			return place - 1;
	}
	return HINTS_NONE;
}

static void note(struct hints *h, uint64_t number, uint32_t entry)
{
	uint32_t i = 0;

	while (i < PROBES - 1 && h->place[slot(number, i)] && h->place[slot(number, i)] != entry + 1)
		i++;
	h->used += h->place[slot(number, i)] == 0;
	h->place[slot(number, i)] = entry + 1;
}

/* Entries that have come since; all, if the hints are of another table, or many lead nowhere by now. */
static void note_new(struct hints *h, const struct hinted *w)
{
	if (h->of != w->table || h->known > w->n || h->used > HINTS_SIZE / 2) {
		memset(h, 0, sizeof(*h));
		h->of = w->table;
	}
	for (uint32_t i = h->known; i < w->n; i++)
		note(h, w->number_of(w->arg, i), i);
	h->known = w->n;
}

static uint32_t find_or_note_new(struct hints *h, const struct hinted *w)
{
	uint32_t i = h->of == w->table ? find(h, w) : HINTS_NONE;

	if (i != HINTS_NONE || (h->of == w->table && h->known == w->n))
		return i;
	note_new(h, w);
	return find(h, w);
}

uint32_t hints_look_up(struct hints *h, const struct hinted *w)
{
	bool hinted = w->n >= HINTS_FROM;
	uint32_t i = hinted ? find_or_note_new(h, w) : HINTS_NONE;

	if (i != HINTS_NONE)
		return i;
	for (i = 0; i < w->n && !w->is(w->arg, i); i++)
		;
	if (i == w->n)
		return HINTS_NONE;
	if (hinted)
		note(h, w->number, i);
	return i;
}
