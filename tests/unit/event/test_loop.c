#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "event/loop.h"

#define MANY 1000

static struct loop loop;

static int setup(void **state)
{
	return loop_init(&loop, -1, NULL, 16);
}

static int teardown(void **state)
{
	loop_release(&loop);
	return 0;
}

/* ---- timers ---- */

static int fired[MANY * 4], n_fired;

struct numbered {
	struct timer timer;
	int number;
};

static void note(void *arg)
{
	fired[n_fired++] = ((struct numbered *)arg)->number;
}

static void put(struct numbered *t, int number, int64_t at_ms)
{
	t->number = number;
	timer_set(&loop, &t->timer, at_ms, note, t);
}

static void timers_fire_in_order(void **state)
{
	struct numbered t[5] = {0};
	int64_t now = loop.now_ms;

	n_fired = 0;
	put(&t[0], 3, now - 1);
	put(&t[1], 1, now - 100);
	put(&t[2], 2, now - 50);
	put(&t[3], 9, now + 60000); /* not due */
	put(&t[4], 0, 0);
	assert_int_equal(loop_turn(&loop, 0), 0);
	assert_int_equal(n_fired, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(fired[i], i);
	assert_int_equal(loop.n_timers, 1);
	assert_int_equal(t[0].timer.place, 0);
	timer_clear(&loop, &t[3].timer);
	timer_clear(&loop, &t[3].timer); /* nothing to clear */
	assert_int_equal(loop.n_timers, 0);
}

static void a_turn_waits_for_the_next_timer(void **state)
{
	struct numbered t = {0};
	int64_t at = clock_mono_ms() + 30;

	n_fired = 0;
	put(&t, 1, at);
	while (n_fired == 0)
		assert_int_equal(loop_turn(&loop, -1), 0);
	assert_true(clock_mono_ms() >= at);
	assert_true(clock_mono_ms() < at + 2000);
}

static struct numbered self, other, third;
static int n_self;

static void sets_itself_again(void *arg)
{
	n_self++;
	timer_set(&loop, &self.timer, loop.now_ms, sets_itself_again, NULL);
}

static void what_a_timer_sets_for_now_waits_for_the_next_turn(void **state)
{
	n_self = 0;
	timer_set(&loop, &self.timer, 0, sets_itself_again, NULL);
	for (int i = 1; i <= 5; i++) {
		loop_turn(&loop, 0);
		assert_int_equal(n_self, i);
	}
	timer_clear(&loop, &self.timer);
}

static void clears_the_other(void *arg)
{
	n_self++;
	timer_clear(&loop, &other.timer);
	put(&third, 3, loop.now_ms + 60000); /* was due, is not any more */
}

static void timers_change_others_while_they_run(void **state)
{
	n_fired = n_self = 0;
	timer_set(&loop, &self.timer, 1, clears_the_other, NULL);
	put(&other, 2, 2);
	put(&third, 3, 3);
	loop_turn(&loop, 0);
	assert_int_equal(n_self, 1);
	assert_int_equal(n_fired, 0);
	assert_int_equal(loop.n_timers, 1);
	timer_clear(&loop, &third.timer);
}

static int64_t at_of[MANY];

static int by_time(const void *a, const void *b)
{
	int64_t x = at_of[*(const int *)a], y = at_of[*(const int *)b];

	return (x > y) - (x < y);
}

/* Set, set again, cleared at random; then those that are left must fire as a sorted list says. */
static void random_timers_against_a_sorted_list(void **state)
{
	static struct numbered t[MANY];
	static int left[MANY];
	int64_t base = loop.now_ms - 100000;
	int n = 0;

	srandom(4711);
	memset(t, 0, sizeof(t));
	n_fired = 0;
	for (int step = 0; step < MANY * 10; step++) {
		int i = (int)(random() % MANY);

		if (random() % 3 == 0) {
			timer_clear(&loop, &t[i].timer);
		} else {
			at_of[i] = base + random() % 100000;
			put(&t[i], i, at_of[i]);
		}
	}
	for (int i = 0; i < MANY; i++)
		if (t[i].timer.place)
			left[n++] = i;
	assert_int_equal(loop.n_timers, n);
	assert_true(n > MANY / 3 && n < MANY);
	qsort(left, (size_t)n, sizeof(int), by_time);
	loop_turn(&loop, 0);
	assert_int_equal(n_fired, n);
	for (int i = 0; i < n; i++)
		assert_int_equal(at_of[fired[i]], at_of[left[i]]);
	assert_int_equal(loop.n_timers, 0);
}

/* ---- descriptors ---- */

static int ready_fd(void)
{
	return eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
}

#define N_WATCHES 6
static struct watch watches[N_WATCHES];
static int n_watched;

static void removes_all(void *arg, uint32_t events)
{
	assert_int_equal(events, EPOLLIN);
	n_watched++;
	for (int i = 0; i < N_WATCHES; i++) {
		int fd = watches[i].fd;

		watch_remove(&loop, &watches[i]);
		if (fd >= 0)
			close(fd);
	}
}

/* All six are ready in one batch; the first takes all away: nobody else may be called. */
static void watches_removed_inside_a_handler_are_not_called(void **state)
{
	struct watch never = {0};

	n_watched = 0;
	for (int i = 0; i < N_WATCHES; i++)
		assert_int_equal(watch_add(&loop, &watches[i], ready_fd(), EPOLLIN, removes_all, NULL), 0);
	loop_turn(&loop, 0);
	assert_int_equal(n_watched, 1);
	loop_turn(&loop, 0);
	assert_int_equal(n_watched, 1);
	for (int i = 0; i < N_WATCHES; i++)
		assert_int_equal(watches[i].fd, -1);
	watch_remove(&loop, &never);
	watch_remove(&loop, &watches[0]); /* again */
}

static int last_arg;

static void note_arg(void *arg, uint32_t events)
{
	last_arg = *(int *)arg;
	n_watched++;
}

static void a_watch_that_is_changed_sleeps(void **state)
{
	struct watch w;
	int seven = 7, fd = ready_fd();

	n_watched = 0;
	assert_int_equal(watch_add(&loop, &w, fd, EPOLLIN, note_arg, &seven), 0);
	loop_turn(&loop, 0);
	assert_int_equal(n_watched, 1);
	assert_int_equal(last_arg, 7);
	assert_int_equal(watch_change(&loop, &w, 0), 0);
	loop_turn(&loop, 0);
	assert_int_equal(n_watched, 1);
	assert_int_equal(watch_change(&loop, &w, EPOLLIN), 0);
	loop_turn(&loop, 0);
	assert_int_equal(n_watched, 2);
	watch_remove(&loop, &w);
	close(fd);
	assert_int_equal(watch_add(&loop, &w, fd, EPOLLIN, note_arg, &seven), -EBADF);
	assert_int_equal(w.fd, -1);
}

static struct {
	uint64_t number;
	uint32_t events;
	void *arg;
} seen[16];
static int n_seen;

static void note_token(void *arg, uint64_t number, uint32_t events)
{
	seen[n_seen].arg = arg;
	seen[n_seen].number = number;
	seen[n_seen++].events = events;
}

static void tokens_name_a_kind_and_a_number(void **state)
{
	uint64_t largest = (1ULL << 56) - 1;
	int three, five, a = ready_fd(), b = ready_fd();

	n_seen = 0;
	loop_handle(&loop, 3, note_token, &three);
	loop_handle(&loop, 5, note_token, &five);
	assert_int_equal(loop_add(&loop, a, EPOLLIN, loop_token(3, 12345)), 0);
	assert_int_equal(loop_add(&loop, a, EPOLLIN, loop_token(3, largest)), 0); /* a change */
	loop_turn(&loop, 0);
	assert_int_equal(n_seen, 1);
	assert_true(seen[0].number == largest);
	assert_ptr_equal(seen[0].arg, &three);
	assert_int_equal(loop_change(&loop, a, EPOLLIN, loop_token(5, 0)), 0);
	loop_turn(&loop, 0);
	assert_int_equal(n_seen, 2);
	assert_true(seen[1].number == 0);
	assert_ptr_equal(seen[1].arg, &five);
	assert_int_equal(loop_add(&loop, b, EPOLLIN, loop_token(6, 1)), 0); /* nobody's kind */
	loop_remove(&loop, a);
	loop_turn(&loop, 0);
	assert_int_equal(n_seen, 2);
	assert_int_equal(loop_change(&loop, a, EPOLLIN, loop_token(5, 0)), -ENOENT);
	close(a);
	close(b);
}

/* ---- the journal ---- */

static struct epoll_event journal[8];
static struct loop first, second;

static int unhandled(void)
{
	int n = 0;

	for (int i = 0; i < 8; i++)
		n += journal[i].events != 0;
	return n;
}

static void dies_at_the_second(void *arg, uint64_t number, uint32_t events)
{
	static jmp_buf *death;

	if (!arg) {
		assert_int_equal(unhandled(), 4 - n_seen); /* this one counts until it was handled */
		note_token(NULL, number, events);
		return;
	}
	death = arg;
	note_token(NULL, number, events);
	if (n_seen == 2)
		longjmp(*death, 1);
}

static int descriptors[4];

static void make_ready(struct loop *l)
{
	n_seen = 0;
	for (int i = 0; i < 4; i++) {
		descriptors[i] = ready_fd();
		assert_int_equal(loop_add(l, descriptors[i], EPOLLIN | EPOLLET, loop_token(1, (uint64_t)i + 100)), 0);
	}
}

static void close_ready(void)
{
	for (int i = 0; i < 4; i++)
		close(descriptors[i]);
}

static void handled_entries_of_the_journal_are_zero(void **state)
{
	memset(journal, 0, sizeof(journal));
	assert_int_equal(loop_init(&first, -1, journal, 8), 0);
	loop_handle(&first, 1, dies_at_the_second, NULL);
	make_ready(&first);
	loop_turn(&first, 0);
	assert_int_equal(n_seen, 4);
	assert_int_equal(unhandled(), 0);
	close_ready();
	close(first.epfd); /* it outlives the loop */
	loop_release(&first);
}

/* Edge-triggered events are told once: what a loop was handed and did not get to is in the journal,
 * and the next loop over the same epoll handles it. */
static void a_successor_handles_what_was_left(void **state)
{
	static jmp_buf death;
	bool all[4] = {false};
	int epfd;

	memset(journal, 0, sizeof(journal));
	assert_int_equal(loop_init(&first, -1, journal, 8), 0);
	epfd = first.epfd;
	loop_handle(&first, 1, dies_at_the_second, &death);
	make_ready(&first);
	if (setjmp(death) == 0) {
		loop_turn(&first, 0);
		fail();
	}
	assert_int_equal(unhandled(), 3); /* the one in hand counts: it may have been half done */
	assert_int_equal(loop_init(&second, epfd, journal, 8), 0);
	loop_handle(&second, 1, note_token, NULL);
	loop_replay(&second);
	assert_int_equal(n_seen, 5);
	assert_int_equal(unhandled(), 0);
	for (int i = 0; i < n_seen; i++)
		all[seen[i].number - 100] = true;
	for (int i = 0; i < 4; i++)
		assert_true(all[i]);
	loop_turn(&second, 0); /* the kernel does not tell them again */
	assert_int_equal(n_seen, 5);
	close_ready();
	free(first.heap);
	loop_release(&second);
	close(epfd);
}

/* ---- turns ---- */

static int n_after;

static void after(void *arg)
{
	if (++n_after < 5)
		loop.busy = true;
	else
		loop.stop = true;
}

static void a_busy_loop_does_not_sleep(void **state)
{
	int64_t start = clock_mono_ms();

	n_after = 0;
	loop.after = after;
	loop.busy = true;
	loop_run(&loop); /* would wait for ever without `busy` */
	assert_int_equal(n_after, 5);
	assert_true(clock_mono_ms() - start < 2000);
}

static void a_turn_without_epoll_fails(void **state)
{
	struct loop l;
	int epfd;

	assert_int_equal(loop_init(&l, -1, NULL, 4), 0);
	epfd = l.epfd;
	l.epfd = -1;
	assert_int_equal(loop_turn(&l, 0), -EBADF);
	l.epfd = epfd;
	loop_release(&l);
}

/* In a child: it runs, and cannot wait. */
static void run_without_epoll(int stderr_fd)
{
	struct rlimit no_core = {0};
	struct loop l;

	setrlimit(RLIMIT_CORE, &no_core);
	dup2(stderr_fd, 2);
	if (loop_init(&l, -1, NULL, 4) < 0)
		_exit(1);
	close(l.epfd);
	loop_run(&l);
	_exit(0);
}

/* It must not look like an orderly end: then nobody would replace the process. */
static void who_cannot_wait_aborts_and_says_why(void **state)
{
	char text[512] = "";
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		run_without_epoll(ends[1]);
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "waiting for events: Bad file descriptor"));
	close(ends[0]);
}

static void count_call(void *arg, uint32_t events)
{
	(void)events;
	++*(int *)arg;
}

/* What another program has put into the epoll instance, and left in the journal, points nowhere here. */
static void watches_of_another_program_are_not_followed(void **state)
{
	struct watch ours = {0};
	int epfd, foreign[2], own[2];
	int calls = 0;

	memset(journal, 0, sizeof(journal));
	assert_int_equal(loop_init(&first, -1, journal, 8), 0);
	epfd = first.epfd;
	assert_int_equal(pipe(foreign), 0);
	assert_int_equal(pipe(own), 0);
	assert_int_equal(loop_add(&first, foreign[0], EPOLLIN, loop_token(LOOP_KIND_WATCH, 0x1000)), 0);
	assert_int_equal(write(foreign[1], "x", 1), 1);
	journal[3] = (struct epoll_event){.events = EPOLLIN, .data.u64 = loop_token(LOOP_KIND_WATCH, 0x2000)};
	free(first.heap);

	assert_int_equal(loop_init(&second, epfd, journal, 8), 0);
	loop_replay(&second);
	assert_int_equal(journal[3].events, 0);
	assert_int_equal(watch_add(&second, &ours, own[0], EPOLLIN, count_call, &calls), 0);
	assert_int_equal(watch_add(&second, &ours, own[0], EPOLLIN, count_call, &calls), 0); /* once more */
	assert_int_equal(write(own[1], "x", 1), 1);
	assert_int_equal(loop_turn(&second, 1000), 0);
	assert_int_equal(calls, 1);
	watch_remove(&second, &ours);
	assert_int_equal(loop_turn(&second, 0), 0);
	assert_int_equal(calls, 1);
	loop_release(&second);
	close(epfd);
	for (int i = 0; i < 2; i++) {
		close(foreign[i]);
		close(own[i]);
	}
}

/* ---- a kernel that refuses to watch ---- */

static int refusals; /* so many more */

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	if (op != EPOLL_CTL_ADD || refusals == 0)
		return __real_epoll_ctl(epfd, op, fd, event);
	refusals--;
	errno = ENOSPC;
	return -1;
}

static int n_lines;

static void count_line(void *arg, enum log_level level, const char *line)
{
	n_lines++;
}

static void what_must_be_heard_is_tried_again(void **state)
{
	int fd = eventfd(1, EFD_NONBLOCK), calls = 0;
	struct watch w = {0}, second_one = {0};
	int64_t since = clock_mono_ms();

	log_set_sink(count_line, NULL);
	refusals = 3;
	n_lines = 0;
	watch_keep(&loop, &w, fd, EPOLLIN, count_call, &calls);
	while (refusals > 0)
		assert_int_equal(loop_turn(&loop, 1000), 0);
	assert_int_equal(calls, 2); /* looked at all the same */
	while (calls < 6)
		assert_int_equal(loop_turn(&loop, 1000), 0); /* watched: at once */
	assert_true(clock_mono_ms() - since >= 300);
	assert_int_equal(n_lines, 1);
	watch_remove(&loop, &w);
	refusals = 1;
	watch_keep(&loop, &w, fd, EPOLLIN, count_call, &calls);
	watch_keep(&loop, &w, fd, EPOLLIN, count_call, &calls); /* once more, as it is */
	refusals = 1;
	watch_keep(&loop, &second_one, fd, EPOLLIN, count_call, &calls);
	watch_remove(&loop, &second_one);
	watch_remove(&loop, &w);
	assert_int_equal(loop.n_timers, 0);
	calls = 0;
	assert_int_equal(loop_turn(&loop, 150), 0);
	assert_int_equal(calls, 0);
	close(fd);
}

/* Which cannot be changed, says epoll_ctl(2). */
static void one_that_is_watched_exclusively_is_added_again(void **state)
{
	int fd = eventfd(1, EFD_NONBLOCK);

	for (int i = 0; i < 2; i++)
		assert_int_equal(loop_add(&loop, fd, EPOLLIN | EPOLLEXCLUSIVE, loop_token(3, 1)), 0);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(timers_fire_in_order),
	        TEST(a_turn_waits_for_the_next_timer),
	        TEST(what_a_timer_sets_for_now_waits_for_the_next_turn),
	        TEST(timers_change_others_while_they_run),
	        TEST(random_timers_against_a_sorted_list),
	        TEST(watches_removed_inside_a_handler_are_not_called),
	        TEST(a_watch_that_is_changed_sleeps),
	        TEST(tokens_name_a_kind_and_a_number),
	        TEST(handled_entries_of_the_journal_are_zero),
	        TEST(a_successor_handles_what_was_left),
	        TEST(watches_of_another_program_are_not_followed),
	        TEST(a_busy_loop_does_not_sleep),
	        TEST(a_turn_without_epoll_fails),
	        TEST(who_cannot_wait_aborts_and_says_why),
	        TEST(what_must_be_heard_is_tried_again),
	        TEST(one_that_is_watched_exclusively_is_added_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
