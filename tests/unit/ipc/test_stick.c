/* Which server a client had: found again, forgotten in order, never taken for another's. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/siphash.h"
#include "ipc/stick.h"
#include "os/shm.h"

#define SERVERS 5
#define POOL    2

static struct targets targets;
static struct stick stick;
static int fd;
static int64_t now_ms = 1000000;

static void name_server(uint32_t i, const char *key)
{
	snprintf(targets.list[i].key, sizeof(targets.list[i].key), "%s", key);
	targets.spelt[i] = target_spelt(key);
}

static int setup(void **state)
{
	char key[32];

	atomic_store(&targets.n, SERVERS);
	for (uint32_t i = 0; i < SERVERS; i++) {
		snprintf(key, sizeof(key), "10.0.0.%u:25", i);
		name_server(i, key);
	}
	return 0;
}

static void make(uint32_t clients)
{
	fd = stick_new(clients, NULL, &stick);
	assert_true(fd >= 0);
}

static void unmake(void)
{
	stick_unmap(&stick);
	close(fd);
}

static uint64_t client(uint32_t n)
{
	struct addr a = {.family = AF_INET};

	memcpy(a.ip, &n, sizeof(n));
	return stick_key(&stick, &a, POOL);
}

static uint32_t server_of(uint32_t n)
{
	return stick_find(&stick, client(n), &targets, now_ms).target;
}

static void set(uint32_t n, uint32_t target)
{
	stick_set(&stick, client(n), &targets, target, now_ms);
}

/* ---- the hash ---- */

/* The example of the paper, and the first of its authors' vectors. */
static void siphash_is_what_the_paper_says(void **state)
{
	const uint64_t secret[2] = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
	uint8_t bytes[15];

	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	assert_true(siphash(secret, bytes, sizeof(bytes)) == 0xa129ca6149be45e5ULL);
	assert_true(siphash(secret, bytes, 0) == 0x726fdb47dd0e0e31ULL);
	assert_true(siphash(secret, bytes, 8) == 0x93f5f5799a932462ULL);
}

/* ---- one client ---- */

static void a_client_is_found_with_its_server_and_its_time(void **state)
{
	struct stuck s;

	make(100);
	assert_int_equal(server_of(1), TARGET_NONE);
	set(1, 3);
	set(2, 4);
	now_ms += 5000;
	s = stick_find(&stick, client(1), &targets, now_ms);
	assert_int_equal(s.target, 3);
	assert_in_range(s.age_ms, 5000, 5016);
	assert_int_equal(server_of(2), 4);
	set(1, 2);
	s = stick_find(&stick, client(1), &targets, now_ms);
	assert_int_equal(s.target, 2);
	assert_true(s.age_ms < 16);
	stick_set(&stick, client(9), &targets, TARGET_NONE, now_ms); /* nothing to stick to */
	assert_int_equal(server_of(9), TARGET_NONE);
	unmake();
}

static void a_client_is_its_address_or_its_network_in_one_pool(void **state)
{
	struct addr a, b, c, four;

	make(100);
	assert_true(addr_parse("2001:db8::1", &a));
	assert_true(addr_parse("2001:db8::2:3:4:5", &b));
	assert_true(addr_parse("2001:db8:0:1::1", &c));
	assert_true(addr_parse("32.1.13.184", &four)); /* whose bytes are the first of a's */
	assert_true(stick_key(&stick, &a, POOL) == stick_key(&stick, &b, POOL));
	assert_true(stick_key(&stick, &a, POOL) != stick_key(&stick, &c, POOL));
	assert_true(stick_key(&stick, &a, POOL) != stick_key(&stick, &a, POOL + 2));
	assert_true(stick_key(&stick, &a, POOL) != stick_key(&stick, &four, POOL));
	unmake();
}

static void nobody_can_foresee_a_number(void **state)
{
	uint64_t before;

	make(100);
	before = client(1);
	unmake();
	make(100);
	assert_true(client(1) != before);
	unmake();
}

static void the_end_of_a_connection_counts_while_it_is_its_server(void **state)
{
	make(100);
	set(1, 3);
	now_ms += 60000;
	stick_touch(&stick, client(1), &targets, 3, now_ms);
	assert_true(stick_find(&stick, client(1), &targets, now_ms).age_ms < 16);
	now_ms += 60000;
	stick_touch(&stick, client(1), &targets, 2, now_ms); /* of an older connection, to another one */
	assert_true(stick_find(&stick, client(1), &targets, now_ms).age_ms >= 60000);
	assert_int_equal(server_of(1), 3);
	stick_touch(&stick, client(2), &targets, 3, now_ms);
	assert_int_equal(server_of(2), TARGET_NONE);
	unmake();
}

/* ---- a server's number is used again ---- */

static void another_server_with_the_same_number_is_not_the_old_one(void **state)
{
	make(100);
	set(1, 3);
	name_server(3, "another:25");
	assert_int_equal(server_of(1), TARGET_NONE);
	set(1, 3);
	assert_int_equal(server_of(1), 3);
	atomic_store(&targets.n, 3);
	assert_int_equal(server_of(1), TARGET_NONE);
	setup(NULL);
	assert_int_equal(server_of(1), TARGET_NONE);
	unmake();
}

/* ---- how many ---- */

static void a_small_one_has_exactly_as_many_and_forgets_the_longest_unused(void **state)
{
	make(3);
	for (uint32_t i = 1; i <= 3; i++) {
		set(i, i);
		now_ms += 100;
	}
	set(1, 1); /* is used again */
	now_ms += 100;
	set(4, 4);
	assert_int_equal(server_of(1), 1);
	assert_int_equal(server_of(2), TARGET_NONE);
	assert_int_equal(server_of(3), 3);
	assert_int_equal(server_of(4), 4);
	unmake();
}

static uint32_t known(uint32_t first, uint32_t n)
{
	uint32_t ret = 0;

	for (uint32_t i = first; i < first + n; i++)
		ret += server_of(i) == i % SERVERS;
	return ret;
}

static void a_large_one_keeps_as_many_as_were_asked_for(void **state)
{
	make(65536);
	for (uint32_t i = 0; i < 65536; i++) {
		set(i, i % SERVERS);
		now_ms += i % 16 == 0;
	}
	assert_in_range(known(0, 65536), 65536 - 65, 65536);
	/* a million others: the last ones are known, of the first there is none */
	for (uint32_t i = 100000; i < 1100000; i++) {
		set(i, i % SERVERS);
		now_ms += i % 4 == 0;
	}
	assert_in_range(known(1100000 - 65536, 65536), 65536 - 65, 65536);
	assert_int_equal(known(0, 65536), 0);
	unmake();
}

/* ---- another one with more room; another process ---- */

static void what_is_known_moves_into_a_larger_one(void **state)
{
	struct stick larger;
	int larger_fd;

	make(20);
	for (uint32_t i = 0; i < 20; i++)
		set(i, i % SERVERS);
	larger_fd = stick_new(5000, &stick, &larger);
	assert_true(larger_fd >= 0);
	unmake();
	stick = larger;
	fd = larger_fd;
	assert_int_equal(known(0, 20), 20);
	assert_true(stick.size == stick_size(5000));
	unmake();
}

static void another_process_sees_the_same(void **state)
{
	struct stick mine;

	make(1000);
	set(7, 2);
	mine = stick;
	assert_true(stick_map(fd, &stick));
	assert_int_equal(server_of(7), 2);
	stick_unmap(&stick);
	stick = mine;
	unmake();
}

static void assert_none(const char *name, size_t size)
{
	struct stick other;
	int bad = shm_new(name, size, NULL);

	assert_true(bad >= 0);
	assert_false(stick_map(bad, &other));
	close(bad);
}

static void anything_else_is_none(void **state)
{
	struct stick other;
	FILE *file = tmpfile();

	assert_none("byte", 1);
	assert_none("head", 128);
	assert_none("half", 136);
	assert_none("no-magic", stick_size(10));
	assert_none("odd", 128 + 65 * 16);
	assert_none("no-power", 128 + 24 * 8 * 16);
	assert_none("huge", stick_size(STICK_CLIENTS_MAX) * 2 - 128);
	assert_false(stick_map(-1, &other));
	assert_false(stick_map(fileno(file), &other));
	fclose(file);
}

/* ---- torn ---- */

/* A death between two stores, or two workers in one entry: whatever a key stands beside, it is not taken for its value. */
static void a_value_beside_another_key_is_no_value(void **state)
{
	uint64_t *words;
	uint32_t taken = 0;

	make(1);
	words = (uint64_t *)((char *)stick.memory + stick.size - 16);
	set(1, 3);
	assert_true(words[0] == client(1));
	for (uint32_t i = 2; i < 2000; i++) {
		words[0] = client(i);
		taken += server_of(i) != TARGET_NONE;
	}
	assert_in_range(taken, 0, 3); /* one of 65536 is */
	set(1999, 4);                 /* its key is there: mended */
	assert_int_equal(server_of(1999), 4);
	words[1] = 0; /* a death behind the key */
	assert_int_equal(server_of(1999), TARGET_NONE);
	set(5, 2);
	assert_int_equal(server_of(5), 2);
	words[1] = UINT64_MAX;
	assert_int_equal(server_of(5), TARGET_NONE);
	unmake();
}

#define THREADS 8
#define TURNS   200000
#define CLIENTS 64 /* for 8 entries: they chase each other */

static atomic_uint wrong;

/* Client n sticks to server n modulo SERVERS, and to no other, whoever says so. */
static void *worker(void *arg)
{
	uint64_t state = (uintptr_t)arg * 0x9e3779b97f4a7c15ULL;

	for (int i = 0; i < TURNS; i++) {
		uint32_t n, found;

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		n = (uint32_t)(state >> 40) % CLIENTS;
		found = server_of(n);
		if (found != TARGET_NONE && found != n % SERVERS)
			atomic_fetch_add(&wrong, 1);
		if (state >> 63)
			stick_touch(&stick, client(n), &targets, n % SERVERS, now_ms + i);
		else
			stick_set(&stick, client(n), &targets, n % SERVERS, now_ms + i);
	}
	return NULL;
}

static void many_workers_at_once_never_give_a_client_another_one_s_server(void **state)
{
	pthread_t threads[THREADS];

	make(8);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	/* two that meet in one entry leave a mixture that passes for a value once in 65536 times */
	assert_in_range(atomic_load(&wrong), 0, 2);
	set(1, 1);
	assert_int_equal(server_of(1), 1);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(siphash_is_what_the_paper_says),
	        cmocka_unit_test(a_client_is_found_with_its_server_and_its_time),
	        cmocka_unit_test(a_client_is_its_address_or_its_network_in_one_pool),
	        cmocka_unit_test(nobody_can_foresee_a_number),
	        cmocka_unit_test(the_end_of_a_connection_counts_while_it_is_its_server),
	        cmocka_unit_test(another_server_with_the_same_number_is_not_the_old_one),
	        cmocka_unit_test(a_small_one_has_exactly_as_many_and_forgets_the_longest_unused),
	        cmocka_unit_test(a_large_one_keeps_as_many_as_were_asked_for),
	        cmocka_unit_test(what_is_known_moves_into_a_larger_one),
	        cmocka_unit_test(another_process_sees_the_same),
	        cmocka_unit_test(anything_else_is_none),
	        cmocka_unit_test(a_value_beside_another_key_is_no_value),
	        cmocka_unit_test(many_workers_at_once_never_give_a_client_another_one_s_server),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
