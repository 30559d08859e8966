/* Trios of another layout are to end with their last connection: what they and ours are told, and when they are gone. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "os/sock.h"
#include "restart/retire.h"

#define OLD 2

static struct retirees retirees;
static struct orphan orphans[OLD];
static struct trio *old[OLD]; /* their memory */
static int old_ends[OLD];     /* of their control sockets */
static bool begun;            /* else their sockets are the test's */
static char what[40];

static int setup(void **state)
{
	static int n;

	fixture_setup(state);
	fixture_ends = old_ends;
	fixture_n_ends = OLD;
	begun = false;
	snprintf(what, sizeof(what), "test_retire %d %d", getpid(), n++);
	children.workers.what = what;
	retirees = (struct retirees){.workers = &children.workers};
	for (uint32_t i = 0; i < OLD; i++) {
		int pair[2];

		assert_int_equal(sock_message_pair(pair), 0);
		old_ends[i] = pair[1];
		orphans[i] = (struct orphan){.number = i, .control_fd = pair[0], .next_id = 100 + i};
		orphans[i].fds[GREETING_TRIO] = trio_new(i, 8, &old[i]);
		for (int k = GREETING_TRIO + 1; k < GREETING_FDS; k++)
			orphans[i].fds[k] = k == GREETING_SAID ? -1 /* of an old version */
			                                       : fcntl(old_ends[i], F_DUPFD_CLOEXEC, 3);
		retire_take(&retirees, &orphans[i]);
	}
	return 0;
}

static int teardown(void **state)
{
	for (uint32_t i = 0; i < OLD; i++) {
		struct retired *r = &retirees.list[i];
		int fd = begun ? r->control.fd : r->orphan.control_fd;

		watch_remove(&loop, &r->control);
		if (fd >= 0)
			close(fd);
		outbox_clear(&r->outbox);
		timer_clear(&loop, &r->timer);
		for (int k = 0; k < GREETING_FDS; k++)
			if (r->orphan.fds[k] >= 0)
				close(r->orphan.fds[k]);
		trio_unmap(old[i]);
		close(old_ends[i]);
	}
	free(retirees.list);
	return fixture_teardown(state);
}

static void begin(bool read)
{
	begun = true;
	retire_begin(&retirees, read);
}

static void hang_up(uint32_t i)
{
	shutdown(old_ends[i], SHUT_RDWR);
	fixture_turn();
}

static void adopt(uint32_t i)
{
	fixture_say(old_ends[i], &(struct wire){.type = WIRE_ADOPTED});
	fixture_turn();
}

static void given(uint32_t i, uint32_t n, bool whole)
{
	fixture_say(old_ends[i], &(struct wire){.type = WIRE_GIVEN, .n = n, .whole = whole});
	fixture_turn();
}

static void test_records_go_on_after_theirs(void **state)
{
	assert_int_equal(retirees.n, OLD);
	assert_int_equal(retirees.first_id, 101);
	retire_take(&retirees, &(struct orphan){.next_id = 50});
	assert_int_equal(retirees.first_id, 101);
	retirees.n--;
}

/* The link that it gives to one of ours is one. */
static void test_they_are_told_that_they_retire_and_give_to_ours(void **state)
{
	begin(true);
	for (uint32_t i = 0; i < OLD; i++) {
		assert_string_equal(fixture_read(old_ends[i]), "ADOPT+1 RETIRE GIVE+2");
		assert_int_equal(fixture_wire.give.which, LINK_ALL);
		assert_int_equal(fixture_wire.give.quota, UINT32_MAX);
		assert_string_equal(fixture_read(theirs[i]), "TAKE+2");
	}
	assert_non_null(strstr(log_text, "has another layout: the 2 workers of before accept nothing more"));
	assert_null(strstr(log_text, "lost"));
}

static void test_why_and_what_is_lost_is_said(void **state)
{
	retirees.why = "\"user\" has changed";
	begin(false);
	assert_non_null(strstr(log_text, "\"user\" has changed: the 2 workers"));
	assert_non_null(strstr(log_text, "whose records are lost"));
}

static void test_where_there_are_fewer_of_ours_one_takes_of_several(void **state)
{
	children.workers.n = 1;
	begin(true);
	children.workers.n = FIXTURE_WORKERS;
	assert_string_equal(fixture_read(theirs[0]), "TAKE+2 TAKE+2");
	assert_string_equal(fixture_read(theirs[1]), "");
}

static void test_one_that_was_refused_gives_again(void **state)
{
	begin(true);
	fixture_read(old_ends[0]);
	given(0, 7, false);
	assert_non_null(strstr(log_text, "7 connections were handed over from worker 0 of the old program"));
	fixture_pass(199);
	assert_string_equal(fixture_read(old_ends[0]), "");
	fixture_pass(1);
	assert_string_equal(fixture_read(old_ends[0]), "GIVE+2");
	assert_string_equal(fixture_read(theirs[0]), "TAKE+2 TAKE+2");
}

static void test_one_that_has_given_all_is_not_asked_again(void **state)
{
	begin(true);
	fixture_read(old_ends[0]);
	given(0, 0, true);
	fixture_pass(1000);
	assert_string_equal(fixture_read(old_ends[0]), "");
	assert_null(strstr(log_text, "handed over"));
}

static void test_what_another_version_says_is_left_alone(void **state)
{
	begin(true);
	assert_int_equal(sock_send_message(old_ends[0], "hello", 5, NULL, 0), 0);
	fixture_say(old_ends[0], &(struct wire){.type = 4711});
	adopt(0);
	assert_true(retirees.list[0].adopted);
}

static void test_each_is_gone_once(void **state)
{
	begin(true);
	adopt(0);
	adopt(1);
	assert_false(retire_gone(&retirees));
	hang_up(1);
	assert_int_equal(gone, 1);
	assert_int_equal(idle, 1);
	assert_false(retire_gone(&retirees));
	assert_null(strstr(log_text, "has ended"));
	hang_up(0);
	assert_int_equal(gone, 2);
	assert_true(retire_gone(&retirees));
	assert_non_null(strstr(log_text, "upgrade: the last worker of the old program has ended"));
	fixture_pass(10000);
	assert_int_equal(gone, 2);
}

/* Whatever was still to be done for it. */
static void test_one_that_is_gone_gives_nothing_more(void **state)
{
	begin(true);
	fixture_read(theirs[0]);
	adopt(0);
	given(0, 0, false);
	hang_up(0);
	assert_int_equal(retirees.list[0].timer.place, 0);
	fixture_pass(1000);
	assert_string_equal(fixture_read(theirs[0]), "");
	assert_int_equal(gone, 1);
}

/* It closes its socket as the last thing, whether its keepers have ended by then or not. */
static void test_one_that_knows_us_is_gone_at_once(void **state)
{
	pid_t member = fixture_sleeper();

	old[0]->pid[MEMBER_KEEPER0] = member;
	begin(true);
	adopt(0);
	hang_up(0);
	assert_int_equal(gone, 1);
	fixture_kill(member);
}

/* Its memory is given back; the door is ours. */
static void test_one_that_is_gone_keeps_nothing_open(void **state)
{
	begin(true);
	adopt(0);
	hang_up(0);
	assert_int_equal(gone, 1);
	for (int k = 0; k < GREETING_FDS; k++)
		if (orphans[0].fds[k] >= 0)
			assert_int_equal(fixture_is_open(orphans[0].fds[k]), k == GREETING_DOOR);
	for (int k = 0; k < GREETING_FDS; k++)
		if (orphans[1].fds[k] >= 0)
			assert_true(fixture_is_open(orphans[1].fds[k]));
}

static void test_one_that_dies_before_it_knows_us_is_gone_where_nobody_is_left(void **state)
{
	begin(true);
	hang_up(0);
	assert_int_equal(gone, 1);
}

/* Behind its door is nobody. */
static void test_one_that_cannot_be_got_hold_of_is_given_up(void **state)
{
	pid_t member = fixture_sleeper();

	old[0]->pid[MEMBER_KEEPER1] = member;
	begin(true);
	hang_up(0);
	for (int i = 0; i < 99; i++)
		fixture_pass(20);
	assert_int_equal(gone, 0);
	fixture_pass(20);
	assert_int_equal(gone, 1);
	fixture_kill(member);
}

/* Its next worker opens the door again. */
static int door;

static void greet(void)
{
	struct greeting g = {.magic = GREETING_MAGIC, .number = 0};
	int fds[GREETING_FDS];

	for (int i = 0; i < GREETING_FDS; i++)
		fds[i] = door;
	for (;;) {
		int fd = sock_accept(door, NULL);

		if (fd >= 0)
			sock_send_message(fd, &g, sizeof(g), fds, GREETING_FDS);
	}
}

static void test_one_whose_worker_dies_is_got_hold_of_again(void **state)
{
	bool taken;
	pid_t member;

	door = rendezvous_open(what, 0, &taken);
	assert_true(door >= 0);
	member = fixture_fork(greet);
	close(door);
	old[0]->pid[MEMBER_KEEPER0] = member;
	begin(true);
	fixture_read(theirs[0]);
	hang_up(0);
	UNTIL((fixture_pass(20), retirees.list[0].tries > 0 && retirees.list[0].control.fd >= 0));
	assert_string_equal(fixture_read(theirs[0]), "TAKE+2");
	assert_true(retirees.list[0].session == 0); /* the door is ours here */
	assert_int_equal(gone, 0);
	fixture_kill(member);
	old[0]->pid[MEMBER_KEEPER0] = 0;
	UNTIL((fixture_pass(20), gone == 1));
}

/* It is not told whose it is: the same. */
static void test_one_that_cannot_be_told_is_visited_later(void **state)
{
	while (sock_send_message(orphans[0].control_fd, &(struct wire){.type = WIRE_STOP}, sizeof(struct wire), NULL,
	                         0) == 0)
		;
	begin(true);
	assert_false(fixture_is_open(orphans[0].control_fd));
	assert_string_equal(fixture_read(theirs[0]), "");
	assert_int_equal(gone, 0);
	fixture_pass(20);
	assert_int_equal(gone, 1); /* nobody is left of it */
}

static void test_all_are_told_to_stop(void **state)
{
	begin(true);
	for (uint32_t i = 0; i < OLD; i++)
		fixture_read(old_ends[i]);
	retire_stop(&retirees);
	for (uint32_t i = 0; i < OLD; i++)
		assert_string_equal(fixture_read(old_ends[i]), "STOP");
}

/* Those that are left; none that is ours, whatever they say. */
static void test_members_are_killed(void **state)
{
	pid_t members[OLD], other = fixture_sleeper(), spawner = fixture_sleeper();

	children.spawner.child.pid = spawner;
	for (uint32_t i = 0; i < OLD; i++)
		old[i]->pid[MEMBER_WORKER] = members[i] = fixture_sleeper();
	old[0]->pid[MEMBER_KEEPER0] = getpid();
	old[0]->pid[MEMBER_KEEPER1] = spawner;
	old[1]->pid[MEMBER_KEEPER0] = 0;
	old[1]->pid[MEMBER_KEEPER1] = -1;
	retirees.list[0].gone = false;
	retirees.list[1].gone = true;
	retire_kill(&retirees);
	assert_true(WIFSIGNALED(fixture_end_of(members[0])));
	assert_true(fixture_runs(members[1]));
	assert_true(fixture_runs(spawner));
	fixture_kill(members[1]);
	fixture_kill(spawner);
	fixture_kill(other);
	children.spawner.child.pid = 0;
}

static void test_processes_of_theirs_are_known(void **state)
{
	retirees.list[1].session = 4711;
	assert_true(retire_have_session(&retirees, 4711));
	assert_false(retire_have_session(&retirees, 4712));
}

static void test_where_there_are_none_all_are_gone(void **state)
{
	assert_true(retire_gone(&(struct retirees){.n = 0}));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(records_go_on_after_theirs),
	        TEST(they_are_told_that_they_retire_and_give_to_ours),
	        TEST(why_and_what_is_lost_is_said),
	        TEST(where_there_are_fewer_of_ours_one_takes_of_several),
	        TEST(one_that_was_refused_gives_again),
	        TEST(one_that_has_given_all_is_not_asked_again),
	        TEST(what_another_version_says_is_left_alone),
	        TEST(each_is_gone_once),
	        TEST(one_that_is_gone_gives_nothing_more),
	        TEST(one_that_knows_us_is_gone_at_once),
	        TEST(one_that_is_gone_keeps_nothing_open),
	        TEST(one_that_dies_before_it_knows_us_is_gone_where_nobody_is_left),
	        TEST(one_that_cannot_be_got_hold_of_is_given_up),
	        TEST(one_whose_worker_dies_is_got_hold_of_again),
	        TEST(one_that_cannot_be_told_is_visited_later),
	        TEST(all_are_told_to_stop),
	        TEST(members_are_killed),
	        TEST(processes_of_theirs_are_known),
	        TEST(where_there_are_none_all_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
