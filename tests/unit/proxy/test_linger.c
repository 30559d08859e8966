/* A client that was denied, and its banner. */
#include "fixture.h"

#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "os/pipe.h"
#include "proxy/linger.h"

#define BANNER_SIZE 60000

static int64_t pause_ms; /* all pauses so far */

int64_t __real_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void);

int64_t __wrap_clock_mono_ms(void)
{
	return __real_clock_mono_ms() + pause_ms;
}

static struct stage stage;
static struct lingering linger;
static struct peer client;
static char pattern[BANNER_SIZE];
static bool over;

static void on_done(void *arg)
{
	over = true;
}

static void row_event(void *arg, uint64_t number, uint32_t events)
{
	if (!over)
		linger_event(&linger, events);
}

static void step_client(void *arg)
{
	peer_step(&client);
}

/* Its banner is in a pipe; the client reads nothing yet, and its buffers are small. */
static void open_client(void)
{
	struct flow_row *down = &stage.row->flow[SERVER];
	int ends[2], far;

	fill_pattern(pattern, sizeof(pattern));
	make_pair(PAIR_TCP, 4096, &stage.row->fd[CLIENT], &far);
	peer_init(&client, far, NULL, 0);
	client.reading = false;
	assert_int_equal(pipe_new(ends, 0), 0);
	assert_int_equal(write(ends[1], pattern, BANNER_SIZE), BANNER_SIZE);
	down->pipe_read = ends[0];
	down->pipe_write = ends[1];
	down->pipe_foreign = 1;
	loop_handle(&stage.loop, LOOP_KIND_ROW, row_event, NULL);
	assert_int_equal(
	        loop_add(&stage.loop, stage.row->fd[CLIENT], ROW_EVENTS, row_token(stage.trio, stage.row, CLIENT)), 0);
}

static int setup(void **state)
{
	pause_ms = 0;
	over = false;
	stage_init(&stage);
	open_client();
	linger_start(&linger, &stage.env, stage.row, on_done, NULL);
	return 0;
}

static int teardown(void **state)
{
	linger_cancel(&linger);
	pipepool_discard(&stage.row->flow[SERVER].pipe_read, &stage.row->flow[SERVER].pipe_write);
	close(stage.row->fd[CLIENT]);
	peer_release(&client);
	stage_release(&stage);
	return 0;
}

static void all_of_the_banner_and_a_fin(void **state)
{
	client.reading = true;
	UNTIL(&stage, step_client, NULL, client.eof);
	assert_received(&client, BANNER_SIZE);
	client.fin = true;
	UNTIL(&stage, step_client, NULL, over);
}

/* The client took a part of it while we were stopped: that is progress, though we see it late. */
static void what_was_taken_in_a_pause_is_progress(void **state)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(&stage.loop, 1), 0);
	client.reading = true;
	for (int64_t until = clock_mono_ms() + 100; clock_mono_ms() < until;)
		peer_step(&client);
	assert_true(client.in_len < BANNER_SIZE);
	pause_ms += 31000;
	assert_int_equal(loop_turn(&stage.loop, -1), 0);
	assert_false(over);
	UNTIL(&stage, step_client, NULL, client.eof);
	assert_received(&client, BANNER_SIZE);
}

static void a_client_that_takes_nothing_is_given_up(void **state)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(&stage.loop, 1), 0);
	assert_false(over);
	for (int i = 0; i < 20 && !over; i++) { /* the kernel may find a little more room yet */
		pause_ms += 31000;
		assert_int_equal(loop_turn(&stage.loop, -1), 0);
	}
	assert_true(over);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(all_of_the_banner_and_a_fin),
	        TEST(what_was_taken_in_a_pause_is_progress),
	        TEST(a_client_that_takes_nothing_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
