/* Changes that the supervisor is told of, when it hears and when it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "checker/telling.h"
#include "ipc/saying.h"
#include "os/sock.h"

static struct telling telling;
static int supervisor; /* its end */

static int begin(void **state)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	memset(&telling, 0, sizeof(telling));
	telling.fd = ends[0];
	supervisor = ends[1];
	return 0;
}

static int finish(void **state)
{
	int fd = telling.fd;

	telling_stop(&telling);
	if (fd >= 0)
		close(fd);
	close(supervisor);
	return 0;
}

static void change(uint32_t seat, enum health_state was, enum health_state now, const char *why)
{
	struct addr none = {.family = AF_UNSPEC};

	telling_change(&telling, &(struct telling_change){seat, now, was, &none, why});
}

/* False: nothing more. Else "SEAT WAS STATE WHY". */
static bool hear(char *ret, size_t size)
{
	struct said m;
	size_t n_fds = 0;
	int len = sock_recv_message(supervisor, &m, sizeof(m) - 1, NULL, &n_fds);

	if (len < 0)
		return false;
	assert_non_null(said_text(&m, (size_t)len));
	assert_int_equal(m.wire.type, WIRE_HEALTH);
	snprintf(ret, size, "%u %s %s %.100s", m.wire.health.seat, health_name(m.wire.health.was),
	         health_name(m.wire.health.state), m.line.text);
	return true;
}

static void assert_hears(const char *wanted)
{
	char text[200] = "nothing";

	hear(text, sizeof(text));
	assert_string_equal(text, wanted);
}

static void what_changes_is_told_at_once(void **state)
{
	change(7, HEALTH_UP, HEALTH_DOWN, "check tcp: connection refused");
	assert_hears("7 up down check tcp: connection refused");
	change(7, HEALTH_DOWN, HEALTH_UP, "");
	assert_hears("7 down up ");
	assert_hears("nothing");
}

/* Fills the socket with changes of other seats, and keeps one. */
static void fill(void)
{
	uint32_t seat = 10000; /* and so on: they begin with a 1 */

	while (telling.n == 0)
		change(seat++, HEALTH_UNKNOWN, HEALTH_UP, "");
}

/* What comes first of seat 1 or 2, once all that fills the socket was heard. */
static void assert_hears_later(const char *wanted)
{
	char text[200];

	do {
		telling_go_on(&telling);
		assert_true(hear(text, sizeof(text)));
	} while (text[0] == '1' && text[1] != ' ');
	assert_string_equal(text, wanted);
}

static void what_finds_no_room_is_told_later_in_order(void **state)
{
	char text[200];
	uint32_t said = 0;

	fill();
	for (uint32_t seat = 0; seat < 50; seat++)
		change(seat, HEALTH_UNKNOWN, HEALTH_DOWN, "why");
	while (telling.n > 0 || said < 50) {
		unsigned seat;

		if (!hear(text, sizeof(text))) {
			assert_true(telling.n > 0);
			telling_go_on(&telling);
			continue;
		}
		assert_int_equal(sscanf(text, "%u", &seat), 1);
		if (seat < 50) {
			char wanted[40];

			snprintf(wanted, sizeof(wanted), "%u unknown down why", said++);
			assert_string_equal(text, wanted);
		}
	}
}

static void of_several_changes_the_whole_is_told(void **state)
{
	fill();
	change(1, HEALTH_UNKNOWN, HEALTH_UP, "");
	change(1, HEALTH_UP, HEALTH_DOWN, "no");
	change(1, HEALTH_DOWN, HEALTH_UP, "");
	change(1, HEALTH_UP, HEALTH_DOWN, "no more");
	assert_int_equal(telling.n, 2);
	assert_hears_later("1 unknown down no more");
	assert_hears("nothing");
}

static void who_is_again_what_he_was_is_not_told_of(void **state)
{
	fill();
	change(1, HEALTH_UP, HEALTH_DOWN, "no");
	change(1, HEALTH_DOWN, HEALTH_UP, "");
	change(2, HEALTH_UP, HEALTH_DOWN, "no");
	assert_hears_later("2 up down no");
	assert_int_equal(telling.n, 0);
	change(1, HEALTH_UP, HEALTH_DOWN, "now");
	assert_hears("1 up down now");
}

static void nobody_hears(void **state)
{
	fill();
	close(telling.fd);
	telling_stop(&telling);
	assert_int_equal(telling.n, 0);
	change(1, HEALTH_UP, HEALTH_DOWN, "no");
	assert_int_equal(telling.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(what_changes_is_told_at_once, begin, finish),
	        cmocka_unit_test_setup_teardown(what_finds_no_room_is_told_later_in_order, begin, finish),
	        cmocka_unit_test_setup_teardown(of_several_changes_the_whole_is_told, begin, finish),
	        cmocka_unit_test_setup_teardown(who_is_again_what_he_was_is_not_told_of, begin, finish),
	        cmocka_unit_test_setup_teardown(nobody_hears, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
