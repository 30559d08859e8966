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
#include "dns_server.h"
#include "event/resolve.h"

static const struct dns_record zone[] = {
        {"_db._tcp.test", DNS_SRV, "20 0 5433 Second.Test", 30},
        {"_db._tcp.test", DNS_SRV, "10 60 5432 FIRST.test", 40},
        {"_db._tcp.test", DNS_SRV, "10 40 5432 third.test", 300},
        /* the same one twice; the same host at another port is another server */
        {"_twice._tcp.test", DNS_SRV, "20 1 80 a.test", 30},
        {"_twice._tcp.test", DNS_SRV, "10 2 80 A.test", 30},
        {"_twice._tcp.test", DNS_SRV, "10 2 81 a.test", 30},
        {"_none._tcp.test", DNS_SRV, "0 0 0 .", 30},
        /* what cannot be called, or not written into a configuration */
        {"_odd._tcp.test", DNS_SRV, "0 0 0 no-port.test", 30},
        {"_odd._tcp.test", DNS_SRV, "0 0 80 $(reboot).test", 30},
        {"_odd._tcp.test", DNS_SRV, "0 0 80 a b.test", 30},
        {"_odd._tcp.test", DNS_SRV, "0 0 80 -x.test", 30},
        {"_odd._tcp.test", DNS_SRV, "1 2 80 good.test", 30},
        {"_big._tcp.test", DNS_BIG, NULL, 0},
        {"_big._tcp.test", DNS_SRV, "1 2 80 big.test", 30},
        {"_silent._tcp.test", DNS_SILENCE, NULL, 0},
        {"_empty._tcp.test", DNS_A, "10.0.0.1", 30},
        {0},
};

struct fixture {
	struct loop loop;
	struct dns_server *server;
	struct resolver *resolver;
	int calls, error;
	bool none, none_at_all;
	uint32_t ttl_s;
	struct buf text;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct addr server;

	*state = f;
	f->server = dns_server_start(zone);
	server = dns_server_addr(f->server);
	assert_int_equal(loop_init(&f->loop, -1, NULL, 16), 0);
	assert_int_equal(resolver_new(&(struct resolver_setup){.loop = &f->loop}, &server, 1, &f->resolver), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	resolver_free(f->resolver);
	assert_int_equal(f->loop.n_timers, 0);
	loop_release(&f->loop);
	dns_server_stop(f->server);
	buf_release(&f->text);
	free(f);
	return 0;
}

static void on_srv(void *arg, const struct resolve_srv_result *r)
{
	struct fixture *f = arg;

	f->calls++;
	f->error = r->error;
	f->none = r->none;
	f->none_at_all = r->none_at_all;
	f->ttl_s = r->ttl_s;
	for (size_t i = 0; i < r->n; i++)
		buf_addf(&f->text, "%u %u %u %s\n", r->records[i].priority, r->records[i].weight, r->records[i].port,
		         r->records[i].host);
}

static const char *ask(struct fixture *f, const char *name)
{
	int64_t until = clock_mono_ms() + 10000;

	resolve_srv(f->resolver, name, on_srv, f);
	while (f->calls == 0 && clock_mono_ms() < until)
		assert_int_equal(loop_turn(&f->loop, 100), 0);
	assert_int_equal(f->calls, 1);
	return f->text.s ? f->text.s : "";
}

static void test_port_and_host_are_of_one_record(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(ask(f, "_db._tcp.test"),
	                    "10 60 5432 first.test\n20 0 5433 second.test\n10 40 5432 third.test\n");
	assert_int_equal(f->error, 0);
	assert_int_equal(f->ttl_s, 30);
}

static void test_a_server_is_there_once(void **state)
{
	assert_string_equal(ask(*state, "_twice._tcp.test"), "10 2 80 a.test\n10 2 81 a.test\n");
}

static void test_a_dot_says_that_there_is_none(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(ask(f, "_none._tcp.test"), "");
	assert_int_equal(f->error, 0);
	assert_true(f->none_at_all && !f->none);
}

static void test_what_makes_no_sense_is_left_out(void **state)
{
	assert_string_equal(ask(*state, "_odd._tcp.test"), "1 2 80 good.test\n");
}

static void test_an_answer_too_long_for_udp_comes_by_tcp(void **state)
{
	assert_string_equal(ask(*state, "_big._tcp.test"), "1 2 80 big.test\n");
}

static void test_no_such_name_is_an_answer(void **state)
{
	struct fixture *f = *state;

	ask(f, "_gone._tcp.test");
	assert_true(f->none);
	assert_int_equal(f->error, ARES_ENOTFOUND);
}

static void test_no_such_record_is_an_answer(void **state)
{
	struct fixture *f = *state;

	ask(f, "_empty._tcp.test");
	assert_true(f->none);
	assert_int_equal(f->error, ARES_ENODATA);
}

static void test_a_question_can_be_taken_back(void **state)
{
	struct fixture *f = *state;

	resolve_srv(f->resolver, "_silent._tcp.test", on_srv, f);
	resolve_cancel(f->resolver, f);
	assert_int_equal(loop_turn(&f->loop, 10), 0);
	resolver_free(f->resolver);
	f->resolver = NULL;
	assert_int_equal(f->calls, 0);
}

static void test_a_question_ends(void **state)
{
	struct fixture *f = *state;
	struct addr server = dns_server_addr(f->server);

	resolver_free(f->resolver);
	assert_int_equal(
	        resolver_new(&(struct resolver_setup){.loop = &f->loop, .limit_ms = 200}, &server, 1, &f->resolver), 0);
	ask(f, "_silent._tcp.test");
	assert_int_equal(f->error, ARES_ETIMEOUT);
	assert_false(f->none);
	assert_int_equal(resolver_counts(f->resolver).n[NAME_FAILED], 1);
}

/* ---- answers that are cut, or lie ---- */

static size_t make(uint8_t *m, size_t room)
{
	static const uint8_t answer[] = {
	        0,    1,   0x81, 0x80, 0,  1,  0,    2,   0, 0, 0, 0, /* a question, two records */
	        1,    'x', 0,    0,    33, 0,  1,                     /* x SRV? */
	        0xc0, 12,  0,    33,   0,  1,  0,    0,   0, 9, 0, 9, /* 9 s, 9 bytes */
	        0,    1,   0,    2,    0,  80, 1,    'a', 0,          /* 1 2 80 a */
	        0xc0, 12,  0,    33,   0,  1,  0,    0,   0, 5, 0, 8, /* 5 s, 8 bytes */
	        0,    3,   0,    4,    0,  81, 0xc0, 37,              /* 3 4 81 a, compressed */
	};

	assert_true(sizeof(answer) <= room);
	memcpy(m, answer, sizeof(answer));
	return sizeof(answer);
}

static void test_an_answer_that_is_cut_anywhere(void **state)
{
	uint8_t m[512];
	size_t len = make(m, sizeof(m)), n;
	uint32_t ttl_s;
	bool none;

	for (size_t cut = 0; cut <= len; cut++) {
		uint8_t *exact = malloc(cut + 1);
		struct srv_record *list;

		memcpy(exact, m, cut);
		list = srv_read(exact, cut, &n, &ttl_s, &none);
		assert_true((list != NULL) == (cut >= 19));
		if (list)
			assert_int_equal(n, cut == len ? 2 : cut >= 40);
		free(list);
		free(exact);
	}
	assert_int_equal(ttl_s, 5);
}

static void test_a_record_whose_name_runs_over_its_end(void **state)
{
	uint8_t m[512];
	size_t len = make(m, sizeof(m)), n;
	struct srv_record *list;
	uint32_t ttl_s;
	bool none;

	m[30] = 8; /* the name's zero stands behind */
	list = srv_read(m, len, &n, &ttl_s, &none);
	assert_non_null(list);
	assert_int_equal(n, 0);
	free(list);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_port_and_host_are_of_one_record, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_server_is_there_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_dot_says_that_there_is_none, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_what_makes_no_sense_is_left_out, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_an_answer_too_long_for_udp_comes_by_tcp, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_no_such_name_is_an_answer, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_no_such_record_is_an_answer, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_question_can_be_taken_back, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_question_ends, setup, teardown),
	        cmocka_unit_test(test_an_answer_that_is_cut_anywhere),
	        cmocka_unit_test(test_a_record_whose_name_runs_over_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
