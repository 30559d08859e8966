/* Calls that fail though both ends are there: interrupted, or for the kernel's own reasons. */
#include "relay_stage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/flow_batch.h"
#include "proxy/verdict.h"

/* ---- the kernel, as the test wants it ---- */

ssize_t __real_recv(int fd, void *to, size_t n, int flags);
ssize_t __real_send(int fd, const void *from, size_t n, int flags);
ssize_t __real_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags);
ssize_t __wrap_recv(int fd, void *to, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t n, int flags);
ssize_t __wrap_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags);

static bool interrupting; /* each call is interrupted before it has done anything, then done */
static bool interrupted;
static unsigned n_interrupted;
static int failing_fd;    /* the next call that receives from it, */
static bool failing_send; /* or sends to it, fails with */
static int failing_error; /* this; 0: none does */

static bool ours(int fd)
{
	return fd >= 0 && (fd == stage.row->fd[CLIENT] || fd == stage.row->fd[SERVER]);
}

static bool fails(int fd, bool sending)
{
	if (failing_error && fd == failing_fd && sending == failing_send) {
		errno = failing_error;
		failing_error = 0;
		return true;
	}
	if (!interrupting || !ours(fd))
		return false;
	interrupted = !interrupted;
	n_interrupted += interrupted;
	errno = EINTR;
	return interrupted;
}

ssize_t __wrap_recv(int fd, void *to, size_t n, int flags)
{
	return fails(fd, false) ? -1 : __real_recv(fd, to, n, flags);
}

ssize_t __wrap_send(int fd, const void *from, size_t n, int flags)
{
	return fails(fd, true) ? -1 : __real_send(fd, from, n, flags);
}

ssize_t __wrap_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
	if (fails(from, false) || fails(to, true))
		return -1;
	return __real_splice(from, from_at, to, to_at, n, flags);
}

static char last_line[512];

static void take_line(void *arg, enum log_level level, const char *line)
{
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static int setup(void **state)
{
	interrupting = interrupted = false;
	n_interrupted = 0;
	failing_error = 0;
	last_line[0] = '\0';
	log_set_sink(take_line, NULL);
	return relay_setup(state);
}

static int teardown(void **state)
{
	interrupting = false;
	log_set_sink(NULL, NULL);
	return relay_teardown(state);
}

/* ---- interrupted ---- */

static void both_ways(void)
{
	open_sides(32768);
	client.out_len = server.out_len = LARGE;
	client.fin = server.fin = true;
	interrupting = true;
	start();
	GO_ON_UNTIL(over && ended(&client) && ended(&server));
	assert_int_equal(outcome, RELAY_CLOSE);
	assert_received(&client, LARGE);
	assert_received(&server, LARGE);
	assert_true(n_interrupted > 100);
}

static void every_call_is_interrupted(void **state)
{
	both_ways();
}

/* Neither parked nor copied: looked at, sent, taken. */
static void every_call_is_interrupted_without_pipes(void **state)
{
	stage.env.inherited = true;
	both_ways();
}

/* One small message after the other: no event would tell of one that was left behind. */
static void small_messages_are_interrupted(void **state)
{
	open_sides(0);
	interrupting = true;
	start();
	for (size_t n = 1; n <= 50; n++) {
		client.out_len = n;
		GO_ON_UNTIL(server.in_len == n);
		server.out_len = n;
		GO_ON_UNTIL(client.in_len == n);
	}
}

/* The client has yet to read what the server said before it was gone; what the client still sends is thrown away. */
static void lose_the_server(void)
{
	open_sides(32768);
	server.out_len = LARGE;
	client.reading = false;
	start();
	GO_ON_UNTIL(stage.row->flow[SERVER].pipe_read >= 0 && !again);
	sock_reset_on_close(server.fd);
	close(server.fd);
	server.fd = -1;
	GO_ON_UNTIL(stage.row->flow[CLIENT].flags & FLOW_DISCARD);
	assert_false(over);
}

static void throwing_away_is_interrupted(void **state)
{
	lose_the_server();
	interrupting = true;
	for (size_t n = 1; n <= 20; n++) {
		client.out_len = n;
		GO_ON_UNTIL(stage.row->flow[CLIENT].moved == n);
	}
	client.reading = true;
	finish(RELAY_ABORT, END_SERVER_RESET);
}

/* ---- failed, and nobody is gone ---- */

static void assert_ends_with(const char *line, const char *what)
{
	char *wanted = mem_printf("%s, id=0", what); /* of the connection, which it has not got here */
	size_t n = strlen(line), m = strlen(wanted);

	if (n < m || strcmp(line + n - m, wanted) != 0)
		fail_msg("\"%s\" does not end with \"%s\"", line, wanted);
	free(wanted);
}

static void lost(enum side side, bool sending, int error, const char *line)
{
	open_sides(0);
	client.out_len = SOME;
	client.fin = true;
	failing_fd = stage.row->fd[side];
	failing_send = sending;
	failing_error = error;
	start();
	finish(RELAY_ABORT, END_LOST);
	assert_ends_with(last_line, line);
}

static void sending_fails(void **state)
{
	lost(SERVER, true, ENOMEM, "sending to the server: Cannot allocate memory");
	assert_int_equal(client.error, ECONNRESET);
	if (sides->server == PAIR_TCP)
		assert_int_equal(server.error, ECONNRESET);
}

static void sending_fails_without_pipes(void **state)
{
	stage.env.inherited = true;
	lost(SERVER, true, EINVAL, "sending to the server: Invalid argument");
}

static void receiving_fails(void **state)
{
	lost(CLIENT, false, ENOMEM, "receiving from the client: Cannot allocate memory");
	if (sides->server == PAIR_TCP)
		assert_int_equal(server.error, ECONNRESET);
}

static void fill_server(void)
{
	open_sides(4096);
	client.out_len = LARGE;
	server.reading = false;
	start();
	GO_ON_UNTIL(stage.row->flow[CLIENT].pipe_read >= 0 && !again);
}

/* What is parked cannot be had back from the pipe. */
static void sending_what_is_parked_fails(void **state)
{
	fill_server();
	failing_fd = stage.row->fd[SERVER];
	failing_send = true;
	failing_error = EINVAL;
	server.reading = true;
	finish(RELAY_ABORT, END_LOST);
	assert_ends_with(last_line, "sending to the server: Invalid argument");
}

static void throwing_away_fails(void **state)
{
	lose_the_server();
	failing_fd = stage.row->fd[CLIENT];
	failing_send = false;
	failing_error = ENOMEM;
	client.out_len = 1;
	client.reading = true;
	finish(RELAY_ABORT, END_LOST);
	assert_ends_with(last_line, "receiving from the client: Cannot allocate memory");
}

static void a_batch_of_one(int taken, int sent, const char *line)
{
	struct flow_batch_item item = {.row = 1, .side = CLIENT, .taken = taken, .sent = sent};

	open_sides(0);
	start();
	item.flow = &stage.row->flow[CLIENT];
	assert_false(relay_batched(&relay, &item));
	if (line) {
		assert_true(over);
		assert_string_equal(end_name(stage.row->end), end_name(END_LOST));
		assert_ends_with(last_line, line);
	} else {
		assert_false(over);
		assert_int_equal(stage.row->flags, 0);
	}
}

static void receiving_fails_in_a_batch(void **state)
{
	a_batch_of_one(-ENOMEM, -EAGAIN, "receiving from the client: Cannot allocate memory");
}

static void sending_fails_in_a_batch(void **state)
{
	a_batch_of_one(100, -ENOMEM, "sending to the server: Cannot allocate memory");
}

static void receiving_is_interrupted_in_a_batch(void **state)
{
	a_batch_of_one(-EINTR, -EAGAIN, NULL);
}

static void sending_is_interrupted_in_a_batch(void **state)
{
	a_batch_of_one(100, -EINTR, NULL);
}

/* ---- the banner of an access program ---- */

static void a_banner_that_cannot_be_sent_now_is_no_reset(void **state)
{
	struct verdict v = {.env = &stage.env, .row = stage.row, .cold = stage.cold};
	struct flow_row *down = &stage.row->flow[SERVER];
	int ends[2];

	open_sides(0);
	start();
	assert_int_equal(pipe_new(ends, 0), 0);
	assert_int_equal(write(ends[1], pattern, 100), 100);
	down->pipe_read = ends[0];
	down->pipe_write = ends[1];
	failing_fd = stage.row->fd[CLIENT];
	failing_send = true;
	failing_error = ENOMEM;
	verdict_event(&v);
	assert_int_equal(stage.row->flags & ROWFLAG_CLIENT_RESET, 0);
	assert_int_equal(pipe_filled(ends[0]), 100);
	interrupting = true;
	verdict_event(&v);
	assert_int_equal(pipe_filled(ends[0]), 0);
}

static struct sides tcp = {"TCP", PAIR_TCP, PAIR_TCP, 0};
static struct sides to_unix = {"TCP to Unix", PAIR_TCP, PAIR_UNIX, 0};
static struct sides dying = {"TCP, workers die", PAIR_TCP, PAIR_TCP, 5};

#define TEST(sides, name)                                        \
	{                                                        \
#sides ": " #name, name, setup, teardown, &sides \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(tcp, every_call_is_interrupted),
	        TEST(to_unix, every_call_is_interrupted),
	        TEST(dying, every_call_is_interrupted),
	        TEST(tcp, every_call_is_interrupted_without_pipes),
	        TEST(tcp, small_messages_are_interrupted),
	        TEST(to_unix, small_messages_are_interrupted),
	        TEST(tcp, throwing_away_is_interrupted),
	        TEST(tcp, sending_fails),
	        TEST(to_unix, sending_fails),
	        TEST(tcp, sending_fails_without_pipes),
	        TEST(tcp, receiving_fails),
	        TEST(to_unix, receiving_fails),
	        TEST(tcp, sending_what_is_parked_fails),
	        TEST(to_unix, sending_what_is_parked_fails),
	        TEST(tcp, throwing_away_fails),
	        TEST(tcp, receiving_fails_in_a_batch),
	        TEST(tcp, sending_fails_in_a_batch),
	        TEST(tcp, receiving_is_interrupted_in_a_batch),
	        TEST(tcp, sending_is_interrupted_in_a_batch),
	        TEST(tcp, a_banner_that_cannot_be_sent_now_is_no_reset),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
