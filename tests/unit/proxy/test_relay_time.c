/* Time limits of a relay, and what counts as life. */
#include "relay_stage.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>
#include "os/sock.h"

static void half_close_limit(void **state)
{
	int64_t since;

	open_sides(0);
	stage.cold->half_close_timeout_ms = 100;
	start();
	since = clock_mono_ms();
	while (clock_mono_ms() < since + 200) { /* holds only after a FIN */
		step_peers(NULL);
		loop_turn(&stage.loop, 20);
	}
	assert_false(over);
	since = clock_mono_ms(); /* before the relay can know of it */
	client.fin = true;
	GO_ON_UNTIL(server.eof);
	finish(RELAY_ABORT, END_HALF_CLOSE_TIMEOUT);
	assert_true(clock_mono_ms() - since >= 80);
	assert_int_equal(client.error, ECONNRESET);
}

/* However long both have been silent before. (That a FIN reached a Unix socket needs no acknowledgement, which would count.) */
static void the_end_of_a_stream_begins_the_limit(void **state)
{
	int64_t since;

	open_sides(0);
	stage.cold->half_close_timeout_ms = 200;
	start();
	since = clock_mono_ms();
	while (clock_mono_ms() < since + 300) {
		step_peers(NULL);
		loop_turn(&stage.loop, 20);
	}
	since = clock_mono_ms();
	server.fin = true;
	finish(RELAY_ABORT, END_HALF_CLOSE_TIMEOUT);
	assert_true(client.eof);
	assert_true(clock_mono_ms() - since >= 200);
}

static void no_half_close_limit(void **state)
{
	int64_t since = clock_mono_ms();

	open_sides(0);
	client.fin = true;
	start();
	while (clock_mono_ms() < since + 100) {
		step_peers(NULL);
		loop_turn(&stage.loop, 10);
	}
	assert_false(over);
	assert_int_equal(stage.loop.n_timers, 0); /* nothing to wait for */
	server.fin = true;
	finish(RELAY_CLOSE, END_CLIENT_FIN);
}

static void idle_limit(void **state)
{
	int64_t since;

	open_sides(0);
	stage.cold->timeout_ms = 150;
	since = clock_mono_ms();
	start();
	finish(RELAY_ABORT, END_IDLE_TIMEOUT);
	assert_true(clock_mono_ms() - since >= 149);
	assert_int_equal(client.error, ECONNRESET);
	assert_int_equal(server.error, ECONNRESET);
}

static void idle_limit_after_a_fin(void **state)
{
	open_sides(0);
	stage.cold->timeout_ms = 100;
	stage.cold->half_close_timeout_ms = 60000;
	client.fin = true;
	start();
	finish(RELAY_ABORT, END_IDLE_TIMEOUT);
	assert_int_equal(client.error, ECONNRESET);
}

/* Bytes in one direction keep both alive; when they cease, it ends. */
static void bytes_either_way_are_life(void **state)
{
	int64_t since;

	open_sides(0);
	stage.cold->timeout_ms = 400;
	start();
	since = clock_mono_ms();
	while (clock_mono_ms() < since + 1000) {
		size_t before = client.in_len;

		server.out_len++;
		GO_ON_UNTIL(client.in_len > before);
		loop_turn(&stage.loop, 20);
		assert_false(over);
	}
	finish(RELAY_ABORT, END_IDLE_TIMEOUT);
}

/* All has been taken from the server; what the client acknowledges of it is life. */
static void acknowledgements_are_life(void **state)
{
	int64_t since, next = 0;

	open_sides(0);
	stage.cold->timeout_ms = 400;
	server.out_len = 1000000;
	client.reading = false;
	client.read_at_once = 16384;
	start();
	since = clock_mono_ms();
	while (client.in_len < 1000000 && clock_mono_ms() < since + 10000) {
		client.reading = clock_mono_ms() >= next;
		if (client.reading)
			next = clock_mono_ms() + 20;
		step_peers(NULL);
		loop_turn(&stage.loop, 5);
		if (over)
			fail_msg("ended after %zu bytes, %d ms", client.in_len, (int)(clock_mono_ms() - since));
	}
	assert_received(&client, 1000000);
	assert_true(clock_mono_ms() - since > 1000);
	finish(RELAY_ABORT, END_IDLE_TIMEOUT);
}

/* A reader that takes nothing at all does not live for ever on what is queued for it. */
static void a_reader_that_is_stuck_is_idle(void **state)
{
	int64_t since;

	open_sides(0);
	stage.cold->timeout_ms = 200;
	server.out_len = LARGE;
	client.reading = false;
	start();
	since = clock_mono_ms();
	GO_ON_UNTIL(over);
	assert_int_equal(outcome, RELAY_ABORT);
	assert_int_equal(stage.row->end, END_IDLE_TIMEOUT);
	assert_true(clock_mono_ms() - since < 2000);
}

/* A client that never acknowledges what came before a reset: bounded, too. */
static void a_reset_waits_only_so_long(void **state)
{
	open_sides(0);
	stage.cold->half_close_timeout_ms = 200;
	server.out_len = LARGE;
	client.reading = false;
	start();
	GO_ON_UNTIL(turns > 10 && !again && server.sent > 0);
	sock_reset_on_close(server.fd);
	close(server.fd);
	server.fd = -1;
	GO_ON_UNTIL(over);
	assert_int_equal(outcome, RELAY_ABORT);
	assert_int_equal(stage.row->end, END_SERVER_RESET);
}

static struct sides tcp = {"TCP", PAIR_TCP, PAIR_TCP, 0};
static struct sides from_unix = {"Unix to TCP", PAIR_UNIX, PAIR_TCP, 0};

#define TEST(sides, name)                                                    \
	{                                                                    \
#sides ": " #name, name, relay_setup, relay_teardown, &sides \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(tcp, half_close_limit),
	        TEST(from_unix, the_end_of_a_stream_begins_the_limit),
	        TEST(tcp, no_half_close_limit),
	        TEST(tcp, idle_limit),
	        TEST(tcp, idle_limit_after_a_fin),
	        TEST(tcp, bytes_either_way_are_life),
	        TEST(tcp, acknowledgements_are_life),
	        TEST(from_unix, acknowledgements_are_life),
	        TEST(tcp, a_reader_that_is_stuck_is_idle),
	        TEST(tcp, a_reset_waits_only_so_long),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
