/* The end of each stream, told truthfully: two real connections with the relay between them. */
#include "relay_stage.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/sock.h"

/* ---- FIN ---- */

static void client_ends_first(void **state)
{
	open_sides(0);
	client.out_len = SOME;
	client.fin = true;
	start();
	GO_ON_UNTIL(server.eof);
	assert_received(&server, SOME);
	nothing_more_happens(); /* the other direction is its own */
	assert_false(client.eof);
	server.out_len = LARGE;
	server.fin = true;
	finish(RELAY_CLOSE, END_CLIENT_FIN);
	assert_received(&client, LARGE);
	assert_true(client.eof && server.eof);
	assert_int_equal(stage.row->flow[CLIENT].moved, SOME);
	assert_int_equal(stage.row->flow[SERVER].moved, LARGE);
}

static void server_ends_first(void **state)
{
	open_sides(0);
	server.out_len = SOME;
	server.fin = true;
	start();
	GO_ON_UNTIL(client.eof);
	assert_received(&client, SOME);
	nothing_more_happens();
	client.out_len = LARGE;
	client.fin = true;
	finish(RELAY_CLOSE, END_SERVER_FIN);
	assert_received(&server, LARGE);
	assert_true(client.eof && server.eof);
}

static void a_fin_without_data_each_way(void **state)
{
	open_sides(0);
	client.fin = true;
	start();
	GO_ON_UNTIL(server.eof);
	assert_false(over);
	server.fin = true;
	finish(RELAY_CLOSE, END_CLIENT_FIN);
	assert_int_equal(client.in_len + server.in_len, 0);
}

/* The client had ended before the relay began. */
static void a_fin_that_came_before(void **state)
{
	open_sides(0);
	client.out_len = 1000;
	client.fin = true;
	peer_step(&client);
	server.out_len = 1000;
	server.fin = true;
	peer_step(&server);
	start();
	finish(RELAY_CLOSE, END_CLIENT_FIN);
	assert_received(&server, 1000);
	assert_received(&client, 1000);
}

/* Both have shut down with data still queued everywhere: it is flushed before anything is closed.
 */
static void both_half_closed_flush(void **state)
{
	open_sides(4096);
	client.out_len = server.out_len = LARGE / 4;
	client.fin = server.fin = true;
	client.reading = server.reading = false;
	start();
	nothing_more_happens();
	client.reading = server.reading = true;
	client.read_at_once = server.read_at_once = 20000;
	GO_ON_UNTIL(over && ended(&client) && ended(&server));
	assert_int_equal(outcome, RELAY_CLOSE);
	assert_received(&client, LARGE / 4);
	assert_received(&server, LARGE / 4);
	assert_true(client.eof && server.eof);
}

/* An early answer: the server answers, half-closes and reads on only later. */
static void an_early_answer(void **state)
{
	open_sides(32768);
	client.out_len = LARGE;
	client.fin = true;
	server.out_len = SOME;
	server.fin = true;
	server.reading = false;
	start();
	GO_ON_UNTIL(client.eof);
	assert_received(&client, SOME);
	assert_true(client.sent < LARGE);
	server.reading = true;
	finish(RELAY_CLOSE, END_SERVER_FIN);
	assert_received(&server, LARGE);
}

static void both_ways_at_once(void **state)
{
	open_sides(0);
	client.out_len = server.out_len = LARGE;
	client.fin = server.fin = true;
	client.read_at_once = 50000;
	start();
	GO_ON_UNTIL(over && ended(&client) && ended(&server));
	assert_int_equal(outcome, RELAY_CLOSE);
	assert_received(&client, LARGE);
	assert_received(&server, LARGE);
}

/* What one peer does not read is not taken from the other, and costs no turns. */
static void a_slow_reader_slows_its_sender(void **state)
{
	open_sides(32768);
	client.out_len = LARGE;
	client.fin = true;
	server.reading = false;
	start();
	GO_ON_UNTIL(turns > 5 && !again);
	nothing_more_happens();
	assert_true(client.sent < LARGE);
	turns = 0;
	for (int i = 0; i < 3; i++) /* nobody reads or writes: it sleeps */
		loop_turn(&stage.loop, 20);
	assert_true(turns <= 3);
	server.reading = true;
	server.fin = true;
	finish(RELAY_CLOSE, END_SERVER_FIN);
	assert_received(&server, LARGE);
}

static void urgent_data(void **state)
{
	open_sides(0);
	start();
	assert_int_equal(send(client.fd, pattern, 500, 0), 500);
	GO_ON_UNTIL(server.in_len == 500);
	assert_int_equal(send(client.fd, pattern + 500, 3, MSG_OOB), 3);
	assert_int_equal(send(client.fd, pattern + 503, 497, 0), 497);
	client.fin = server.fin = true;
	GO_ON_UNTIL(over && ended(&client) && ended(&server));
	assert_received(&server, 1000);
	assert_int_equal(outcome, RELAY_CLOSE);
}

/* ---- resets (TCP) ---- */

static void client_resets(void **state)
{
	open_sides(0);
	start();
	client.reset = true;
	finish(RELAY_ABORT, END_CLIENT_RESET);
	assert_int_equal(server.error, ECONNRESET);
	assert_received(&server, 0);
}

static void server_resets(void **state)
{
	open_sides(0);
	start();
	server.reset = true;
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_int_equal(client.error, ECONNRESET);
	assert_received(&client, 0);
}

/* What came before the reset is delivered, then the reset: also to one who reads late. */
static void client_resets_behind_data(void **state)
{
	open_sides(0);
	client.out_len = SOME;
	client.reset = true;
	server.reading = false;
	start();
	GO_ON_UNTIL(client.fd < 0);
	for (int i = 0; i < 10; i++)
		loop_turn(&stage.loop, 1);
	server.reading = true;
	finish(RELAY_ABORT, END_CLIENT_RESET);
	assert_received(&server, SOME);
	if (sides->server == PAIR_UNIX)
		assert_true(server.eof); /* it cannot carry more */
	else
		assert_int_equal(server.error, ECONNRESET);
}

static void server_resets_behind_data(void **state)
{
	open_sides(0);
	server.out_len = SOME;
	server.reset = true;
	client.reading = false;
	start();
	GO_ON_UNTIL(server.fd < 0);
	for (int i = 0; i < 10; i++)
		loop_turn(&stage.loop, 1);
	client.reading = true;
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_received(&client, SOME);
	assert_int_equal(client.error, ECONNRESET);
}

/* Data and reset were there before the relay looked for the first time. */
static void a_reset_that_came_before(void **state)
{
	open_sides(0);
	server.out_len = 1000;
	server.reset = true;
	while (server.fd >= 0)
		peer_step(&server);
	start();
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_received(&client, 1000);
	assert_int_equal(client.error, ECONNRESET);
}

/* Its error is told once, and was: to one who asked how far the banner of an access program had got. */
static void a_reset_before_the_banner_was_counted(void **state)
{
	open_sides(0);
	client.out_len = 1000;
	client.reset = true;
	while (client.fd >= 0)
		peer_step(&client);
	while (!sock_take_error(stage.row->fd[CLIENT]))
		;
	stage.row->flags |= ROWFLAG_GRANTED;
	start();
	finish(RELAY_ABORT, END_CLIENT_RESET);
	assert_received(&server, 1000);
	assert_int_equal(server.error, ECONNRESET);
}

/* The receiver's buffers are full when the reset comes: it waits until all is acknowledged. */
static void a_reset_waits_for_a_slow_reader(void **state)
{
	open_sides(0);
	server.out_len = 300000;
	server.reset = true;
	client.read_at_once = 4096;
	start();
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_received(&client, 300000);
	assert_int_equal(client.error, ECONNRESET);
}

/* The stuck upload is thrown away, and the client learns of it. */
static void server_resets_under_an_upload(void **state)
{
	open_sides(0);
	client.out_len = LARGE;
	server.reading = false;
	start();
	GO_ON_UNTIL(turns > 10 && !again && client.sent > 0);
	sock_reset_on_close(server.fd);
	close(server.fd);
	server.fd = -1;
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_int_equal(client.error, ECONNRESET);
}

/* A reset takes nothing back of the direction that had ended. */
static void client_resets_after_its_own_fin(void **state)
{
	open_sides(0);
	client.out_len = SOME;
	client.fin = true;
	start();
	GO_ON_UNTIL(stage.row->flow[CLIENT].flags & FLOW_SHUT);
	client.reset = true;
	GO_ON_UNTIL(over && ended(&server));
	assert_received(&server, SOME);
	assert_true(server.eof);
	assert_int_equal(outcome, RELAY_ABORT);
	assert_int_equal(stage.row->end, END_CLIENT_FIN);
}

static void server_resets_after_its_own_fin(void **state)
{
	open_sides(0);
	server.out_len = SOME;
	server.fin = true;
	start();
	GO_ON_UNTIL(stage.row->flow[SERVER].flags & FLOW_SHUT);
	server.reset = true;
	GO_ON_UNTIL(over && ended(&client));
	assert_received(&client, SOME);
	assert_true(client.eof);
	assert_int_equal(stage.row->end, END_SERVER_FIN);
}

/* The client half-closes and waits for its answer, which is cut by a reset. */
static void server_resets_after_the_client_s_fin(void **state)
{
	open_sides(0);
	client.out_len = 1000;
	client.fin = true;
	start();
	GO_ON_UNTIL(server.eof);
	server.out_len = SOME;
	server.reset = true;
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_received(&client, SOME);
	assert_int_equal(client.error, ECONNRESET);
	assert_received(&server, 1000);
}

static void both_reset(void **state)
{
	open_sides(0);
	start();
	sock_reset_on_close(client.fd);
	sock_reset_on_close(server.fd);
	close(client.fd);
	close(server.fd);
	client.fd = server.fd = -1;
	GO_ON_UNTIL(over);
	assert_int_equal(outcome, RELAY_ABORT);
}

/* The kernel's own reset: a server that closes with input unread. Its answer gets through. */
static void server_closes_with_input_unread(void **state)
{
	open_sides(0);
	server.reading = false;
	client.out_len = SOME;
	start();
	GO_ON_UNTIL(sock_unread(server.fd) > 0);
	server.out_len = 1000;
	GO_ON_UNTIL(server.sent == 1000 && sock_unsent(server.fd) == 0);
	close(server.fd);
	server.fd = -1;
	finish(RELAY_ABORT, END_SERVER_RESET);
	assert_received(&client, 1000);
	assert_int_equal(client.error, ECONNRESET);
}

/* A Unix server's reset is told to a TCP client as one. */
static void a_unix_server_s_reset(void **state)
{
	server_closes_with_input_unread(state);
}

static const struct sides kinds[] = {
        {"TCP", PAIR_TCP, PAIR_TCP, 0},
        {"TCP to Unix", PAIR_TCP, PAIR_UNIX, 0},
        {"Unix to TCP", PAIR_UNIX, PAIR_TCP, 0},
        {"Unix", PAIR_UNIX, PAIR_UNIX, 0},
        {"TCP, with deaths", PAIR_TCP, PAIR_TCP, 3},
        {"TCP to Unix, with deaths", PAIR_TCP, PAIR_UNIX, 3},
        {"Unix to TCP, with deaths", PAIR_UNIX, PAIR_TCP, 2},
        {"TCP, a death in each turn", PAIR_TCP, PAIR_TCP, 1},
};

static struct CMUnitTest tests[256];
static size_t n_tests;

static void add(const char *name, const struct sides *s, CMUnitTestFunction fn)
{
	tests[n_tests++] = (struct CMUnitTest){.name = mem_printf("%s: %s", s->name, name),
	                                       .test_func = fn,
	                                       .setup_func = relay_setup,
	                                       .teardown_func = relay_teardown,
	                                       .initial_state = (void *)s};
}

#define ADD(kind, test) add(#test, kind, test)

static void add_fins(const struct sides *s)
{
	ADD(s, client_ends_first);
	ADD(s, server_ends_first);
	ADD(s, a_fin_without_data_each_way);
	ADD(s, a_fin_that_came_before);
	ADD(s, both_half_closed_flush);
	ADD(s, an_early_answer);
	ADD(s, both_ways_at_once);
	if (!s->deaths)
		ADD(s, a_slow_reader_slows_its_sender);
}

static void add_resets(const struct sides *s)
{
	ADD(s, urgent_data);
	ADD(s, client_resets);
	ADD(s, server_resets);
	ADD(s, client_resets_behind_data);
	ADD(s, server_resets_behind_data);
	ADD(s, a_reset_that_came_before);
	ADD(s, a_reset_before_the_banner_was_counted);
	ADD(s, a_reset_waits_for_a_slow_reader);
	ADD(s, server_resets_under_an_upload);
	ADD(s, client_resets_after_its_own_fin);
	ADD(s, server_resets_after_its_own_fin);
	ADD(s, server_resets_after_the_client_s_fin);
	ADD(s, both_reset);
	ADD(s, server_closes_with_input_unread);
}

static void add_tests(void)
{
	const struct sides *to_unix = &kinds[1];

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		add_fins(&kinds[i]);
		if (kinds[i].client == PAIR_TCP && kinds[i].server == PAIR_TCP)
			add_resets(&kinds[i]);
	}
	ADD(to_unix, urgent_data);
	ADD(to_unix, client_resets_behind_data);
	ADD(to_unix, a_unix_server_s_reset);
}

int main(void)
{
	int failed;

	signal(SIGPIPE, SIG_IGN);
	add_tests();
	failed = _cmocka_run_group_tests("relay", tests, n_tests, NULL, NULL);
	for (size_t i = 0; i < n_tests; i++)
		free((char *)tests[i].name);
	return failed;
}
