/* How an access record is written: the text line of tcpproxy.conf(5), and JSON that any parser
 * takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/record.h"

#define ALL_UP_TO_SERVER                                                           \
	"2026-09-03T14:05:09.123+02:00 close id=17 port=25 interface=192.168.1.1 " \
	"client=192.168.1.7:51234 "

static struct record example(void)
{
	struct record r = {
	        .id = 17,
	        .wall_us = 1788437109123456LL,
	        .connect_us = 4321,
	        .duration_us = 12345678,
	        .up = 1234,
	        .down = 5678,
	        .event = RECORD_CLOSE,
	        .end = END_CLIENT_FIN,
	        .rule = "/etc/tcpproxy.conf:5",
	};

	assert_true(addr_parse("192.168.1.1", &r.local));
	assert_true(addr_parse("192.168.1.7", &r.client));
	assert_true(addr_parse("10.0.0.9", &r.server));
	r.local.port = 25;
	r.client.port = 51234;
	r.server.port = 25;
	return r;
}

static void expect_text(const struct record *r, const char *text)
{
	struct buf out = BUF_INIT;

	record_render_text(r, &out);
	assert_string_equal(out.s, text);
	buf_release(&out);
}

static void expect_part(const struct record *r, const char *part)
{
	struct buf out = BUF_INIT;

	record_render_text(r, &out);
	if (!strstr(out.s, part))
		fail_msg("no \"%s\" in \"%s\"", part, out.s);
	buf_release(&out);
}

static void test_the_line_of_the_manual(void **state)
{
	struct record r = example();

	expect_text(&r, ALL_UP_TO_SERVER "rule=/etc/tcpproxy.conf:5 target=- server=10.0.0.9:25 up=1234 down=5678 "
	                                 "connect=0.004 duration=12.345 end=client-fin");
}

static void test_name_follows_client(void **state)
{
	struct record r = example();

	r.name = "pc7.example.org";
	expect_part(&r, "client=192.168.1.7:51234 name=pc7.example.org rule=");
	r.name = "";
	expect_part(&r, "client=192.168.1.7:51234 rule=");
}

static void test_a_service_and_a_server_with_names(void **state)
{
	struct record r = example();

	r.service = "25";
	expect_part(&r, " id=17 port=25 ");
	r.service = "mail";
	r.named = true;
	r.target = "db1";
	expect_part(&r, " id=17 service=mail port=25 ");
	expect_part(&r, " rule=/etc/tcpproxy.conf:5 target=db1 server=10.0.0.9:25 ");
	r.target = "/bin/sh -c \"echo hello\"";
	expect_part(&r, " target=\"/bin/sh -c \\\"echo hello\\\"\" server=");
}

static void test_the_reason_stands_last(void **state)
{
	struct record r = example();

	r.end = END_DENIED;
	for (int i = WHY_NONE + 1; i < WHY_COUNT; i++)
		assert_non_null(why_name((enum why)i));
	r.why = WHY_NO_ALLOW;
	expect_part(&r, " end=denied why=no-allow");
	assert_null(why_name(WHY_NONE));
	r.why = 200; /* from shared memory: anything */
	expect_text(&r, ALL_UP_TO_SERVER "rule=/etc/tcpproxy.conf:5 target=- server=10.0.0.9:25 up=1234 down=5678 "
	                                 "connect=0.004 duration=12.345 end=denied");
}

static void test_how_long_it_has_waited(void **state)
{
	struct record r = example();

	r.waited_us = 1234567;
	expect_part(&r, " end=client-fin waited=1.234");
	r.end = END_LIMIT;
	r.why = WHY_QUEUE_TIMEOUT;
	expect_part(&r, " end=limit why=queue-timeout waited=1.234");
}

static void test_missing_values(void **state)
{
	struct record r = {.connect_us = -1, .event = RECORD_OPEN, .wall_us = 1788437109123456LL};

	expect_text(&r, "2026-09-03T14:05:09.123+02:00 open id=0 port=- interface=- client=- rule=- "
	                "target=- server=- up=0 down=0 connect=- duration=0.000 end=-");
}

static void test_ipv6_in_brackets(void **state)
{
	struct record r = example();

	assert_true(addr_parse("fd00::1", &r.local));
	assert_true(addr_parse("fd00::7", &r.client));
	assert_true(addr_parse("::1", &r.server));
	r.client.port = 4;
	r.server.port = 80;
	expect_part(&r, "port=- interface=[fd00::1] client=[fd00::7]:4 ");
	expect_part(&r, " server=[::1]:80 ");
}

static void test_values_do_not_break_the_line(void **state)
{
	struct record r = example();

	r.server_text = "/bin/my handler";
	expect_part(&r, " server=\"/bin/my handler\" up=");
	r.server_text = "unix:/run/x.sock";
	expect_part(&r, " server=unix:/run/x.sock up=");
	r.server_text = "/a\"\\\n\r\t\001\303\244";
	expect_part(&r, " server=\"/a\\\"\\\\\\n\\r\\t\\x01\\xc3\\xa4\" up=");
	r.server_text = "/b\303\244";
	expect_part(&r, " server=\"/b\\xc3\\xa4\" up=");
	r.rule = "-b \"x\":1";
	expect_part(&r, " rule=\"-b \\\"x\\\":1\" target=");
}

static void test_numbers_at_their_edges(void **state)
{
	struct record r = example();

	r.id = r.up = UINT64_MAX;
	r.connect_us = 0;
	r.duration_us = INT64_MAX;
	expect_part(&r, "id=18446744073709551615 ");
	expect_part(&r, "up=18446744073709551615 ");
	expect_part(&r, "connect=0.000 duration=9223372036854.775 ");
	r.duration_us = -5; /* a clock that was set back */
	expect_part(&r, " duration=0.000 ");
}

static void test_words(void **state)
{
	struct record r = example();

	r.event = RECORD_INTERVAL;
	r.end = END_HALF_CLOSE_TIMEOUT;
	expect_part(&r, "+02:00 interval id=17 ");
	expect_part(&r, " end=half-close-timeout");
	for (int i = END_NONE; i < END_COUNT; i++)
		assert_non_null(end_name((enum end)i));
	assert_string_equal(end_name(END_LOST), "lost");
	r.event = r.end = 200; /* from shared memory: anything */
	expect_part(&r, "+02:00 - id=17 ");
	expect_part(&r, " end=-");
}

/* ---- JSON ---- */

static json_t *parse(const struct record *r)
{
	struct buf out = BUF_INIT;
	json_error_t error;
	json_t *o;

	record_render_json(r, &out);
	assert_null(strchr(out.s, '\n'));
	o = json_loads(out.s, JSON_REJECT_DUPLICATES, &error);
	if (!o)
		fail_msg("%s: %s", error.text, out.s);
	buf_release(&out);
	return o;
}

static const char *string_at(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static void test_json(void **state)
{
	struct record r = example();
	json_t *o = parse(&r);
	const char *key;
	json_t *value;
	char keys[200] = "";

	json_object_foreach(o, key, value) strcat(strcat(keys, key), " ");
	assert_string_equal(keys, "time event id service port interface client name via announced uid authority rule "
	                          "sni alpn protocol target server up down "
	                          "connect duration end why waited ");
	assert_string_equal(string_at(o, "service"), "25");
	assert_true(json_is_null(json_object_get(o, "why")));
	assert_true(json_is_null(json_object_get(o, "waited")));
	assert_string_equal(string_at(o, "time"), "2026-09-03T14:05:09.123+02:00");
	assert_string_equal(string_at(o, "event"), "close");
	assert_string_equal(string_at(o, "client"), "192.168.1.7:51234");
	assert_int_equal(json_integer_value(json_object_get(o, "port")), 25);
	assert_int_equal(json_integer_value(json_object_get(o, "down")), 5678);
	assert_true(json_real_value(json_object_get(o, "duration")) == 12.345);
	assert_true(json_is_null(json_object_get(o, "name")));
	json_decref(o);
}

static void test_json_names_and_reasons(void **state)
{
	struct record r = example();
	json_t *o;

	r.service = "8000-8010";
	r.target = "db1.internal:5432";
	r.end = END_LIMIT;
	r.why = WHY_SERVER_MAX;
	o = parse(&r);
	assert_string_equal(string_at(o, "service"), "8000-8010");
	assert_string_equal(string_at(o, "target"), "db1.internal:5432");
	assert_string_equal(string_at(o, "end"), "limit");
	assert_string_equal(string_at(o, "why"), "server-max");
	json_decref(o);
}

static void test_json_missing_values(void **state)
{
	struct record r = {.connect_us = -1};
	json_t *o = parse(&r);

	assert_true(json_is_null(json_object_get(o, "service")));
	assert_true(json_is_null(json_object_get(o, "target")));
	assert_true(json_is_null(json_object_get(o, "port")));
	assert_true(json_is_null(json_object_get(o, "server")));
	assert_true(json_is_null(json_object_get(o, "connect")));
	assert_true(json_is_null(json_object_get(o, "end")));
	json_decref(o);
}

static void expect_json_string(const char *value, const char *read_back)
{
	struct record r = example();
	json_t *o;

	r.server_text = value;
	o = parse(&r);
	assert_string_equal(string_at(o, "server"), read_back);
	json_decref(o);
}

static void test_json_strings(void **state)
{
	expect_json_string("a\"b\\c\n\r\t\001\177/", "a\"b\\c\n\r\t\001\177/");
	expect_json_string("\303\244 \342\202\254 \360\237\230\200", "\303\244 \342\202\254 \360\237\230\200");
}

#define BAD "\357\277\275"

static void test_json_replaces_what_is_not_utf8(void **state)
{
	expect_json_string("a\377b", "a" BAD "b");
	expect_json_string("cut \303", "cut " BAD);
	expect_json_string("cut \360\237\230", "cut " BAD BAD BAD);
	expect_json_string("\300\257", BAD BAD);         /* '/' in two bytes */
	expect_json_string("\340\200\257", BAD BAD BAD); /* ... and in three */
	expect_json_string("\355\240\200", BAD BAD BAD); /* half of a UTF-16 pair */
	expect_json_string("\364\220\200\200", BAD BAD BAD BAD);
	expect_json_string("\200\303\244", BAD "\303\244");
}

/* ---- lines ---- */

static void test_lines(void **state)
{
	struct buf out = BUF_INIT;
	json_t *o;

	record_render_line_text(1788437109123456LL, "error", "no route\nto db", &out);
	assert_string_equal(out.s, "2026-09-03T14:05:09.123+02:00 error no route?to db");
	buf_clear(&out);
	record_render_line_json(1788437109123456LL, "error", "no \"route\"", &out);
	o = json_loads(out.s, 0, NULL);
	assert_string_equal(string_at(o, "event"), "error");
	assert_string_equal(string_at(o, "time"), "2026-09-03T14:05:09.123+02:00");
	assert_string_equal(string_at(o, "message"), "no \"route\"");
	json_decref(o);
	buf_release(&out);
}

static void test_plain_has_no_time(void **state)
{
	struct record r = example();
	struct buf out = BUF_INIT;

	record_render_plain(&r, &out);
	assert_int_equal(strncmp(out.s, "close id=17 port=25 ", 20), 0);
	buf_release(&out);
}

static int summer(void **state)
{
	setenv("TZ", "CEST-2", 1);
	tzset();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_line_of_the_manual),
	        cmocka_unit_test(test_name_follows_client),
	        cmocka_unit_test(test_a_service_and_a_server_with_names),
	        cmocka_unit_test(test_the_reason_stands_last),
	        cmocka_unit_test(test_how_long_it_has_waited),
	        cmocka_unit_test(test_missing_values),
	        cmocka_unit_test(test_ipv6_in_brackets),
	        cmocka_unit_test(test_values_do_not_break_the_line),
	        cmocka_unit_test(test_numbers_at_their_edges),
	        cmocka_unit_test(test_words),
	        cmocka_unit_test(test_json),
	        cmocka_unit_test(test_json_names_and_reasons),
	        cmocka_unit_test(test_json_missing_values),
	        cmocka_unit_test(test_json_strings),
	        cmocka_unit_test(test_json_replaces_what_is_not_utf8),
	        cmocka_unit_test(test_lines),
	        cmocka_unit_test(test_plain_has_no_time),
	};

	return cmocka_run_group_tests(tests, summer, NULL);
}
