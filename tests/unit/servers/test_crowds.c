#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "servers/crowds.h"

#define HOLD 10000
#define KEEP 3600000

static const struct crowd_times times = {
        .ttl_min_ms = 1000, .ttl_max_ms = 86400000, .known = {.hold_ms = HOLD, .keep_ms = KEEP}};

static struct loop loop;
static struct crowds *crowds;
static int64_t now_ms;
static struct gathering gathering;
static struct buf text; /* what was told last */
static int tellings;

/* ---- the clock, and name servers ---- */

static struct asked {
	char name[64];
	resolve_fn *host;
	resolve_srv_fn *service;
	void *arg;
} asked[128];

int64_t __wrap_clock_mono_ms(void);
void __wrap_resolve_host(struct resolver *r, const char *host, resolve_fn *fn, void *arg);
void __wrap_resolve_srv(struct resolver *r, const char *name, resolve_srv_fn *fn, void *arg);
void __wrap_resolve_cancel(struct resolver *r, const void *arg);

int64_t __wrap_clock_mono_ms(void)
{
	return now_ms;
}

static struct asked *asked_for(const char *name)
{
	for (size_t i = 0; i < 128; i++)
		if (asked[i].arg ? !strcmp(asked[i].name, name) : !*name)
			return &asked[i];
	return NULL;
}

static void note(const char *name, resolve_fn *host, resolve_srv_fn *service, void *arg)
{
	struct asked *a = asked_for("");

	assert_non_null(a);
	*a = (struct asked){.host = host, .service = service, .arg = arg};
	snprintf(a->name, sizeof(a->name), "%s", name);
}

void __wrap_resolve_host(struct resolver *r, const char *host, resolve_fn *fn, void *arg)
{
	note(host, fn, NULL, arg);
}

void __wrap_resolve_srv(struct resolver *r, const char *name, resolve_srv_fn *fn, void *arg)
{
	note(name, NULL, fn, arg);
}

void __wrap_resolve_cancel(struct resolver *r, const void *arg)
{
	for (size_t i = 0; i < 128; i++)
		if (asked[i].arg == arg)
			asked[i].arg = NULL;
}

static struct asked take(const char *name)
{
	struct asked *a = asked_for(name), ret;

	assert_non_null(a);
	ret = *a;
	a->arg = NULL;
	return ret;
}

static void turn(int64_t ms)
{
	now_ms += ms;
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(&loop, 0), 0);
}

/* "10.0.0.1 10.0.0.2" */
static void host_says(const char *name, const char *list)
{
	struct asked a = take(name);
	struct addr addrs[8];
	char copy[256], *rest = NULL;
	struct resolve_result r = {.addrs = addrs, .ttl_s = 60};

	snprintf(copy, sizeof(copy), "%s", list);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		assert_true(addr_parse(word, &addrs[r.n++]));
	a.host(a.arg, &r);
	turn(400);
}

static void host_fails(const char *name, bool none)
{
	struct asked a = take(name);

	a.host(a.arg,
	       &(struct resolve_result){.error = none ? ARES_ENOTFOUND : ARES_ETIMEOUT, .none = none, .why = "no"});
	turn(400);
}

/* "10 1 80 a 20 1 81 b" */
static void service_says(const char *name, const char *list)
{
	struct asked a = take(name);
	struct srv_record records[8] = {0};
	struct resolve_srv_result r = {.records = records, .ttl_s = 60};
	int len;

	for (struct srv_record *s = records;
	     sscanf(list, "%hu %hu %hu %253s%n", &s->priority, &s->weight, &s->port, s->host, &len) == 4; s++) {
		list += len;
		r.n++;
	}
	r.none_at_all = r.n == 0;
	a.service(a.arg, &r);
	turn(0);
}

static void service_fails(const char *name, bool none)
{
	struct asked a = take(name);

	a.service(a.arg, &(struct resolve_srv_result){
	                         .error = none ? ARES_ENOTFOUND : ARES_ETIMEOUT, .none = none, .why = "no"});
	turn(400);
}

/* ---- who hears ---- */

static void untold(void *arg)
{
	struct crowd_part part;
	uint64_t id;
	int n;

	while ((n = crowds_next(crowds, &id, &part)) >= 0) {
		enum gathered got = gathering_take(&gathering, id, (uint32_t)n, &part);
		char at[ADDR_TEXT_MAX];

		assert_int_not_equal(got, GATHERED_WRONG);
		if (got != GATHERED_ALL)
			continue;
		tellings++;
		buf_clear(&text);
		buf_adds(&text, "");
		for (size_t i = 0; i < gathering.n; i++) {
			const struct member *m = &gathering.list[i];

			buf_addf(&text, "%s%s", i ? " " : "", addr_format_port(&m->addr, at));
			if (m->priority || m->weight)
				buf_addf(&text, "/%u/%u", m->priority, m->weight);
		}
	}
}

static const char *told(void)
{
	return text.len ? text.s : "";
}

static void no_line(void *arg, enum log_level level, const char *line)
{
}

static int setup(void **state)
{
	log_set_sink(no_line, NULL);
	now_ms = 1000000;
	tellings = 0;
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	loop.now_ms = now_ms;
	crowds = crowds_new(&(struct crowds_setup){.loop = &loop, .untold = untold});
	return 0;
}

static int teardown(void **state)
{
	crowds_free(crowds);
	for (size_t i = 0; i < 128; i++)
		assert_null(asked[i].arg);
	assert_int_equal(loop.n_timers, 0);
	loop_release(&loop);
	gathering_release(&gathering);
	buf_release(&text);
	return 0;
}

static void want(const struct crowd_setup *line)
{
	crowds_begin(crowds, &times);
	if (line)
		crowds_want(crowds, line);
	crowds_end(crowds, false);
	turn(0);
}

static const struct crowd_setup host = {.line = "h", .name = "h.test", .port = 80};
static const struct crowd_setup service = {.line = "srv", .name = "_s._tcp.test", .is_service = true};

static void test_each_address_is_a_member(void **state)
{
	want(&host);
	host_says("h.test", "10.0.0.2 fd00::1 10.0.0.1");
	assert_string_equal(told(), "10.0.0.1:80 10.0.0.2:80 [fd00::1]:80");
	assert_int_equal(tellings, 1);
	turn(60000);
	host_says("h.test", "fd00::1 10.0.0.1 10.0.0.2");
	assert_int_equal(tellings, 1);
}

static void test_what_an_answer_leaves_out_goes_later(void **state)
{
	want(&host);
	host_says("h.test", "10.0.0.1 10.0.0.2");
	turn(60000);
	host_says("h.test", "10.0.0.1");
	turn(HOLD - 500);
	assert_int_equal(tellings, 1);
	turn(500);
	turn(20);
	assert_string_equal(told(), "10.0.0.1:80");
}

static void test_a_service_has_port_and_host_of_one_record(void **state)
{
	want(&service);
	service_says("_s._tcp.test", "10 5 80 a 20 1 81 b");
	host_says("a", "10.0.0.1 10.0.0.2");
	host_says("b", "10.0.0.3");
	assert_string_equal(told(), "10.0.0.1:80/10/5 10.0.0.2:80/10/5 10.0.0.3:81/20/1");
}

static void test_what_is_asked_together_is_told_together(void **state)
{
	struct asked a;

	want(&service);
	service_says("_s._tcp.test", "10 5 80 a 20 1 81 b");
	a = take("a");
	{
		struct addr addr;

		assert_true(addr_parse("10.0.0.1", &addr));
		a.host(a.arg, &(struct resolve_result){.addrs = &addr, .n = 1, .ttl_s = 60});
	}
	turn(100);
	assert_int_equal(tellings, 0);
	host_says("b", "10.0.0.3");
	assert_int_equal(tellings, 1);
	assert_string_equal(told(), "10.0.0.1:80/10/5 10.0.0.3:81/20/1");
}

static void test_one_that_is_silent_holds_up_nobody(void **state)
{
	want(&service);
	service_says("_s._tcp.test", "10 5 80 a 20 1 81 b");
	host_says("a", "10.0.0.1");
	assert_string_equal(told(), "10.0.0.1:80/10/5");
	host_fails("b", false);
	turn(1000);
	host_says("b", "10.0.0.3");
	assert_string_equal(told(), "10.0.0.1:80/10/5 10.0.0.3:81/20/1");
}

static void test_the_old_pair_is_held_the_new_one_comes_at_once(void **state)
{
	want(&service);
	service_says("_s._tcp.test", "10 1 80 a");
	host_says("a", "10.0.0.1");
	turn(60000);
	host_says("a", "10.0.0.1");
	service_says("_s._tcp.test", "10 1 81 b");
	host_says("b", "10.0.0.2");
	assert_string_equal(told(), "10.0.0.1:80/10/1 10.0.0.2:81/10/1");
	turn(HOLD);
	turn(100);
	assert_string_equal(told(), "10.0.0.2:81/10/1");
}

static void test_a_dot_ends_all_at_once(void **state)
{
	want(&service);
	service_says("_s._tcp.test", "10 1 80 a");
	host_says("a", "10.0.0.1");
	turn(60000);
	host_says("a", "10.0.0.1");
	service_says("_s._tcp.test", "");
	turn(100);
	assert_string_equal(told(), "");
	assert_int_equal(tellings, 2);
}

static void test_failures_change_nothing(void **state)
{
	want(&service);
	service_says("_s._tcp.test", "10 1 80 a");
	host_says("a", "10.0.0.1");
	for (int i = 0; i < 200; i++) {
		turn(60000);
		if (asked_for("a"))
			host_fails("a", false);
		if (asked_for("_s._tcp.test"))
			service_fails("_s._tcp.test", i < 50);
	}
	assert_int_equal(tellings, 1);
}

static void test_no_such_name_ends_it_after_a_while(void **state)
{
	want(&host);
	host_says("h.test", "10.0.0.1");
	for (int i = 0; i < 61 + 1; i++) {
		turn(60000);
		assert_int_equal(tellings, i < 61 ? 1 : 2);
		if (asked_for("h.test"))
			host_fails("h.test", true);
	}
	assert_string_equal(told(), "");
}

static const struct member before[2] = {
        {.addr = {.family = AF_INET, .port = 80, .ip = {10, 0, 0, 8}}, .priority = 10, .weight = 1},
        {.addr = {.family = AF_INET, .port = 80, .ip = {10, 0, 0, 9}}, .priority = 10, .weight = 1}};

static void test_what_was_known_before_stays_until_as_much_is_known(void **state)
{
	struct crowd_setup s = service;

	s.known = before;
	s.n_known = 2;
	want(&s);
	service_says("_s._tcp.test", "20 3 80 a 10 1 80 b");
	host_says("a", "10.0.0.8");
	/* of b nothing is known yet; the first one has another priority now */
	assert_string_equal(told(), "10.0.0.8:80/20/3 10.0.0.9:80/10/1");
	turn(3 * HOLD);
	assert_string_equal(told(), "10.0.0.8:80/20/3 10.0.0.9:80/10/1");
	host_says("b", "10.0.0.7");
	assert_string_equal(told(), "10.0.0.7:80/10/1 10.0.0.8:80/20/3 10.0.0.9:80/10/1");
	turn(HOLD);
	turn(100);
	assert_string_equal(told(), "10.0.0.7:80/10/1 10.0.0.8:80/20/3");
}

static void test_what_was_known_before_is_not_told_again(void **state)
{
	struct crowd_setup s = service;

	s.known = before;
	s.n_known = 2;
	want(&s);
	service_fails("_s._tcp.test", false);
	turn(2000);
	service_says("_s._tcp.test", "10 1 80 a");
	host_says("a", "10.0.0.8 10.0.0.9");
	turn(2 * HOLD);
	assert_int_equal(tellings, 0);
}

static void test_a_line_that_is_not_wanted_is_not_asked_for(void **state)
{
	want(&service);
	service_says("_s._tcp.test", "10 1 80 a");
	want(NULL);
	assert_null(asked_for("a"));
	turn(120000);
	assert_null(asked_for("_s._tcp.test"));
}

static void test_changes_are_told_ten_times_a_second_at_most(void **state)
{
	struct crowd_times quick = times;

	quick.ttl_min_ms = quick.ttl_max_ms = 1;
	quick.known.hold_ms = 0;
	crowds_begin(crowds, &quick);
	crowds_want(crowds, &host);
	crowds_end(crowds, false);
	turn(0);
	for (int i = 0; i < 100; i++) {
		struct asked a = take("h.test");
		struct addr addr = {.family = AF_INET, .ip = {10, 0, 0, (uint8_t)(1 + i % 2)}};

		a.host(a.arg, &(struct resolve_result){.addrs = &addr, .n = 1, .ttl_s = 1});
		turn(10);
	}
	assert_in_range(tellings, 2, 12);
}

static void test_thousands_are_told_in_parts(void **state)
{
	struct addr *many = calloc(3000, sizeof(*many));
	struct asked a;

	for (unsigned i = 0; i < 3000; i++)
		many[i] = (struct addr){.family = AF_INET, .ip = {10, 1, (uint8_t)(i >> 8), (uint8_t)i}};
	want(&host);
	a = take("h.test");
	a.host(a.arg, &(struct resolve_result){.addrs = many, .n = 3000, .ttl_s = 1});
	turn(100);
	assert_int_equal(gathering.n, 3000);
	assert_int_equal(tellings, 1);
	free(many);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
	        T(test_each_address_is_a_member),
	        T(test_what_an_answer_leaves_out_goes_later),
	        T(test_a_service_has_port_and_host_of_one_record),
	        T(test_what_is_asked_together_is_told_together),
	        T(test_one_that_is_silent_holds_up_nobody),
	        T(test_the_old_pair_is_held_the_new_one_comes_at_once),
	        T(test_a_dot_ends_all_at_once),
	        T(test_failures_change_nothing),
	        T(test_no_such_name_ends_it_after_a_while),
	        T(test_what_was_known_before_stays_until_as_much_is_known),
	        T(test_what_was_known_before_is_not_told_again),
	        T(test_a_line_that_is_not_wanted_is_not_asked_for),
	        T(test_changes_are_told_ten_times_a_second_at_most),
	        T(test_thousands_are_told_in_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
