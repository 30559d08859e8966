/* Many checks: when each is done, of which address, and what is told; the clock is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "checker/checks.h"
#include "checker/dialog.h"
#include "os/sock.h"

#define MANY 8

int64_t __wrap_clock_mono_ms(void);

static int64_t now = 1000000;

int64_t __wrap_clock_mono_ms(void)
{
	return now;
}

static struct loop loop;
static struct checks *checks;
static int listener;
static struct addr well, ill; /* somebody listens; nobody does */

/* A server, and what was said of it. */
static struct server {
	struct addr addrs[CHECK_ADDRS];
	size_t n;
	struct pulse pulse;
	int answers, changes;
	bool yes;
	char words[100];
	struct addr at;
	int64_t last_ms;
} servers[MANY];

static size_t addresses(void *arg, void *owner, struct addr *ret)
{
	struct server *s = owner;

	memcpy(ret, s->addrs, s->n * sizeof(*ret));
	return s->n;
}

static void answered(void *arg, void *owner, const struct check_answer *a)
{
	struct server *s = owner;

	s->answers++;
	s->changes += a->changed;
	s->yes = a->yes;
	s->last_ms = loop.now_ms;
	snprintf(s->words, sizeof(s->words), "%s", a->words);
	s->at = a->at ? *a->at : (struct addr){.family = AF_UNSPEC};
}

/* Programs: the last one that was asked for. */
static uint64_t asked_number;
static int asked_times;
static bool asked_refused;
static struct addr asked_at;
static uint32_t asked_ms;

static uint64_t run_program(void *arg, void *owner, const struct addr *at, uint32_t timeout_ms)
{
	asked_times++;
	asked_at = at ? *at : (struct addr){.family = AF_UNSPEC};
	asked_ms = timeout_ms;
	return asked_refused ? 0 : ++asked_number;
}

static const struct pulse_rule usual = {.every_ms = 2000, .fast_ms = 500, .slow_ms = 4000, .rise = 2, .fall = 3};

static int setup(void **state)
{
	const struct addr any = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	int fd;

	memset(servers, 0, sizeof(servers));
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	loop.now_ms = now;
	listener = sock_listen(&any, 1000, false);
	assert_int_equal(sock_local(listener, &well), 0);
	fd = sock_listen(&any, 1, false);
	assert_int_equal(sock_local(fd, &ill), 0);
	close(fd);
	checks = checks_new(
	        &loop, &(struct checks_ops){.addresses = addresses, .answered = answered, .run = run_program}, MANY);
	asked_times = 0;
	asked_refused = false;
	return 0;
}

static void pass(int64_t ms)
{
	for (int64_t end = now + ms; now < end; now++)
		for (int i = 0; i < 3; i++)
			assert_int_equal(loop_turn(&loop, 0), 0);
}

static int teardown(void **state)
{
	checks_free(checks);
	close(listener);
	pass(1100); /* the last ones have left */
	assert_int_equal(dialog_open(), 0);
	loop_release(&loop);
	return 0;
}

static struct check check_of(int i, const struct pulse_rule *rule)
{
	return (struct check){.key = (uint64_t)i + 1,
	                      .rule = *rule,
	                      .timeout_ms = 1000,
	                      .pulse = &servers[i].pulse,
	                      .owner = &servers[i]};
}

static void take(int n, const struct pulse_rule *rule)
{
	struct check list[MANY];

	for (int i = 0; i < n; i++)
		list[n - 1 - i] = check_of(i, rule); /* in any order */
	checks_take(checks, list, (size_t)n);
}

static void is_at(int i, const struct addr *a)
{
	servers[i].addrs[servers[i].n++] = *a;
}

static void the_first_answer_of_each_counts(void **state)
{
	is_at(0, &well);
	is_at(1, &ill);
	take(3, &usual);
	pass(100);
	assert_int_equal(servers[0].answers, 1);
	assert_int_equal(servers[0].changes, 1);
	assert_int_equal(servers[0].pulse.state, PULSE_UP);
	assert_true(servers[0].yes);
	assert_memory_equal(&servers[0].at, &well, sizeof(well));
	assert_int_equal(servers[1].pulse.state, PULSE_DOWN);
	assert_string_equal(servers[1].words, "Connection refused");
	assert_int_equal(servers[2].pulse.state, PULSE_DOWN);
	assert_string_equal(servers[2].words, "the name has no address");
	assert_int_equal(servers[2].at.family, AF_UNSPEC);
}

static void each_is_asked_at_its_pace(void **state)
{
	is_at(0, &well);
	is_at(1, &ill);
	take(2, &usual);
	pass(20100);
	assert_in_range(servers[0].answers, 10, 12); /* each 2 s, and 10 % */
	assert_in_range(servers[1].answers, 5, 6);   /* down: each 4 s */
	assert_int_equal(servers[0].changes, 1);
}

static void while_it_changes_it_is_asked_faster(void **state)
{
	int64_t began;

	is_at(0, &well);
	take(1, &usual);
	pass(100);
	servers[0].addrs[0] = ill;
	while (servers[0].answers < 2)
		pass(1);
	assert_int_equal(servers[0].pulse.row, 1);
	assert_int_equal(servers[0].changes, 1);
	began = now;
	while (servers[0].answers < 4)
		pass(1);
	assert_in_range(now - began, 890, 1110); /* twice 500 ms, and 10 % */
	assert_int_equal(servers[0].changes, 2);
	assert_int_equal(servers[0].pulse.state, PULSE_DOWN);
}

static void of_several_addresses_one_is_enough(void **state)
{
	is_at(0, &ill);
	is_at(0, &well);
	is_at(1, &ill);
	is_at(1, &ill);
	take(2, &usual);
	pass(100);
	assert_true(servers[0].yes);
	assert_memory_equal(&servers[0].at, &well, sizeof(well));
	assert_int_equal(servers[0].answers, 1);
	assert_false(servers[1].yes);
	assert_int_equal(servers[1].answers, 1);
	servers[0].addrs[0] = well; /* the next time from the beginning */
	servers[0].addrs[1] = ill;
	pass(2200);
	assert_int_equal(servers[0].answers, 2);
	assert_true(servers[0].yes);
}

/* Nobody says a word, and the second address has its share of the time. */
static void they_share_the_time(void **state)
{
	struct check c = check_of(0, &usual);
	int64_t began = now;

	is_at(0, &well);
	is_at(0, &well);
	script_add_text(&c.script, SCRIPT_EXPECT, "220");
	checks_take(checks, &c, 1);
	pass(600);
	assert_int_equal(servers[0].answers, 0);
	pass(500);
	assert_int_equal(servers[0].answers, 1);
	assert_in_range(servers[0].last_ms - began, 990, 1020);
}

static void one_that_is_silent_leaves_time_for_the_next(void **state)
{
	struct check c = check_of(0, &usual);

	is_at(0, &well);
	is_at(0, &ill);
	script_add_text(&c.script, SCRIPT_EXPECT, "220");
	checks_take(checks, &c, 1);
	pass(600);
	assert_int_equal(servers[0].answers, 1);
	assert_string_equal(servers[0].words, "Connection refused");
	assert_memory_equal(&servers[0].at, &ill, sizeof(ill));
}

static void no_more_than_may_be_are_under_way(void **state)
{
	static const struct pulse_rule same = {.every_ms = 1, .fast_ms = 500, .slow_ms = 500, .rise = 1, .fall = 1};
	struct check list[MANY];

	checks_free(checks);
	checks = checks_new(&loop, &(struct checks_ops){.addresses = addresses, .answered = answered}, 2);
	for (int i = 0; i < MANY; i++) {
		is_at(i, &well);
		list[i] = check_of(i, &same);
		list[i].timeout_ms = 100;
		script_add_text(&list[i].script, SCRIPT_EXPECT, "220"); /* so it takes all its time */
	}
	checks_take(checks, list, MANY);
	pass(90);
	assert_int_equal(servers[0].answers + servers[7].answers, 0);
	assert_true(checks_late(checks) >= MANY - 2);
	pass(800);
	for (int i = 0; i < MANY; i++)
		assert_true(servers[i].answers >= 1); /* late, and asked all the same */
}

static void a_change_of_others_disturbs_none(void **state)
{
	for (int i = 0; i < 4; i++)
		is_at(i, &well);
	take(3, &usual);
	pass(100);
	take(2, &usual); /* one has gone */
	pass(1000);
	take(4, &usual); /* and comes again, with another one */
	pass(1300);
	assert_int_equal(servers[0].answers, 2); /* a new one would have been asked at once */
	assert_int_equal(servers[1].answers, 2);
	assert_int_equal(servers[3].answers, 1);
}

static void one_that_has_gone_says_no_more(void **state)
{
	struct check c = check_of(0, &usual);

	is_at(0, &well);
	script_add_text(&c.script, SCRIPT_EXPECT, "220");
	checks_take(checks, &c, 1);
	pass(100); /* it is being asked */
	checks_take(checks, NULL, 0);
	pass(2000);
	assert_int_equal(servers[0].answers, 0);
}

static void one_that_has_gone_makes_room(void **state)
{
	struct check c = check_of(0, &usual), next = check_of(1, &usual);

	checks_free(checks);
	checks = checks_new(&loop, &(struct checks_ops){.addresses = addresses, .answered = answered}, 1);
	is_at(0, &well);
	is_at(1, &well);
	script_add_text(&c.script, SCRIPT_EXPECT, "220");
	checks_take(checks, &c, 1);
	pass(100);
	checks_take(checks, &next, 1);
	pass(100);
	assert_int_equal(servers[1].answers, 1);
}

static void the_same_check_may_have_another_owner(void **state)
{
	struct check c = check_of(0, &usual), next = check_of(1, &usual);

	is_at(0, &well);
	is_at(1, &well);
	checks_take(checks, &c, 1);
	pass(100);
	next.key = c.key;
	checks_take(checks, &next, 1);
	pass(2200);
	assert_int_equal(servers[0].answers, 1);
	assert_int_equal(servers[1].answers, 1);
	assert_int_equal(servers[1].pulse.state, PULSE_UP);
}

static void what_is_known_is_asked_at_its_pace_from_the_start(void **state)
{
	static const struct pulse_rule seldom = {
	        .every_ms = 60000, .fast_ms = 500, .slow_ms = 60000, .rise = 1, .fall = 1};
	struct check list[2] = {check_of(0, &seldom), check_of(1, &seldom)};

	is_at(0, &well);
	is_at(1, &well);
	servers[0].pulse.state = PULSE_UP;
	list[0].key = 30000;
	list[1].key = 30001; /* of which nothing is known */
	checks_take(checks, list, 2);
	pass(CHECK_FIRST_MS + 20);
	assert_int_equal(servers[0].answers, 0);
	assert_int_equal(servers[1].answers, 1);
	pass(30000 - CHECK_FIRST_MS);
	assert_int_equal(servers[0].answers, 1);
}

static void a_client_without_luck_hurries_it(void **state)
{
	is_at(0, &well);
	take(1, &usual);
	pass(1000);
	assert_int_equal(servers[0].answers, 1);
	for (int i = 0; i < 100; i++) { /* so many clients */
		checks_hurry(checks, 1);
		checks_hurry(checks, 4711);
		pass(1);
	}
	assert_int_equal(servers[0].answers, 2);
	pass(450);
	assert_int_equal(servers[0].answers, 3);
	pass(1000);
	assert_int_equal(servers[0].answers, 3);
}

static void hurrying_makes_nothing_later(void **state)
{
	static const struct pulse_rule slow = {
	        .every_ms = 2000, .fast_ms = 5000, .slow_ms = 5000, .rise = 1, .fall = 1};

	is_at(0, &well);
	take(1, &slow);
	pass(1000);
	checks_hurry(checks, 1);
	pass(1300);
	assert_int_equal(servers[0].answers, 2);
}

/* An administrator wants to know: each time. */
static void one_that_is_wanted_now_is_asked_at_once(void **state)
{
	is_at(0, &well);
	take(1, &usual);
	pass(1000);
	assert_int_equal(servers[0].answers, 1);
	for (int i = 2; i < 5; i++) {
		checks_now(checks, 1);
		checks_now(checks, 4711);
		pass(50);
		assert_int_equal(servers[0].answers, i);
	}
}

/* ---- programs ---- */

static void take_program(void)
{
	struct check one = check_of(0, &usual);

	one.program = true;
	checks_take(checks, &one, 1);
	pass(100);
}

static void one_that_is_being_asked_is_asked_once_more(void **state)
{
	is_at(0, &well);
	take_program();
	pass(CHECK_FIRST_MS);
	assert_int_equal(asked_times, 1);
	checks_now(checks, 1);
	pass(10);
	assert_int_equal(asked_times, 1);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, "");
	pass(2);
	assert_int_equal(asked_times, 2);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, "");
	pass(10);
	assert_int_equal(asked_times, 2);
}

static void a_program_answers_when_it_will(void **state)
{
	is_at(0, &well);
	take_program();
	assert_int_equal(asked_times, 1);
	assert_memory_equal(&asked_at, &well, sizeof(well));
	assert_int_equal(asked_ms, 1000);
	pass(800);
	assert_int_equal(servers[0].answers, 0);
	checks_program_answered(checks, asked_number + 7, CHECK_PROGRAM_YES, ""); /* of another one */
	assert_int_equal(servers[0].answers, 0);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_NO, "exit status 3");
	assert_int_equal(servers[0].answers, 1);
	assert_false(servers[0].yes);
	assert_string_equal(servers[0].words, "exit status 3");
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, ""); /* twice */
	assert_int_equal(servers[0].answers, 1);
	pass(4500);
	assert_int_equal(asked_times, 2);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, "");
	assert_true(servers[0].yes);
}

static void each_address_is_asked_for_by_itself(void **state)
{
	is_at(0, &ill);
	is_at(0, &well);
	take_program();
	assert_int_equal(asked_ms, 500);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_NO, "not this one");
	assert_int_equal(asked_times, 2);
	assert_memory_equal(&asked_at, &well, sizeof(well));
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, "");
	assert_int_equal(servers[0].answers, 1);
	assert_true(servers[0].yes);
}

/* No spawner, too many programs, a configuration that it does not know yet: that says nothing of the server. */
static void what_could_not_be_run_is_asked_again(void **state)
{
	is_at(0, &well);
	asked_refused = true;
	take_program();
	pass(500);
	assert_true(asked_times > 2 && asked_times < 10);
	assert_int_equal(servers[0].answers, 0);
	assert_true(checks_late(checks) > 0);
	asked_refused = false;
	pass(200);
	asked_times = 0;
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_UNDONE, "");
	pass(200);
	assert_int_equal(asked_times, 1);
	assert_int_equal(servers[0].answers, 0);
	pass(3500); /* nobody answers for it */
	assert_int_equal(asked_times, 2);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, "");
	assert_int_equal(servers[0].answers, 1);
}

static void a_program_under_way_is_not_hurried_and_may_be_unwanted(void **state)
{
	is_at(0, &well);
	take_program();
	checks_hurry(checks, 1);
	pass(800);
	assert_int_equal(asked_times, 1);
	checks_take(checks, NULL, 0);
	checks_program_answered(checks, asked_number, CHECK_PROGRAM_YES, "");
	pass(5000);
	assert_int_equal(asked_times, 1);
	assert_int_equal(servers[0].answers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(the_first_answer_of_each_counts),
	        TEST(each_is_asked_at_its_pace),
	        TEST(while_it_changes_it_is_asked_faster),
	        TEST(of_several_addresses_one_is_enough),
	        TEST(they_share_the_time),
	        TEST(one_that_is_silent_leaves_time_for_the_next),
	        TEST(no_more_than_may_be_are_under_way),
	        TEST(a_change_of_others_disturbs_none),
	        TEST(one_that_has_gone_says_no_more),
	        TEST(one_that_has_gone_makes_room),
	        TEST(the_same_check_may_have_another_owner),
	        TEST(what_is_known_is_asked_at_its_pace_from_the_start),
	        TEST(a_client_without_luck_hurries_it),
	        TEST(hurrying_makes_nothing_later),
	        TEST(one_that_is_wanted_now_is_asked_at_once),
	        TEST(one_that_is_being_asked_is_asked_once_more),
	        TEST(a_program_answers_when_it_will),
	        TEST(each_address_is_asked_for_by_itself),
	        TEST(what_could_not_be_run_is_asked_again),
	        TEST(a_program_under_way_is_not_hurried_and_may_be_unwanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
