/* Where ejected servers stand in the choice, how many of a pool there may be; and how servers grow (slow-start). */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "ipc/slow_start.h"
#include "proxy/eject.h"
#include "proxy/route.h"

static struct world *world;
static struct trio *trio;
static struct limits limits;
static struct ruleset *rules;
static int64_t now_ms;

static int setup(void **state)
{
	world = world_new_private();
	trio = trio_new_private(16);
	limits = (struct limits){.trios = &trio, .n_trios = 1};
	rules = NULL;
	now_ms = 1000000;
	return 0;
}

static int teardown(void **state)
{
	ruleset_free(rules);
	munmap(trio, trio_size);
	munmap(world, sizeof(*world));
	return 0;
}

static void load(const char *text)
{
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("", text, &nothing, &errors);
	struct buf block = BUF_INIT;
	uint32_t *labels;

	assert_non_null(c);
	labels = mem_alloc((c->n_sections + 1) * sizeof(*labels));
	world_take(world, c);
	packed_make(c, labels, NULL, 0, &block);
	ruleset_free(rules);
	rules = ruleset_load(block.s, block.len, 5, world);
	assert_non_null(rules);
	buf_release(&block);
	free(labels);
	config_free(c);
}

static const struct section *section(void)
{
	return &rules->config->sections[0];
}

static uint32_t target(uint32_t server)
{
	return rules->pools[0].targets[server];
}

/* The last digit of the one that is next, for a client for which those of `tried` have failed; '-': none; '!': they are full. It keeps no
 * place. */
static char next_but(uint64_t tried)
{
	const struct addr addr = {.family = AF_INET, .ip = {10, 0, 0, 1}};
	uint32_t i;

	switch (route_next(rules, section(), world, &limits,
	                   &(struct route_client){.tried = tried, .now_ms = now_ms, .addr = &addr}, &i)) {
	case ROUTE_FOUND:
		limits_give(&limits, rules->pools[0].limit_keys[i]);
		return section()->servers[i].key[1];
	case ROUTE_ALL_FULL:
		return '!';
	default:
		return '-';
	}
}

/* In which order they are tried when each fails. */
static const char *order(void)
{
	static char ret[16];
	uint64_t tried = 0;
	size_t n = 0;

	for (char c; (c = next_but(tried)) != '-'; tried |= 1ULL << (c - '1'))
		ret[n++] = c;
	ret[n] = '\0';
	return ret;
}

static bool fails(uint32_t server)
{
	target_failed(&world->experience[target(server)], now_ms, ECONNREFUSED);
	return eject_failed(world, section(), &rules->pools[0], server, false, now_ms);
}

/* ---- the choice ---- */

static void ejected_ones_come_last(void **state)
{
	load("eject for 10 after 1\nport 25\nserver h1\nserver h2\nserver h3 backup\nserver h4 backup\n");
	assert_true(fails(0));
	assert_true(fails(2));
	for (int i = 0; i < 10; i++)
		assert_int_equal(next_but(0), '2');
	assert_string_equal(order(), "2413");
	now_ms += 10000;
	assert_true(order()[0] != '4' && order()[1] != '4'); /* all as they were */
}

static void a_failure_alone_changes_nothing(void **state)
{
	unsigned n = 0;

	load("eject for 10 after 2\nport 25\nserver h1\nserver h2\n");
	assert_false(fails(0));
	for (int i = 0; i < 10; i++)
		n += next_but(0) == '1';
	assert_int_equal(n, 5);
}

static void without_eject_nothing_is_ejected(void **state)
{
	load("port 25\nserver h1\nserver h2\n");
	assert_false(rules->config->sections[0].eject.for_ms);
	target_failed(&world->experience[target(0)], now_ms, ECONNREFUSED);
	for (int i = 0; i < 10; i++)
		assert_int_equal(next_but(0), '2');
	assert_int_equal(ejection_read(&world->ejections[target(0)]).number, 0);
}

static void what_a_check_calls_down_is_not_tried_as_the_last_either(void **state)
{
	load("eject for 10 after 1\nport 25\nserver h1\nserver h2\n");
	assert_true(fails(0));
	atomic_store(&world->targets.list[target(0)].changed.force, FORCE_DOWN);
	assert_string_equal(order(), "2");
}

static void one_that_is_ejected_may_wait_for_nobody(void **state)
{
	struct route_outlook o;

	load("eject for 10 after 1\nport 25\nserver h1 max=1\nserver h2\n");
	assert_true(fails(1));
	o = route_look(rules, section(), world, &limits, now_ms);
	assert_true(o.usable && o.well && o.room);
	assert_true(limits_take(&limits, rules->pools[0].limit_keys[0], 1));
	o = route_look(rules, section(), world, &limits, now_ms);
	assert_true(o.usable && !o.room); /* one waits for the first rather */
}

/* ---- how many ---- */

static void no_more_than_the_share(void **state)
{
	static const struct {
		const char *share;
		unsigned of[5]; /* of 1 to 5 servers */
	} cases[] = {{"10%", {0, 0, 0, 0, 0}},
	             {"50%", {0, 1, 1, 2, 2}},
	             {"67%", {0, 1, 2, 2, 3}},
	             {"100%", {0, 2, 3, 4, 5}}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (unsigned n = 1; n <= 5; n++) {
			char text[256];
			unsigned ejected = 0;
			int at = snprintf(text, sizeof(text), "eject for 10 after 1 share %s\nport 25\n",
			                  cases[i].share);

			for (unsigned k = 1; k <= n; k++)
				at += snprintf(text + at, sizeof(text) - (size_t)at, "server h%u\n", k);
			load(text);
			for (uint32_t k = 0; k < n; k++)
				ejected += fails(k);
			assert_int_equal(ejected, cases[i].of[n - 1]);
			now_ms += 1000000;
		}
}

/* Of two servers one may be ejected. Two workers see each of them fail at the same moment, again and again. */
#define RACES 20000

static atomic_int arrived;

static void *fails_at_the_same_moment(void *arg)
{
	const uint32_t server = *(const uint32_t *)arg;

	for (int race = 1; race <= RACES; race++) {
		atomic_fetch_add(&arrived, 1);
		while (atomic_load(&arrived) < 4 * race - 2)
			sched_yield();
		eject_failed(world, section(), &rules->pools[0], server, false, now_ms + 1000000LL * race);
		atomic_fetch_add(&arrived, 1);
		while (atomic_load(&arrived) < 4 * race)
			sched_yield();
		if (server == 0) /* the other one waits at the next race, for this one to come */
			assert_false(ejection_is_on(&world->ejections[target(0)], now_ms + 1000000LL * race) &&
			             ejection_is_on(&world->ejections[target(1)], now_ms + 1000000LL * race));
	}
	return NULL;
}

static void two_workers_eject_no_more_than_one(void **state)
{
	static uint32_t servers[] = {0, 1};
	pthread_t other;

	load("eject for 10 after 1 share 50%\nport 25\nserver h1\nserver h2\n");
	atomic_store(&arrived, 0);
	assert_int_equal(pthread_create(&other, NULL, fails_at_the_same_moment, &servers[1]), 0);
	fails_at_the_same_moment(&servers[0]);
	pthread_join(other, NULL);
}

/* Whichever section saw it, it is the same server; but each goes by its own line. */
static void what_one_section_saw_the_others_know(void **state)
{
	load("port 25\nserver h1\nserver h2\neject for 10 after 2\nport 26\nserver h1\nserver h2\neject for 99 after "
	     "3\n");
	assert_false(fails(0));
	assert_false(eject_failed(world, &rules->config->sections[1], &rules->pools[1], 0, false, now_ms));
	assert_true(fails(0));
	assert_int_equal(next_but(0), '2');
}

static void a_name_changes_nothing(void **state)
{
	load("eject for 10 after 1\nport 25\nserver h1\nserver h2\n");
	assert_true(fails(0));
	load("eject for 10 after 1\nport 25\nserver h1 as db1\nserver h2\n");
	assert_int_equal(next_but(0), '2');
}

static void what_this_host_lacks_is_nobodys_failure(void **state)
{
	assert_true(eject_is_servers(ECONNREFUSED));
	assert_true(eject_is_servers(ETIMEDOUT));
	assert_true(eject_is_servers(EHOSTUNREACH));
	assert_false(eject_is_servers(EMFILE));
	assert_false(eject_is_servers(EADDRNOTAVAIL));
}

/* ---- slow-start ---- */

static uint32_t grown(uint32_t server)
{
	const struct pool *p = &rules->pools[0];

	const struct standing of = {.target = p->targets[server],
	                            .seat = p->seats[server],
	                            .asks = p->asks[server],
	                            .line = TARGET_NONE,
	                            .service = p->service,
	                            .whole = p->whole};

	return slow_start_grown(world, section(), &of, now_ms);
}

static void comes(uint32_t server)
{
	changed_came(&world->targets.list[target(server)].changed, now_ms);
}

static void it_grows_from_a_tenth_in_a_line(void **state)
{
	load("slow-start 10\nport 25\nserver h1\nserver h2\n");
	assert_int_equal(grown(0), SLOW_START_WHOLE); /* the start of the program */
	comes(0);
	for (int i = 0; i <= 10; i++, now_ms += 1000)
		assert_in_range(grown(0), SLOW_START_WHOLE * (10 + 9 * i) / 100 - 1,
		                SLOW_START_WHOLE * (10 + 9 * i) / 100 + 1);
	assert_int_equal(grown(0), SLOW_START_WHOLE);
}

static void so_it_does_after_an_ejection(void **state)
{
	load("slow-start 10\neject for 5 after 1\nport 25\nserver h1\nserver h2\n");
	fails(0);
	assert_int_equal(grown(0), SLOW_START_WHOLE / 10);
	now_ms += 10000;
	assert_in_range(grown(0), SLOW_START_WHOLE * 54 / 100, SLOW_START_WHOLE * 56 / 100);
	now_ms += 5000;
	assert_int_equal(grown(0), SLOW_START_WHOLE);
}

static void and_after_it_was_down_but_not_at_the_first_check(void **state)
{
	struct health *h;

	load("slow-start 10\nport 25\nserver h1:1\nserver h2:1\ncheck tcp\n");
	h = &world->health[rules->pools[0].seats[0]];
	health_begin(h, rules->pools[0].asks[0]);
	health_set(h, HEALTH_UP, now_ms);
	assert_int_equal(grown(0), SLOW_START_WHOLE);
	health_set(h, HEALTH_DOWN, now_ms);
	now_ms += 60000;
	health_set(h, HEALTH_UP, now_ms);
	now_ms += 5000;
	assert_in_range(grown(0), SLOW_START_WHOLE * 54 / 100, SLOW_START_WHOLE * 56 / 100);
}

/* What a reload adds begins to grow when it is found up, not while it is not known yet. */
static void a_new_one_grows_from_its_first_check_on(void **state)
{
	struct health *h;

	load("slow-start 10\nport 25\nserver h1:1\nserver h2:1\ncheck tcp\n");
	h = &world->health[rules->pools[0].seats[0]];
	health_begin(h, rules->pools[0].asks[0]);
	comes(0);
	now_ms += 2000;
	health_set(h, HEALTH_UP, now_ms);
	assert_int_equal(grown(0), SLOW_START_WHOLE / 10);
}

static void no_address_changes_it(void **state)
{
	const struct addr other = {.family = AF_INET, .ip = {10, 9, 9, 9}};

	load("slow-start 10\nport 25\nserver h1\nserver h2\n");
	target_set_addrs(&world->targets.list[target(0)], &other, 1, false);
	assert_int_equal(grown(0), SLOW_START_WHOLE);
}

static void max_grows_too_and_is_at_least_1(void **state)
{
	struct standing of[2];

	load("slow-start 10\nport 25\nserver h1 max=20\nserver h2 max=5\n");
	comes(0);
	comes(1);
	of[0] = world_standing_anywhere(world, target(0));
	of[1] = world_standing_anywhere(world, target(1));
	assert_int_equal(slow_start_max(world, section(), &of[0], 20, now_ms), 2);
	assert_int_equal(slow_start_max(world, section(), &of[1], 5, now_ms), 1);
	assert_int_equal(slow_start_max(world, section(), &of[1], 0, now_ms), 0); /* no limit */
	now_ms += 5000;
	assert_int_equal(slow_start_max(world, section(), &of[0], 20, now_ms), 11);
}

static void its_max_holds_in_the_choice(void **state)
{
	load("slow-start 10\nport 25\nserver h1 max=20\nserver h2 disabled\n");
	comes(0);
	for (int i = 0; i < 2; i++)
		assert_true(limits_take(&limits, rules->pools[0].limit_keys[0], 0));
	assert_int_equal(next_but(0), '!');
	now_ms += 5000;
	assert_int_equal(next_but(0), '1');
}

/* Clients 1 ms apart; the share of the first server, in thousandths of all. */
static unsigned share(int n)
{
	unsigned first = 0;

	for (int i = 0; i < n; i++, now_ms++)
		first += next_but(0) == '1';
	return first * 1000 / (unsigned)n;
}

static void in_turns_by(const char *balance)
{
	char text[200];

	snprintf(text, sizeof(text), "slow-start 10\nport 25\nserver h1\nserver h2\nserver h3\nbalance %s\n", balance);
	load(text);
	share(3000);
	atomic_store(&world->targets.list[target(0)].admin_state, ADMIN_STATE_DISABLED);
	assert_int_equal(share(3000), 0);
	atomic_store(&world->targets.list[target(0)].admin_state, ADMIN_STATE_ENABLED);
	comes(0);
	/* pitfalls 77 and 78: in each second within 10 per cent of a line from a tenth to all; w of w + 2 */
	for (int second = 0; second < 10; second++) {
		double w = 0.1 + 0.09 * (second + 0.5), fair = 1000 * w / (w + 2);
		unsigned got = share(1000);

		assert_true(got >= fair * 0.9 - 2 && got <= fair * 1.1 + 2);
	}
	assert_in_range(share(3000), 332, 335);
}

static void it_gets_its_turns_as_it_grows(void **state)
{
	in_turns_by("round-robin");
}

/* As nobody keeps a place here, all have as many connections: equals take turns by weight. */
static void and_so_where_connections_are_counted(void **state)
{
	in_turns_by("least-connections");
}

static void by_lot_it_gets_about_as_many(void **state)
{
	unsigned n = 0;

	load("slow-start 10\nport 25\nserver h1\nserver h2\nbalance random\n");
	comes(0);
	for (int i = 0; i < 4000; i++)
		n += next_but(0) == '1';
	assert_in_range(n, 4000 / 11 * 7 / 10, 4000 / 11 * 13 / 10 + 100);
}

/* Only clients that are to come to it later stay away; nobody else moves. */
static void a_source_comes_to_it_when_its_weight_says_so(void **state)
{
	uint32_t before[200], i;
	unsigned moved = 0, first = 0;

	load("slow-start 10\nport 25\nserver h1\nserver h2\nserver h3\nbalance source\n");
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t n = 0; n < ARRAY_LEN(before); n++) {
			const struct addr addr = {.family = AF_INET, .ip = {10, 0, 1, (uint8_t)n}};

			assert_int_equal(route_next(rules, section(), world, &limits,
			                            &(struct route_client){.now_ms = now_ms, .addr = &addr}, &i),
			                 ROUTE_FOUND);
			limits_give(&limits, rules->pools[0].limit_keys[i]);
			if (pass == 1 && before[n] != 0)
				moved += before[n] != i;
			first += pass == 1 && i == 0;
			before[n] = i;
		}
		comes(0);
	}
	assert_int_equal(moved, 0);
	assert_in_range(first, 1, 30); /* of 200: a tenth of a server beside two */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(ejected_ones_come_last, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_failure_alone_changes_nothing, setup, teardown),
	        cmocka_unit_test_setup_teardown(without_eject_nothing_is_ejected, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_a_check_calls_down_is_not_tried_as_the_last_either, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(one_that_is_ejected_may_wait_for_nobody, setup, teardown),
	        cmocka_unit_test_setup_teardown(no_more_than_the_share, setup, teardown),
	        cmocka_unit_test_setup_teardown(two_workers_eject_no_more_than_one, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_one_section_saw_the_others_know, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_name_changes_nothing, setup, teardown),
	        cmocka_unit_test(what_this_host_lacks_is_nobodys_failure),
	        cmocka_unit_test_setup_teardown(it_grows_from_a_tenth_in_a_line, setup, teardown),
	        cmocka_unit_test_setup_teardown(so_it_does_after_an_ejection, setup, teardown),
	        cmocka_unit_test_setup_teardown(and_after_it_was_down_but_not_at_the_first_check, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_new_one_grows_from_its_first_check_on, setup, teardown),
	        cmocka_unit_test_setup_teardown(no_address_changes_it, setup, teardown),
	        cmocka_unit_test_setup_teardown(max_grows_too_and_is_at_least_1, setup, teardown),
	        cmocka_unit_test_setup_teardown(its_max_holds_in_the_choice, setup, teardown),
	        cmocka_unit_test_setup_teardown(it_gets_its_turns_as_it_grows, setup, teardown),
	        cmocka_unit_test_setup_teardown(and_so_where_connections_are_counted, setup, teardown),
	        cmocka_unit_test_setup_teardown(by_lot_it_gets_about_as_many, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_source_comes_to_it_when_its_weight_says_so, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
