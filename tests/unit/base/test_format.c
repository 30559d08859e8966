#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/format.h"

static const struct record record = {
        .id = 17,
        .wall_us = 1700000000123456,
        .connect_us = 4321,
        .duration_us = 12345678,
        .up = 5,
        .down = 678,
        .local = {.family = AF_INET, .port = 25, .ip = {192, 168, 1, 1}},
        .client = {.family = AF_INET6, .port = 4000, .ip = {[15] = 1}},
        .event = RECORD_CLOSE,
        .end = END_CLIENT_RESET,
        .service = "25",
        .target = "db1",
        .rule = "/etc/tcpproxy conf:5",
        .server_text = "unix:/run/x",
};

static void expect(const char *format, const char *text)
{
	struct buf out = BUF_INIT, why = BUF_INIT;

	assert_true(format_check(format, &why));
	format_render(format, &record, &out);
	assert_string_equal(out.s ? out.s : "", text);
	buf_release(&out);
	buf_release(&why);
}

static void refuse(const char *format, const char *words)
{
	struct buf why = BUF_INIT;

	assert_false(format_check(format, &why));
	if (!strstr(why.s, words))
		fail_msg("%s: %s", format, why.s);
	buf_release(&why);
}

static void keys_stand_for_values(void **state)
{
	expect("", "");
	expect("plain text", "plain text");
	expect("{id}", "17");
	expect("{id}{up}", "175");
	expect("a {client} b {client-ip} c {client-port}", "a [::1]:4000 b ::1 c 4000");
	expect("{interface}:{port}", "192.168.1.1:25");
	expect("{connect} {connect-ms} {duration} {duration-ms}", "0.004 4 12.345 12345");
	expect("{event} {end} {epoch}", "close client-reset 1700000000");
	expect("{service} {target}", "25 db1");
}

static void what_is_missing_is_a_dash(void **state)
{
	expect("{name} {server-ip} {server-port} {why}", "- - - -");
}

static void what_is_unusual_is_quoted(void **state)
{
	expect("{rule}", "\"/etc/tcpproxy conf:5\"");
}

static void the_spelling_of_haproxy(void **state)
{
	expect("%ID %ci %cp %fi %fp %U %B %Tc %Tt %Ts %s",
	       "17 ::1 4000 192.168.1.1 25 5 678 4 12345 1700000000 unix:/run/x");
	expect("%ts%si", "client-reset-"); /* the longest word counts */
}

static void doubled_characters(void **state)
{
	expect("{{{id}}} 100%% {{}}", "{17} 100% {}");
}

static void what_is_wrong_is_named(void **state)
{
	refuse("{nothing}", "\"{nothing}\" is no key");
	refuse("{id", "\"{id\" is no key");
	refuse("{}", "\"{}\" is no key");
	refuse("%", "\"%\" is no key");
	refuse("%q", "%ci");
	refuse("a } b", "}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(keys_stand_for_values),     cmocka_unit_test(what_is_missing_is_a_dash),
	        cmocka_unit_test(what_is_unusual_is_quoted), cmocka_unit_test(the_spelling_of_haproxy),
	        cmocka_unit_test(doubled_characters),        cmocka_unit_test(what_is_wrong_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
