/* The last hour: what is kept, what falls out of it, and how it reads as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "stats/history.h"

#define BEGIN 1788437000LL

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct history));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static json_t *parsed(struct buf *text)
{
	json_t *j = json_loads(text->s, 0, NULL);

	assert_non_null(j);
	buf_release(text);
	return j;
}

static json_t *rates(const struct history *h, int64_t since)
{
	struct buf text = BUF_INIT;

	render_history_json(h, since, &text);
	return parsed(&text);
}

static json_t *errors(const struct history *h, uint64_t since, const uint64_t *ends, int64_t now)
{
	static const uint64_t none[COUNTED_ENDS];
	struct buf text = BUF_INIT;

	render_errors_json(h, since, ends ? ends : none, now, &text);
	return parsed(&text);
}

static long long in(json_t *j, const char *key, size_t i)
{
	return json_integer_value(json_array_get(json_object_get(j, key), i));
}

static size_t length(json_t *j, const char *key)
{
	return json_array_size(json_object_get(j, key));
}

static void add_samples(struct history *h, int from, int to)
{
	static const uint64_t ends[COUNTED_ENDS];

	for (int i = from; i < to; i++)
		history_add_sample(h,
		                   &(struct history_sample){.wall_s = BEGIN + i,
		                                            .active = (uint64_t)i,
		                                            .accepted = 10 * (uint64_t)i,
		                                            .client_bytes = 1000 * (uint64_t)i},
		                   ends);
}

static void rates_lie_between_samples(void **state)
{
	json_t *j = rates(*state, 0);

	assert_int_equal(length(j, "time"), 0);
	json_decref(j);
	add_samples(*state, 0, 4);
	j = rates(*state, 0);
	assert_int_equal(length(j, "time"), 3);
	assert_int_equal(in(j, "time", 0), BEGIN + 1);
	assert_int_equal(in(j, "active", 2), 3);
	assert_int_equal(in(j, "accepted", 2), 10);
	assert_int_equal(in(j, "client_bytes", 0), 1000);
	assert_int_equal(in(j, "server_bytes", 0), 0);
	json_decref(j);
	j = rates(*state, BEGIN + 2);
	assert_int_equal(length(j, "time"), 1);
	json_decref(j);
}

static void a_pause_is_spread_and_a_clock_set_back_gives_nothing(void **state)
{
	json_t *j;

	add_samples(*state, 0, 1);
	add_samples(*state, 10, 11);
	add_samples(*state, 5, 6);
	j = rates(*state, 0);
	assert_int_equal(in(j, "accepted", 0), 10);
	assert_int_equal(in(j, "accepted", 1), 0);
	json_decref(j);
}

static void an_hour_is_kept(void **state)
{
	json_t *j;

	add_samples(*state, 0, 2 * HISTORY_SECONDS);
	j = rates(*state, 0);
	assert_in_range(length(j, "time"), HISTORY_SECONDS - 2, HISTORY_SECONDS - 1);
	assert_int_equal(in(j, "time", length(j, "time") - 1), BEGIN + 2 * HISTORY_SECONDS - 1);
	assert_int_equal(in(j, "accepted", 0), 10);
	json_decref(j);
}

static void ended(struct history *h, uint64_t id, enum end end, int64_t at_s)
{
	struct record r = {.id = id, .event = RECORD_CLOSE, .end = (uint8_t)end, .wall_us = at_s * 1000000};

	addr_parse("192.0.2.7", &r.client);
	r.client.port = 4242;
	r.local.port = 25;
	history_add_record(h, &r);
}

static void only_errors_are_remembered(void **state)
{
	json_t *j, *e;

	ended(*state, 1, END_CLIENT_FIN, BEGIN);
	ended(*state, 2, END_CONNECT_FAILED, BEGIN);
	ended(*state, 3, END_KILLED, BEGIN);
	history_add_line(*state, LOG_LEVEL_INFO, "hello", BEGIN * 1000000);
	history_add_line(*state, LOG_LEVEL_ERROR, "the disk is \"full\"", BEGIN * 1000000);
	j = errors(*state, 0, NULL, BEGIN + 1);
	assert_int_equal(length(j, "errors"), 2);
	e = json_array_get(json_object_get(j, "errors"), 0);
	assert_int_equal(json_integer_value(json_object_get(e, "id")), 2);
	assert_string_equal(json_string_value(json_object_get(e, "client")), "192.0.2.7:4242");
	assert_string_equal(json_string_value(json_object_get(e, "end")), "connect-failed");
	assert_true(json_is_null(json_object_get(e, "server")));
	e = json_array_get(json_object_get(j, "errors"), 1);
	assert_string_equal(json_string_value(json_object_get(e, "reason")), "the disk is \"full\"");
	json_decref(j);
	j = errors(*state, 1, NULL, BEGIN + 1);
	assert_int_equal(length(j, "errors"), 1);
	json_decref(j);
	j = errors(*state, 0, NULL, BEGIN + HISTORY_SECONDS + 1);
	assert_int_equal(length(j, "errors"), 0);
	json_decref(j);
}

static void errors_have_the_names_of_service_and_server(void **state)
{
	struct record r = {.event = RECORD_CLOSE,
	                   .end = END_CONNECT_FAILED,
	                   .wall_us = BEGIN * 1000000,
	                   .service = "mail",
	                   .named = true,
	                   .target = "db1"};
	json_t *j, *e;

	history_add_record(*state, &r);
	r.service = "25";
	r.named = false;
	r.target = "10.0.0.9:25";
	history_add_record(*state, &r);
	j = errors(*state, 0, NULL, BEGIN + 1);
	e = json_array_get(json_object_get(j, "errors"), 0);
	assert_string_equal(json_string_value(json_object_get(e, "service")), "mail");
	assert_string_equal(json_string_value(json_object_get(e, "server")), "db1");
	e = json_array_get(json_object_get(j, "errors"), 1);
	assert_true(json_is_null(json_object_get(e, "service")));
	assert_string_equal(json_string_value(json_object_get(e, "server")), "10.0.0.9:25");
	json_decref(j);
}

static void the_last_errors_are_kept(void **state)
{
	json_t *j;

	for (uint64_t i = 1; i <= 3 * HISTORY_ERRORS; i++)
		ended(*state, i, END_LIMIT, BEGIN);
	j = errors(*state, 0, NULL, BEGIN + 1);
	assert_in_range(length(j, "errors"), HISTORY_ERRORS - 1, HISTORY_ERRORS);
	assert_int_equal(json_integer_value(json_object_get(j, "last")), 3 * HISTORY_ERRORS);
	json_decref(j);
	/* a reader that knows more than there is asks a program that was started anew */
	j = errors(*state, 1000000, NULL, BEGIN + 1);
	assert_true(length(j, "errors") > 0);
	json_decref(j);
}

static void reasons_are_those_of_the_last_hour(void **state)
{
	uint64_t ends[COUNTED_ENDS] = {[END_LIMIT] = 5, [END_CLIENT_FIN] = 100};
	struct history_sample s = {.wall_s = BEGIN};
	json_t *j, *r;

	history_add_sample(*state, &s, ends);
	for (int minute = 1; minute <= 90; minute++) {
		s.wall_s = BEGIN + 60 * minute;
		ends[END_LIMIT] += minute == 10 ? 7 : 0; /* more than an hour ago at the end */
		ends[END_DENIED] += minute == 80 ? 3 : 0;
		history_add_sample(*state, &s, ends);
	}
	j = errors(*state, 0, ends, s.wall_s);
	assert_int_equal(length(j, "reasons"), 1);
	r = json_array_get(json_object_get(j, "reasons"), 0);
	assert_string_equal(json_string_value(json_object_get(r, "end")), "denied");
	assert_int_equal(json_integer_value(json_object_get(r, "count")), 3);
	json_decref(j);
}

static void every_end_has_words(void **state)
{
	for (int i = 0; i < END_COUNT; i++)
		assert_non_null(end_words((enum end)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(rates_lie_between_samples, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_pause_is_spread_and_a_clock_set_back_gives_nothing, setup, teardown),
	        cmocka_unit_test_setup_teardown(an_hour_is_kept, setup, teardown),
	        cmocka_unit_test_setup_teardown(only_errors_are_remembered, setup, teardown),
	        cmocka_unit_test_setup_teardown(errors_have_the_names_of_service_and_server, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_last_errors_are_kept, setup, teardown),
	        cmocka_unit_test_setup_teardown(reasons_are_those_of_the_last_hour, setup, teardown),
	        cmocka_unit_test(every_end_has_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
