/* A process that is kept: what it is born with, how it is heard, what is said of its end. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "children/child.h"
#include "os/proc.h"
#include "os/sock.h"

#define BIT(sig)   (UINT64_C(1) << (sig))
#define RESPAWN_MS 500

static struct child child;
static int extra; /* what it keeps beside its socket; -1: nothing */
static int starts, start_result, forks, fork_error;
static void (*life)(int control_fd);

static int start_again(void *arg)
{
	starts++;
	return start_result;
}

static pid_t fork_or_not(void)
{
	forks++;
	errno = fork_error;
	return fork_error ? -1 : fork();
}

/* In the child. */
static void become(void *arg, int control_fd, int err)
{
	int keep[2] = {control_fd, extra};

	child_settle("tcpproxy: fake", err, keep, extra >= 0 ? 2 : 1);
	find();
	life(control_fd);
	_exit(0);
}

static unsigned times_heard, n_messages, n_ends;

static void heard(void *arg, uint32_t events)
{
	char text[8];
	int len = sock_recv_message(child.control.fd, text, sizeof(text), NULL, NULL);

	assert_ptr_equal(arg, &child);
	times_heard++;
	n_messages += len > 0;
	n_ends += len == 0;
	if (len == 0)
		child_stop_hearing(&child);
}

static void end(int control_fd)
{
	(void)control_fd;
}

static int setup(void **state)
{
	fixture_begin();
	starts = start_result = forks = fork_error = 0;
	times_heard = n_messages = n_ends = 0;
	extra = -1;
	life = end;
	child_init(&child, &loop, "the fake", start_again, NULL, &child);
	return 0;
}

static int teardown(void **state)
{
	if (child.control.fd >= 0)
		child_stop_hearing(&child);
	lastwords_close(&child.words);
	again_cancel(&child.again);
	assert_int_equal(loop.n_timers, 0);
	fixture_end();
	return 0;
}

static int start(void)
{
	return child_start(&child, fork_or_not, "fake 1", become, heard, &child);
}

/* ---- birth ---- */

static void test_it_has_its_descriptors_and_no_others(void **state)
{
	int other = any_fd();

	extra = any_fd();
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	assert_int_equal(found->pid, child.pid);
	assert_int_equal(found->n_fds, 2);
	assert_true(has_found(extra));
	assert_false(has_found(other) || has_found(loop.epfd) || has_found(child.control.fd));
	close(extra);
	close(other);
}

static void test_its_streams_lead_to_nobody_and_to_the_log(void **state)
{
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	assert_true(found->null_in && found->null_out && found->pipe_err);
	assert_true(found->nonblocking_err); /* it waits for nobody */
	assert_true(found->leads_session);
}

static void test_it_has_its_title_and_no_privilege(void **state)
{
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	assert_string_equal(found->title, "tcpproxy: fake");
	assert_false(found->privileged);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void test_signals_are_as_at_birth(void **state)
{
	sigset_t blocked, before;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGUSR2);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	signal(SIGTERM, SIG_IGN);
	signal(SIGCHLD, on_signal);
	signal(SIGHUP, on_signal);
	assert_int_equal(start(), 0);
	signal(SIGTERM, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(await(child.pid), 0);
	assert_int_equal(found->blocked, 0);
	assert_int_equal(found->caught, 0);
	/* by those it is the supervisor that is told something */
	assert_int_equal(found->ignored,
	                 BIT(SIGPIPE) | BIT(SIGINT) | BIT(SIGHUP) | BIT(SIGQUIT) | BIT(SIGUSR1) | BIT(SIGUSR2));
}

/* ---- what it says ---- */

static void say_something(int control_fd)
{
	if (sock_send_message(control_fd, "hello", 5, NULL, 0) < 0)
		_exit(1);
	live_until_hangup(control_fd);
}

static void test_it_is_heard_until_it_is_not_any_more(void **state)
{
	int control_fd;

	life = say_something;
	assert_int_equal(start(), 0);
	control_fd = child.control.fd;
	TURN_UNTIL(n_messages == 1);
	child_stop_hearing(&child);
	assert_int_equal(child.control.fd, -1);
	assert_false(fd_is_open(control_fd));
	assert_int_equal(await(child.pid), 0); /* that is how it learns of it */
	turn();
	assert_int_equal(times_heard, 1);
}

static void test_its_death_is_heard_once(void **state)
{
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	turn();
	turn();
	assert_int_equal(n_ends, 1);
	assert_int_equal(times_heard, 1);
}

static void complain(int control_fd)
{
	if (write(STDERR_FILENO, "first\nlast", 10) != 10)
		_exit(1);
}

static void test_what_it_writes_to_stderr_is_logged(void **state)
{
	life = complain;
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	lastwords_hear(&child.words);
	assert_int_equal(logged("fake 1: first"), 1);
	turn();
	assert_int_equal(logged("fake 1: last"), 1);
}

static void test_the_next_one_is_logged_after_the_words_of_the_one_before(void **state)
{
	life = complain;
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	child_stop_hearing(&child);
	life = end;
	assert_int_equal(start(), 0);
	assert_int_equal(logged("fake 1: first"), 1);
	assert_int_equal(logged("fake 1: last"), 1);
	assert_int_equal(await(child.pid), 0);
}

static void test_what_waits_for_one_that_is_gone_is_dropped(void **state)
{
	int fd = any_fd();

	life = live_until_hangup;
	assert_int_equal(start(), 0);
	while (outbox_is_empty(&child.outbox))
		assert_int_equal(outbox_send(&child.outbox, &(struct wire){.type = WIRE_KILL}, &fd, 1), 0);
	close(fd);
	child_stop_hearing(&child);
	assert_true(outbox_is_empty(&child.outbox));
	assert_int_equal(outbox_send(&child.outbox, &(struct wire){.type = WIRE_KILL}, NULL, 0), -EPIPE);
	assert_int_equal(await(child.pid), 0);
}

/* ---- one that cannot be started ---- */

static void assert_nothing_has_changed(unsigned fds)
{
	turn();
	assert_int_equal(fds_open(), fds);
	assert_int_equal(child.pid, 0);
	assert_int_equal(child.control.fd, -1);
	assert_int_equal(child.started_ms, 0);
}

static void test_where_there_are_no_processes_nothing_changes(void **state)
{
	unsigned fds = fds_open();

	fork_error = EAGAIN;
	assert_int_equal(start(), -EAGAIN);
	assert_nothing_has_changed(fds);
}

static void test_where_a_descriptor_is_missing_nothing_changes(void **state)
{
	unsigned fds = fds_open();

	for (int room = 0; room < 4; room++) {
		leave_room(room);
		assert_int_equal(start(), -EMFILE);
		leave_room(-1);
		assert_int_equal(forks, 0);
		assert_nothing_has_changed(fds);
	}
	leave_room(4);
	assert_int_equal(start(), 0);
	leave_room(-1);
	assert_int_equal(await(child.pid), 0);
}

/* ---- its end ---- */

static void test_what_has_just_begun_is_not_replaced_at_once(void **state)
{
	assert_int_equal(start(), 0);
	assert_int_equal(await(child.pid), 0);
	pass(RESPAWN_MS - 100);
	child_replace(&child, 0);
	assert_int_equal(logged("the fake has ended and is replaced"), 1);
	pass(99);
	assert_int_equal(starts, 0);
	pass(1);
	assert_int_equal(starts, 1);
	pass(100 * RESPAWN_MS);
	assert_int_equal(starts, 1);
	assert_int_equal(logged(""), 1);
}

static void kill_itself(int control_fd)
{
	kill(getpid(), SIGKILL);
}

static void test_what_has_lived_is_replaced_at_once(void **state)
{
	life = kill_itself;
	assert_int_equal(start(), 0);
	pass(RESPAWN_MS);
	child_replace(&child, await(child.pid));
	assert_int_equal(logged("the fake was killed by signal 9 and is replaced"), 1);
	assert_int_equal(starts, 1);
}

static void test_what_cannot_be_replaced_is_tried_again(void **state)
{
	start_result = -ENOMEM;
	child_replace(&child, 0);
	assert_int_equal(starts, 1);
	assert_true(again_is_pending(&child.again));
	pass(500);
	assert_int_equal(starts, 2);
	assert_int_equal(logged("the fake cannot be started"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_has_its_descriptors_and_no_others),
	        TEST(its_streams_lead_to_nobody_and_to_the_log),
	        TEST(it_has_its_title_and_no_privilege),
	        TEST(signals_are_as_at_birth),
	        TEST(it_is_heard_until_it_is_not_any_more),
	        TEST(its_death_is_heard_once),
	        TEST(what_it_writes_to_stderr_is_logged),
	        TEST(the_next_one_is_logged_after_the_words_of_the_one_before),
	        TEST(what_waits_for_one_that_is_gone_is_dropped),
	        TEST(where_there_are_no_processes_nothing_changes),
	        TEST(where_a_descriptor_is_missing_nothing_changes),
	        TEST(what_has_just_begun_is_not_replaced_at_once),
	        TEST(what_has_lived_is_replaced_at_once),
	        TEST(what_cannot_be_replaced_is_tried_again),
	};

	proc_title_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
