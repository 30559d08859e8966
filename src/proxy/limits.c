#include "proxy/limits.h"

#include <stdlib.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"

#define COUNT_BITS 20
#define COUNT_MASK ((1ULL << COUNT_BITS) - 1)

uint64_t limit_key(enum limit_kind kind, const void *data, size_t len)
{
	uint64_t h = hash_bytes(HASH_START ^ (uint64_t)kind, data, len);

	/* a final mix, so that the upper bits depend on all */
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15ULL;
	h &= ~COUNT_MASK;
	return h ? h : 1ULL << COUNT_BITS;
}

uint64_t limit_key_from(uint64_t word)
{
	return word & ~COUNT_MASK;
}

static uint32_t first_slot(uint64_t key, uint32_t slots)
{
	return (uint32_t)(key >> COUNT_BITS) & (slots - 1);
}

static uint64_t read_word(const atomic_ullong *w)
{
	return atomic_load_explicit(w, memory_order_seq_cst);
}

static uint32_t count_in(const struct trio *t, uint64_t key)
{
	const atomic_ullong *table = trio_limits(t);
	const uint32_t slots = trio_limit_slots(t);

	for (uint32_t i = first_slot(key, slots), n = 0; n < slots; n++) {
		uint64_t word = read_word(&table[i]);

		if (word == 0)
			return 0;
		if ((word & ~COUNT_MASK) == key)
			return (uint32_t)(word & COUNT_MASK);
		i = (i + 1) & (slots - 1);
	}
	return 0;
}

/* The word of this key in the own table; a word whose count fell to 0 may serve another key. */
static atomic_ullong *own_word(struct limits *l, uint64_t key, bool make)
{
	struct trio *t = l->trios[l->own];
	atomic_ullong *table = trio_limits(t);
	atomic_ullong *unused = NULL;
	const uint32_t slots = trio_limit_slots(t);

	for (uint32_t i = first_slot(key, slots), n = 0; n < slots; n++) {
		uint64_t word = read_word(&table[i]);

		if ((word & ~COUNT_MASK) == key && word != 0)
			return &table[i];
		if (!unused && (word & COUNT_MASK) == 0)
			unused = &table[i];
		if (word == 0)
			break;
		i = (i + 1) & (slots - 1);
	}
	return make ? unused : NULL;
}

uint32_t limits_count(const struct limits *l, uint64_t key)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < l->n_trios; i++)
		sum += count_in(l->trios[i], key);
	return sum;
}

bool limits_take(struct limits *l, uint64_t key, uint32_t max)
{
	atomic_ullong *word = own_word(l, key, true);

	if (!word)
		return max == 0; /* cannot be: there are twice as many words as keys in use */
	/* Count first, look then: two workers at the last place may both step back, but never both
	 * go on. */
	if ((read_word(word) & ~COUNT_MASK) != key)
		atomic_store(word, key);
	atomic_fetch_add(word, 1);
	if (max == 0 || limits_count(l, key) <= max)
		return true;
	limits_give(l, key);
	return false;
}

/* Words whose count fell to 0 are emptied where no chain of another key leads through them: from
 * here backwards, if the next word is empty. */
static void tidy(struct trio *t, atomic_ullong *word)
{
	atomic_ullong *table = trio_limits(t);
	uint32_t mask = t->limit_slots - 1;
	uint32_t i = (uint32_t)(word - table);

	if (read_word(&table[(i + 1) & mask]) != 0)
		return;
	for (uint32_t n = 0; n < t->limit_slots; n++) {
		if (read_word(&table[i]) == 0 || (read_word(&table[i]) & COUNT_MASK) != 0)
			return;
		atomic_store(&table[i], 0);
		i = (i - 1) & mask;
	}
}

void limits_give(struct limits *l, uint64_t key)
{
	atomic_ullong *word = key ? own_word(l, key, false) : NULL;

	if (word && (read_word(word) & COUNT_MASK) > 0)
		atomic_fetch_sub(word, 1);
	if (word && (read_word(word) & COUNT_MASK) == 0)
		tidy(l->trios[l->own], word);
}

/* ---- counting again ---- */

/* The word of this key, or the empty one that is to be. There are twice as many words as keys. */
static uint64_t *recounted(const struct limits_recount *r, uint64_t key)
{
	uint32_t i = first_slot(key, r->slots);

	for (uint32_t n = 1; n < r->slots && r->words[i] != 0 && (r->words[i] & ~COUNT_MASK) != key; n++)
		i = (i + 1) & (r->slots - 1);
	return &r->words[i];
}

void limits_recount_begin(struct limits_recount *r, struct limits *l)
{
	r->limits = l;
	r->slots = trio_limit_slots(l->trios[l->own]);
	r->words = mem_alloc(r->slots * sizeof(*r->words));
}

void limits_recount_add(struct limits_recount *r, uint64_t key)
{
	uint64_t *word = recounted(r, key);

	if (key)
		*word = (*word ? *word : key) + 1;
}

void limits_recount_set(struct limits_recount *r, uint64_t key, uint32_t number)
{
	*recounted(r, key) = key | (number + 1);
}

/* What the predecessor has counted and we have not, is 0; what we have, too, is right. */
static void correct(const struct limits_recount *r, atomic_ullong *word)
{
	uint64_t was = read_word(word), is;

	if (was == 0)
		return;
	is = *recounted(r, was & ~COUNT_MASK);
	if (is == 0)
		is = was & ~COUNT_MASK;
	if (is != was)
		atomic_store(word, is);
}

static void add_if_missing(const struct limits_recount *r, uint64_t is)
{
	atomic_ullong *word = is ? own_word(r->limits, is & ~COUNT_MASK, true) : NULL;

	if (word && read_word(word) != is)
		atomic_store(word, is);
}

void limits_recount_end(struct limits_recount *r)
{
	struct trio *t = r->limits->trios[r->limits->own];
	atomic_ullong *table = trio_limits(t);

	for (uint32_t i = 0; i < r->slots; i++)
		correct(r, &table[i]);
	for (uint32_t i = 0; i < r->slots; i++)
		add_if_missing(r, r->words[i]);
	for (uint32_t i = r->slots; i-- > 0;)
		if (read_word(&table[i]) != 0 && (read_word(&table[i]) & COUNT_MASK) == 0)
			tidy(t, &table[i]);
	free(r->words);
	r->words = NULL;
}

/* ---- numbers ---- */

void limits_set(struct limits *l, uint64_t key, uint32_t number)
{
	atomic_ullong *word = own_word(l, key, true);

	if (word)
		atomic_store(word, key | (number + 1));
}

void limits_unset(struct limits *l, uint64_t key, uint32_t number)
{
	atomic_ullong *word = own_word(l, key, false);

	if (!word || (read_word(word) & COUNT_MASK) != number + 1)
		return;
	atomic_store(word, key);
	tidy(l->trios[l->own], word);
}

bool limits_number(const struct trio *t, uint64_t key, uint32_t *ret)
{
	uint32_t count = count_in(t, key);

	*ret = count - 1;
	return count > 0;
}

/* ---- a new client ---- */

static bool take(struct limits *l, struct row_cold *cold, enum limit_kind kind, uint64_t key, uint32_t max)
{
	if (cold->limit[kind])
		return true;
	FAULT_POINT();
	cold->limit[kind] = key;
	if (limits_take(l, key, max))
		return true;
	cold->limit[kind] = 0;
	return false;
}

static uint64_t global_key(void)
{
	return limit_key(LIMIT_GLOBAL, "", 0);
}

enum why limits_take_place(struct limits *l, const struct ruleset *rules, const struct section *section,
                           struct row_cold *cold)
{
	if (take(l, cold, LIMIT_GLOBAL, global_key(), rules->config->max_connections) &&
	    take(l, cold, LIMIT_SERVICE, rules->service_keys[section->service], section->max_connections))
		return WHY_NONE;
	return WHY_MAX_CONNECTIONS;
}

bool limits_have_place(const struct limits *l, const struct ruleset *rules, const struct section *section)
{
	uint32_t all = rules->config->max_connections, of_service = section->max_connections;

	return (all == 0 || limits_count(l, global_key()) < all) &&
	       (of_service == 0 || limits_count(l, rules->service_keys[section->service]) < of_service);
}

enum why limits_take_client(struct limits *l, const struct ruleset *rules, const struct section *section,
                            struct row_cold *cold)
{
	struct {
		uint32_t service;
		struct addr net;
	} client = {0};

	/* counted without a limit, too: the next reload may bring one */
	client.service = rules->config->services[section->service].number;
	client.net = addr_client_network(&cold->client);
	if (!take(l, cold, LIMIT_CLIENT, limit_key(LIMIT_CLIENT, &client, sizeof(client)),
	          section->max_connections_per_client))
		return WHY_MAX_CONNECTIONS_PER_CLIENT;
	return WHY_NONE;
}

void limits_give_kind(struct limits *l, struct row_cold *cold, enum limit_kind kind)
{
	limits_give(l, cold->limit[kind]);
	FAULT_POINT();
	cold->limit[kind] = 0;
}
