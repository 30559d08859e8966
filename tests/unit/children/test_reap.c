/* Those that have ended: each is known, and reported once. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "children/children.h"

#define REAP_AGAIN_MS 50

static struct children children;
static enum phase phase;
static int gone;

static void on_gone(void *arg)
{
	gone++;
}

static const struct workers_events events = {.gone = on_gone};

static int setup(void **state)
{
	fixture_begin();
	children_none(&children);
	phase = PHASE_SERVING;
	gone = 0;
	children.workers.loop = &loop;
	children.workers.phase = &phase;
	children.workers.events = &events;
	children_init(&children);
	return 0;
}

static int teardown(void **state)
{
	again_cancel(&children.spawner.child.again);
	again_cancel(&children.page.child.again);
	timer_clear(&loop, &children.reap_timer);
	free(children.spawner.stderrs);
	fixture_end();
	return 0;
}

/* One that has ended, and is still to be reaped. */
static pid_t ended(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

static void test_none_is_there_at_first(void **state)
{
	assert_int_equal(children.spawner.child.control.fd, -1);
	assert_int_equal(children.page.child.control.fd, -1);
	assert_int_equal(children.dump.fd, -1);
	assert_int_equal(children.spawner.old_fd, -1);
	children_reap(&children);
	assert_int_equal(logged(""), 0);
}

static void test_each_is_reported_to_whom_it_concerns(void **state)
{
	children.spawner.child.pid = ended();
	children.page.child.pid = ended();
	children.dump.pid = ended();
	children.spawner.child.started_ms = children.page.child.started_ms = now_ms;
	children_reap(&children);
	assert_int_equal(logged("the spawner has ended and is replaced"), 1);
	assert_int_equal(logged("the admin process has ended and is replaced"), 1);
	assert_int_equal(logged("what --dump shows ends here"), 1);
	assert_int_equal(logged(""), 3);
	assert_int_equal(children.spawner.child.pid, 0);
	assert_int_equal(children.page.child.pid, 0);
	assert_int_equal(children.dump.pid, 0);
	assert_int_equal(gone, 0);
	children_reap(&children);
	assert_int_equal(logged(""), 3);
}

/* They have fallen to us from somebody who is dead. */
static void test_of_others_nothing_is_said(void **state)
{
	ended();
	ended();
	children_reap(&children);
	assert_int_equal(logged(""), 0);
}

static void test_one_that_lives_is_not_waited_for(void **state)
{
	int ends[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		_exit(read(ends[0], &c, 1) != 0);
	}
	children.page.child.pid = pid;
	children_reap(&children);
	assert_int_equal(children.page.child.pid, pid);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(await(pid), 0);
}

static void test_when_all_stops_the_spawner_s_end_is_reported(void **state)
{
	phase = PHASE_STOPPING;
	children.page.child.pid = ended();
	children_reap(&children);
	assert_int_equal(gone, 0);
	children.spawner.child.pid = ended();
	children_reap(&children);
	assert_int_equal(gone, 1);
	assert_int_equal(logged(""), 0);
}

/* Whoever has started it waits for it himself. */
static void test_a_trial_is_left_to_who_waits_for_it(void **state)
{
	children.trial = ended();
	children_reap(&children);
	assert_int_equal(waitpid(children.trial, NULL, WNOHANG), children.trial);
	children.trial = 0;
	children.spawner.child.pid = ended();
	children.spawner.child.started_ms = now_ms;
	pass(REAP_AGAIN_MS - 1);
	assert_int_equal(logged(""), 0);
	pass(1);
	assert_int_equal(logged("the spawner has ended"), 1);
}

/* What a trio's memory says must not lead to them. */
static void test_none_of_them_is_a_stranger(void **state)
{
	const struct strangers *s = &children.workers.strangers;
	pid_t *all[] = {&children.spawner.child.pid, &children.page.child.pid, &children.dump.pid, &children.trial};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_true(strangers_has(s, 4711));
		*all[i] = 4711;
		assert_false(strangers_has(s, 4711));
		*all[i] = 0;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(none_is_there_at_first),
	        TEST(each_is_reported_to_whom_it_concerns),
	        TEST(of_others_nothing_is_said),
	        TEST(one_that_lives_is_not_waited_for),
	        TEST(when_all_stops_the_spawner_s_end_is_reported),
	        TEST(a_trial_is_left_to_who_waits_for_it),
	        TEST(none_of_them_is_a_stranger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
