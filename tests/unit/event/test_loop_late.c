/* A turn that begins late: what has happened in time comes before the time limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "event/loop.h"

/* ---- the kernel and the clock, as the test wants them ---- */

int __real_epoll_wait(int epfd, struct epoll_event *events, int n, int ms);
int __wrap_epoll_wait(int epfd, struct epoll_event *events, int n, int ms);
int64_t __wrap_clock_mono_ms(void);

static int64_t clock_ms;
static int64_t pause_ms;   /* in which the process is stopped before it looks at the clock again */
static int event_in_pause; /* a descriptor that becomes ready meanwhile; -1: none */
static int n_interrupted;  /* waits that a signal ends before they have looked */
static int n_waits;

int __wrap_epoll_wait(int epfd, struct epoll_event *events, int n, int ms)
{
	n_waits++;
	if (n_interrupted > 0) {
		n_interrupted--;
		errno = EINTR;
		return -1;
	}
	n = __real_epoll_wait(epfd, events, n, 0);
	if (n == 0 && ms > 0)
		clock_ms += ms; /* nobody sleeps here */
	return n;
}

static void make_ready(int fd)
{
	assert_int_equal(write(fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
}

int64_t __wrap_clock_mono_ms(void)
{
	clock_ms += pause_ms;
	pause_ms = 0;
	if (event_in_pause >= 0)
		make_ready(event_in_pause);
	event_in_pause = -1;
	return clock_ms;
}

/* ---- one who is ended when he has been silent for 5 s ---- */

#define ALLOWED_MS 5000
#define MANY       10

static struct loop loop;
static struct timer limit;
static int fds[MANY];
static struct watch watches[MANY];
static int64_t active_ms;
static int n_events, n_ended;

static void on_limit(void *arg)
{
	if (loop.now_ms >= active_ms + ALLOWED_MS)
		n_ended++;
	else
		timer_set(&loop, &limit, active_ms + ALLOWED_MS, on_limit, NULL);
}

static void on_event(void *arg, uint32_t events)
{
	uint64_t value;

	assert_int_equal(read(*(int *)arg, &value, sizeof(value)), sizeof(value));
	active_ms = loop.now_ms;
	n_events++;
}

static void begin(int batch)
{
	assert_int_equal(loop_init(&loop, -1, NULL, batch), 0);
	for (int i = 0; i < MANY; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(watch_add(&loop, &watches[i], fds[i], EPOLLIN, on_event, &fds[i]), 0);
	}
	active_ms = loop.now_ms;
	timer_set(&loop, &limit, active_ms + ALLOWED_MS, on_limit, NULL);
}

static int setup(void **state)
{
	clock_ms = 1000000;
	pause_ms = 0;
	event_in_pause = -1;
	n_interrupted = n_waits = n_events = n_ended = 0;
	memset(&limit, 0, sizeof(limit));
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < MANY; i++) {
		watch_remove(&loop, &watches[i]);
		close(fds[i]);
	}
	loop_release(&loop);
	return 0;
}

/* It still holds, from then on. */
static void assert_ends_later(void)
{
	int64_t since = active_ms;

	assert_int_equal(n_ended, 0);
	while (n_ended == 0 && loop.now_ms < since + 10 * ALLOWED_MS)
		assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_ended, 1);
	assert_int_equal(loop.now_ms, since + ALLOWED_MS);
}

static void a_wait_that_is_interrupted_has_not_looked(void **state)
{
	begin(16);
	n_interrupted = 1;
	pause_ms = 8000; /* stopped and continued */
	event_in_pause = fds[0];
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_events, 1);
	assert_ends_later();
}

static void interrupted_again_and_again(void **state)
{
	begin(16);
	n_interrupted = 5;
	pause_ms = 8000;
	event_in_pause = fds[0];
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_events, 1);
	assert_ends_later();
}

/* The wait was over, and nothing had come; then the process was stopped, before it looked at the clock. */
static void a_pause_behind_the_wait(void **state)
{
	begin(16);
	pause_ms = 8000;
	event_in_pause = fds[0];
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_events, 1);
	assert_ends_later();
}

/* The same behind a wait that had brought something else. */
static void a_pause_behind_another_event(void **state)
{
	begin(16);
	make_ready(fds[1]);
	pause_ms = 8000;
	event_in_pause = fds[0];
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_events, 2);
	assert_ends_later();
}

static void more_events_than_one_batch_holds(void **state)
{
	begin(3);
	for (int i = 0; i < MANY; i++)
		make_ready(fds[i]);
	pause_ms = 8000;
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_events, MANY);
	assert_ends_later();
}

static void does_nothing(void *arg, uint32_t events)
{
	n_events++;
}

/* Ready for ever, and more than a batch holds. */
static void a_flood_does_not_hold_up_the_timers(void **state)
{
	begin(3);
	for (int i = 0; i < MANY; i++) {
		watches[i].fn = does_nothing;
		make_ready(fds[i]);
	}
	pause_ms = 8000;
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_ended, 1);
	assert_in_range(n_events, MANY, 1000);
}

/* As long as no time limit is due, the kernel is asked once a turn. */
static void nothing_due_takes_one_look(void **state)
{
	begin(16);
	make_ready(fds[0]);
	assert_int_equal(loop_turn(&loop, -1), 0);
	assert_int_equal(n_waits, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_wait_that_is_interrupted_has_not_looked),
	        TEST(interrupted_again_and_again),
	        TEST(a_pause_behind_the_wait),
	        TEST(a_pause_behind_another_event),
	        TEST(more_events_than_one_batch_holds),
	        TEST(a_flood_does_not_hold_up_the_timers),
	        TEST(nothing_due_takes_one_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
