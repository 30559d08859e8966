#include "ipc/stick.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "base/random.h"
#include "base/siphash.h"
#include "os/shm.h"

#define MAGIC   0x7463707073303031ULL
#define WAYS    8
#define ONE_MAX 64 /* entries of a single bucket */
#define TRIES   4  /* other workers may be faster each time */

struct stick_entry {
	atomic_ullong key;
	atomic_ullong value; /* 0: free */
};

struct stick_memory {
	uint64_t magic;
	uint64_t secret[2];
	uint64_t pad[13]; /* buckets begin where lines of the cache do */
	struct stick_entry entries[];
};

_Static_assert(sizeof(struct stick_memory) == 128 && sizeof(struct stick_entry) == 16, "other programs read it");

/* ---- a value: target, check, time ---- */

#define TARGET_BITS 14
#define CHECK_BITS  16
#define TIME_BITS   34
#define UNIT        4 /* 16 ms: eight years */

_Static_assert(TARGETS_MAX <= 1u << TARGET_BITS && TARGET_BITS + CHECK_BITS + TIME_BITS == 64, "a word");

#define TIME_MASK ((1ULL << TIME_BITS) - 1)

/* When it was used last; 0: it is free. */
static uint64_t stamp_of(uint64_t value)
{
	return value & TIME_MASK;
}

static uint64_t check_of(uint64_t key, uint64_t spelt)
{
	return (key ^ spelt) * 0x9e3779b97f4a7c15ULL >> (64 - CHECK_BITS);
}

static uint32_t target_of(uint64_t value)
{
	return (uint32_t)(value >> (CHECK_BITS + TIME_BITS));
}

static uint64_t value_of(uint64_t key, const struct targets *t, uint32_t target, int64_t now_ms)
{
	uint64_t value = (uint64_t)target << (CHECK_BITS + TIME_BITS) | check_of(key, t->spelt[target]) << TIME_BITS |
	                 ((uint64_t)(now_ms >> UNIT) & TIME_MASK);

	return value ? value : 1;
}

/* It was written for this client, and the server is still the one that was meant. */
static bool is_true(uint64_t value, uint64_t key, const struct targets *t)
{
	uint32_t target = target_of(value);

	return value && target < TARGETS_MAX && target < atomic_load_explicit(&t->n, memory_order_relaxed) &&
	       (value >> TIME_BITS & ((1u << CHECK_BITS) - 1)) == check_of(key, t->spelt[target]);
}

static int64_t age_of(uint64_t value, int64_t now_ms)
{
	return now_ms - (int64_t)(stamp_of(value) << UNIT);
}

/* ---- its memory ---- */

/* A single bucket, or more of eight than would be needed: with two in each on the average, one of 4000 overflows. */
static uint32_t entries_for(uint32_t clients)
{
	uint32_t buckets = 1;

	if (clients <= ONE_MAX)
		return clients;
	while (buckets * 2 < clients)
		buckets *= 2;
	return buckets * WAYS;
}

size_t stick_size(uint32_t clients)
{
	return sizeof(struct stick_memory) + entries_for(clients) * sizeof(struct stick_entry);
}

/* What can be wrong is seen by the size, which is sealed. */
static bool take_size(struct stick *s, size_t size)
{
	size_t entries = size < sizeof(struct stick_memory)
	                         ? 0
	                         : (size - sizeof(struct stick_memory)) / sizeof(struct stick_entry);

	if (entries == 0 || entries > entries_for(STICK_CLIENTS_MAX) ||
	    size != sizeof(struct stick_memory) + entries * sizeof(struct stick_entry))
		return false;
	s->size = size;
	s->n_ways = entries <= ONE_MAX ? (uint32_t)entries : WAYS;
	s->n_buckets = (uint32_t)entries / s->n_ways;
	return entries <= ONE_MAX || (entries % WAYS == 0 && (s->n_buckets & (s->n_buckets - 1)) == 0);
}

static void make_secret(uint64_t secret[2])
{
	if (getrandom(secret, 2 * sizeof(*secret), GRND_NONBLOCK) == 2 * sizeof(*secret))
		return;
	secret[0] = random_seed();
	secret[1] = random_next(&secret[0]);
}

static struct stick_entry *bucket_of(const struct stick *s, uint64_t key)
{
	return &s->memory->entries[(size_t)(key & (s->n_buckets - 1)) * s->n_ways];
}

/* Nobody else knows the new one yet. Of those that meet the longest unused is left out. */
static void take_over(const struct stick *s, const struct stick *before)
{
	size_t n = (size_t)before->n_buckets * before->n_ways;

	for (size_t i = 0; i < n; i++) {
		uint64_t key = atomic_load(&before->memory->entries[i].key);
		uint64_t value = atomic_load(&before->memory->entries[i].value);
		struct stick_entry *e = bucket_of(s, key), *oldest = e;

		for (uint32_t k = 1; k < s->n_ways; k++)
			if (stamp_of(atomic_load(&e[k].value)) < stamp_of(atomic_load(&oldest->value)))
				oldest = &e[k];
		if (stamp_of(value) <= stamp_of(atomic_load(&oldest->value)))
			continue;
		atomic_store(&oldest->key, key);
		atomic_store(&oldest->value, value);
	}
}

int stick_new(uint32_t clients, const struct stick *before, struct stick *ret)
{
	struct stick s = {0};
	void *map;
	int fd = shm_new("tcpproxy-stick", stick_size(clients), &map);

	if (fd < 0)
		return fd;
	s.memory = map;
	take_size(&s, stick_size(clients));
	s.memory->magic = MAGIC;
	if (before && before->memory)
		memcpy(s.secret, before->secret, sizeof(s.secret));
	else
		make_secret(s.secret);
	memcpy(s.memory->secret, s.secret, sizeof(s.secret));
	if (before && before->memory)
		take_over(&s, before);
	*ret = s;
	return fd;
}

bool stick_map(int fd, struct stick *ret)
{
	struct stick s = {0};
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < 0 || !take_size(&s, (size_t)st.st_size))
		return false;
	s.memory = shm_map_fixed(fd, s.size, true);
	if (!s.memory)
		return false;
	memcpy(s.secret, s.memory->secret, sizeof(s.secret));
	if (s.memory->magic != MAGIC) {
		stick_unmap(&s);
		return false;
	}
	*ret = s;
	return true;
}

void stick_unmap(struct stick *s)
{
	if (s->memory)
		munmap(s->memory, s->size);
	*s = (struct stick){0};
}

/* ---- clients ---- */

uint64_t stick_key(const struct stick *s, const struct addr *client, uint64_t pool)
{
	struct {
		uint64_t pool, family;
		uint8_t ip[8];
	} who = {.pool = pool, .family = client->family};
	uint64_t key;

	memcpy(who.ip, client->ip, client->family == AF_INET ? 4 : 8);
	key = siphash(s->secret, &who, sizeof(who));
	return key ? key : 1;
}

/* Its entry, whatever the value is; NULL: it has none. */
static struct stick_entry *entry_of(const struct stick *s, uint64_t key)
{
	struct stick_entry *e = bucket_of(s, key);

	for (uint32_t i = 0; i < s->n_ways; i++)
		if (atomic_load_explicit(&e[i].key, memory_order_relaxed) == key)
			return &e[i];
	return NULL;
}

struct stuck stick_find(const struct stick *s, uint64_t key, const struct targets *t, int64_t now_ms)
{
	struct stick_entry *e = entry_of(s, key);
	uint64_t value = e ? atomic_load_explicit(&e->value, memory_order_acquire) : 0;

	if (!is_true(value, key, t))
		return (struct stuck){.target = TARGET_NONE};
	return (struct stuck){.target = target_of(value), .age_ms = age_of(value, now_ms)};
}

/* Free, else the longest unused. */
static struct stick_entry *victim(const struct stick *s, uint64_t key, int64_t now_ms, uint64_t *seen)
{
	struct stick_entry *e = bucket_of(s, key), *ret = NULL;
	int64_t oldest = INT64_MIN;

	for (uint32_t i = 0; i < s->n_ways; i++) {
		uint64_t value = atomic_load_explicit(&e[i].value, memory_order_relaxed);
		int64_t age = value ? age_of(value, now_ms) : INT64_MAX;

		if (ret && age <= oldest)
			continue;
		oldest = age;
		*seen = value;
		ret = &e[i];
	}
	return ret;
}

static bool change(struct stick_entry *e, uint64_t from, uint64_t to)
{
	unsigned long long seen = from;

	return from == to || atomic_compare_exchange_strong(&e->value, &seen, to);
}

void stick_set(const struct stick *s, uint64_t key, const struct targets *t, uint32_t target, int64_t now_ms)
{
	uint64_t value, seen = 0;

	if (target >= TARGETS_MAX)
		return;
	value = value_of(key, t, target, now_ms);
	for (int tries = 0; tries < TRIES; tries++) {
		struct stick_entry *e = entry_of(s, key);

		if (e) {
			if (change(e, atomic_load(&e->value), value))
				return;
			continue;
		}
		e = victim(s, key, now_ms, &seen);
		if (!change(e, seen, 0))
			continue;
		FAULT_POINT();
		atomic_store(&e->key, key);
		FAULT_POINT();
		if (change(e, 0, value))
			return;
	}
}

void stick_touch(const struct stick *s, uint64_t key, const struct targets *t, uint32_t target, int64_t now_ms)
{
	struct stick_entry *e = entry_of(s, key);
	uint64_t seen = e ? atomic_load(&e->value) : 0;

	if (is_true(seen, key, t) && target_of(seen) == target)
		change(e, seen, value_of(key, t, target, now_ms));
}
