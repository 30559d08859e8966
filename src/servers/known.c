#include "servers/known.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* By address, or by host and port. */
static int compare_items(const void *pa, const void *pb)
{
	const struct known_item *a = pa, *b = pb;
	int d = (int)a->addr.family - (int)b->addr.family;

	if (d == 0)
		d = memcmp(a->addr.ip, b->addr.ip, sizeof(a->addr.ip));
	if (d == 0 && a->host && b->host)
		d = strcmp(a->host, b->host);
	return d ? d : (int)a->port - (int)b->port;
}

static void item_release(struct known_item *i)
{
	free(i->host);
}

void known_release(struct knowledge *k)
{
	for (size_t i = 0; i < k->n; i++)
		item_release(&k->list[i]);
	free(k->list);
	*k = (struct knowledge){.n = 0};
}

/* In their order, each once. */
static void put_in_order(struct knowledge *k)
{
	size_t kept = 0;

	if (k->n > 1)
		qsort(k->list, k->n, sizeof(*k->list), compare_items);
	for (size_t i = 0; i < k->n; i++) {
		if (kept > 0 && compare_items(&k->list[kept - 1], &k->list[i]) == 0)
			item_release(&k->list[i]);
		else
			k->list[kept++] = k->list[i];
	}
	k->n = kept;
}

/* ---- an answer, and what was known ---- */

static bool stays(struct known_item *old, uint16_t unanswered, const struct known_times *t, int64_t now_ms)
{
	if (unanswered != AF_UNSPEC && old->addr.family == unanswered) {
		old->gone_ms = 0;
		return true;
	}
	if (old->gone_ms == 0)
		old->gone_ms = now_ms;
	return now_ms - old->gone_ms < t->hold_ms;
}

static bool same_values(const struct known_item *a, const struct known_item *b)
{
	return a->priority == b->priority && a->weight == b->weight;
}

/* What the answer says goes to the front of the room, and what is only held behind it: where there is no room for all, those are left
 * out. */
static bool merge(struct knowledge *k, struct knowledge *answer, uint16_t unanswered, const struct known_times *t,
                  int64_t now_ms)
{
	struct knowledge now = {.list = mem_alloc((k->n + answer->n + 1) * sizeof(*now.list))};
	size_t i = 0;
	bool changed = false;

	if (answer->n > 0)
		memcpy(now.list, answer->list, answer->n * sizeof(*now.list));
	now.n = answer->n;
	for (size_t o = 0; o < k->n; o++) {
		struct known_item *old = &k->list[o];
		int d = 1;

		while (i < answer->n && (d = compare_items(&answer->list[i], old)) < 0)
			i++;
		if (i < answer->n && d == 0) {
			changed |= !same_values(&answer->list[i], old);
			item_release(old);
		} else if (now.n < KNOWN_MAX && stays(old, unanswered, t, now_ms)) {
			now.list[now.n++] = *old;
		} else {
			changed = true;
			item_release(old);
		}
	}
	changed |= now.n != k->n;
	free(answer->list);
	free(k->list);
	*k = now;
	put_in_order(k);
	return changed;
}

static bool take(struct knowledge *k, struct knowledge *answer, uint16_t unanswered, const struct known_times *t,
                 int64_t now_ms)
{
	put_in_order(answer);
	while (answer->n > KNOWN_MAX)
		item_release(&answer->list[--answer->n]);
	return merge(k, answer, unanswered, t, now_ms);
}

bool known_addrs(struct knowledge *k, const struct addr *addrs, size_t n, uint16_t unanswered,
                 const struct known_times *t, int64_t now_ms)
{
	struct knowledge answer = {.list = mem_alloc((n + 1) * sizeof(*answer.list)), .n = n};

	for (size_t i = 0; i < n; i++) {
		answer.list[i] = (struct known_item){.addr = addrs[i]};
		answer.list[i].addr.port = 0;
	}
	return take(k, &answer, unanswered, t, now_ms);
}

bool known_records(struct knowledge *k, const struct srv_record *records, size_t n, const struct known_times *t,
                   int64_t now_ms)
{
	struct knowledge answer = {.list = mem_alloc((n + 1) * sizeof(*answer.list)), .n = n};

	for (size_t i = 0; i < n; i++)
		answer.list[i] = (struct known_item){.host = mem_strdup(records[i].host),
		                                     .port = records[i].port,
		                                     .priority = records[i].priority,
		                                     .weight = records[i].weight};
	return take(k, &answer, AF_UNSPEC, t, now_ms);
}

/* ---- what time does ---- */

bool known_none(struct knowledge *k, const struct known_times *t, int64_t now_ms)
{
	int64_t none_ms = k->none_ms ? k->none_ms : now_ms;
	bool had = k->n > 0;

	k->none_ms = none_ms;
	if (!known_is_over(k, t, now_ms))
		return false;
	known_release(k);
	k->none_ms = none_ms;
	return had;
}

bool known_is_over(const struct knowledge *k, const struct known_times *t, int64_t now_ms)
{
	return k->none_ms && now_ms - k->none_ms >= t->keep_ms;
}

bool known_drop(struct knowledge *k, const struct known_times *t, int64_t now_ms)
{
	size_t left = 0, n = k->n;

	for (size_t i = 0; i < n; i++) {
		struct known_item *item = &k->list[i];

		if (item->gone_ms == 0 || now_ms - item->gone_ms < t->hold_ms)
			k->list[left++] = *item;
		else
			item_release(item);
	}
	k->n = left;
	return left < n;
}

int64_t known_next_drop(const struct knowledge *k, const struct known_times *t)
{
	int64_t first_ms = INT64_MAX;

	for (size_t i = 0; i < k->n; i++)
		if (k->list[i].gone_ms && k->list[i].gone_ms + t->hold_ms < first_ms)
			first_ms = k->list[i].gone_ms + t->hold_ms;
	return first_ms;
}
