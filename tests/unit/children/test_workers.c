/* Trios that the supervisor has found: what they are told, what they may say, and what follows from their end. */
#include "fake_workers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "os/proc.h"
#include "os/sock.h"

#define ALL          7u
#define RECONNECT_MS 20
#define RESPAWN_MS   500

/* ---- what the workers' part asks of others ---- */

static pid_t alive; /* the one process there is */
static pid_t signalled;
static int n_signalled;

int __wrap_kill(pid_t pid, int sig);

int __wrap_kill(pid_t pid, int sig)
{
	errno = ESRCH;
	if (sig == 0)
		return pid == alive ? 0 : -1;
	signalled = pid;
	n_signalled++;
	return pid == alive ? 0 : -1;
}

static int again_fd, asked_again; /* what is found at the door once more: a socket, or -errno */

int __wrap_adopt_again(const char *what, uint64_t key, uint32_t number);

int __wrap_adopt_again(const char *what, uint64_t key, uint32_t number)
{
	assert_string_equal(what, workers.what);
	assert_int_equal(key, workers.key);
	assert_int_equal(number, 1);
	asked_again++;
	return again_fd;
}

static int refusal; /* -errno of whatever is sent; 0: none */

int __real_sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds);
int __wrap_sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds);

int __wrap_sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
	return refusal ? refusal : __real_sock_send_message(fd, data, len, fds, n_fds);
}

static int forks;

pid_t __wrap_fork(void);

/* None is started here; test_birth.c does that. */
pid_t __wrap_fork(void)
{
	forks++;
	errno = EAGAIN;
	return -1;
}

static int setup(void **state)
{
	fixture_begin();
	fake_workers_begin();
	alive = signalled = 0;
	n_signalled = forks = asked_again = refusal = 0;
	again_fd = -EAGAIN;
	return 0;
}

static int teardown(void **state)
{
	fake_workers_end();
	fixture_end();
	return 0;
}

/* ---- one that is found ---- */

static void test_one_that_is_found_is_told_whose_it_is_and_what_holds(void **state)
{
	static struct socket_entry listener = {.id = 3};

	listener.fd = any_fd();
	rules.listeners = (struct sockets){.list = &listener, .n = 1};
	assert_int_equal(fake_workers_find(3, ALL), 0);
	for (uint32_t i = 0; i < 3; i++) {
		assert_false(workers.list[i].adopted);
		assert_string_equal(read_all(theirs[i]), "ADOPT+1 SAID+1 STDERR_IS+1 RULES+1 LISTEN+1 SYNC");
	}
	assert_string_equal(reported(), "");
	rules.listeners.n = 0;
	close(listener.fd);
}

static void test_it_gets_a_descriptor_that_tells_of_our_death(void **state)
{
	int fds[SOCK_MAX_FDS];
	struct wire w;
	size_t n;

	assert_int_equal(fake_workers_find(1, 1), 0);
	assert_true(read_one(theirs[0], &w, fds, &n));
	assert_int_equal(w.type, WIRE_ADOPT);
	assert_int_equal(w.leaves, 0);
	assert_int_equal(proc_pidfd_signal(fds[0], 0), 0);
	assert_false(proc_pidfd_dead(fds[0]));
	close(fds[0]);
	read_all(theirs[0]);
}

static void test_what_it_knows_from_before_it_is_not_told_again(void **state)
{
	static struct socket_entry known[] = {{.id = 3}, {.id = 4}};

	rules.listeners = (struct sockets){.list = known, .n = 1};
	workers.orphans.sockets = (struct sockets){.list = known, .n = 2};
	assert_int_equal(fake_workers_find(1, 1), 0);
	assert_string_equal(read_all(theirs[0]), "ADOPT+1 SAID+1 STDERR_IS+1 RULES+1 UNLISTEN SYNC");
	rules.listeners.n = 0;
}

static void test_one_that_is_found_while_all_drains_accepts_nothing_more(void **state)
{
	phase = PHASE_DRAINING;
	assert_int_equal(fake_workers_find(1, 1), 0);
	assert_string_equal(read_all(theirs[0]), "ADOPT+1 SAID+1 STDERR_IS+1 RULES+1 SYNC QUIT");
}

static void test_what_it_writes_to_its_new_stderr_is_logged(void **state)
{
	int fds[SOCK_MAX_FDS];
	struct wire w;
	size_t n;

	assert_int_equal(fake_workers_find(2, 3), 0);
	while (read_one(theirs[1], &w, fds, &n) && w.type != WIRE_STDERR_IS)
		while (n > 0)
			close(fds[--n]);
	assert_int_equal(n, 1);
	assert_int_equal(write(fds[0], "oops\n", 5), 5);
	turn();
	assert_int_equal(logged("worker 1: oops"), 1);
	close(fds[0]);
	read_all(theirs[0]);
	read_all(theirs[1]);
}

static void test_all_are_ours_when_the_last_has_said_so(void **state)
{
	const struct wire adopted = {.type = WIRE_ADOPTED};

	assert_int_equal(fake_workers_find(3, ALL), 0);
	say(2, &adopted);
	say(0, &adopted);
	say(0, &adopted); /* it may say that as often as it likes */
	say(2, &adopted);
	assert_string_equal(reported(), "");
	say(1, &adopted);
	assert_string_equal(reported(), "adopted");
	say(1, &adopted);
	assert_string_equal(reported(), "");
	assert_int_equal(workers.n_adopted, 3);
}

static void test_for_one_that_was_lost_nobody_waits(void **state)
{
	assert_int_equal(fake_workers_find(2, 3), 0);
	say(0, &(struct wire){.type = WIRE_ADOPTED});
	assert_string_equal(reported(), "");
	hang_up(1);
	assert_string_equal(reported(), "adopted");
	assert_int_equal(workers.n_adopted, 1);
	assert_int_equal(logged("worker 1 and both its keepers have died at once: 0 connections are lost"), 1);
}

/* No descriptor can be sent now. */
static void test_one_that_cannot_be_told_now_is_told_later(void **state)
{
	int pair[2];

	refusal = -ETOOMANYREFS;
	assert_int_equal(fake_workers_find(2, 2), 0);
	refusal = 0;
	assert_int_equal(workers.list[1].child.control.fd, -1);
	assert_int_equal(sock_recv(theirs[1], pair, 1, 0), 0); /* it knows, and opens its door again */
	alive = workers.list[1].trio->pid[MEMBER_KEEPER1] = 4711;
	pass(RECONNECT_MS - 1);
	assert_int_equal(asked_again, 0);
	assert_int_equal(sock_message_pair(pair), 0);
	close(theirs[1]);
	again_fd = pair[0];
	theirs[1] = pair[1];
	pass(1);
	assert_int_equal(asked_again, 1);
	assert_string_equal(read_all(theirs[1]), "ADOPT+1 SAID+1 STDERR_IS+1 RULES+1 SYNC");
	assert_string_equal(reported(), "mute");
}

static void test_another_failure_is_one_of_the_start(void **state)
{
	refusal = -ENOMEM;
	assert_int_equal(fake_workers_find(1, 1), -ENOMEM);
	assert_int_equal(workers.list[0].child.control.fd, -1);
	close(workers.orphans.list[0].control_fd);
}

/* ---- what one may say ---- */

static void test_each_message_is_reported_once(void **state)
{
	static const struct {
		struct wire wire;
		const char *reported;
	} all[] = {
	        {{.type = WIRE_GIVEN, .n = 17}, "moved:1,17"},
	        {{.type = WIRE_IMBALANCE}, "imbalance:0"},
	        {{.type = WIRE_IMBALANCE, .busy = 1}, "imbalance:1"},
	        {{.type = WIRE_TCP_INFO_WRITTEN, .request = 1ULL << 40}, "tcp_info:1,1099511627776"},
	        {{.type = WIRE_EJECTED}, "ejected"},
	        {{.type = WIRE_IDLE}, "idle"},
	        {{.type = WIRE_SYNCED, .number = 1}, ""},
	        {{.type = WIRE_ADOPTED}, ""},
	};

	fake_workers_serve(3);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		say(1, &all[i].wire);
		assert_string_equal(reported(), all[i].reported);
	}
	assert_true(workers.list[1].idle);
	assert_false(workers.list[0].idle || workers.list[2].idle);
}

static void test_several_are_reported_in_their_order(void **state)
{
	fake_workers_serve(2);
	for (uint32_t i = 1; i < 4; i++)
		assert_int_equal(sock_send_message(theirs[0], &(struct wire){.type = WIRE_GIVEN, .n = i},
		                                   sizeof(struct wire), NULL, 0),
		                 0);
	say(0, &(struct wire){.type = WIRE_IDLE});
	assert_string_equal(reported(), "moved:0,1 moved:0,2 moved:0,3 idle");
}

/* What it has said before it died counts. */
static void test_what_is_said_before_the_end_is_heard(void **state)
{
	fake_workers_serve(2);
	phase = PHASE_STOPPING;
	assert_int_equal(
	        sock_send_message(theirs[0], &(struct wire){.type = WIRE_GIVEN, .n = 9}, sizeof(struct wire), NULL, 0),
	        0);
	hang_up(0);
	assert_string_equal(reported(), "moved:0,9 gone");
}

static void assert_nothing_came_of_it(unsigned fds)
{
	turn();
	assert_string_equal(reported(), "");
	assert_int_equal(fds_open(), fds);
	assert_true(workers.list[0].child.control.fd >= 0);
	assert_false(workers.list[0].idle);
	assert_int_equal(logged(""), 0);
}

static void test_what_no_worker_says_is_passed_over(void **state)
{
	unsigned fds;

	fake_workers_serve(1);
	fds = fds_open();
	for (uint32_t type = 0; type < 64; type++)
		switch (type) {
		case WIRE_IDLE:
		case WIRE_ADOPTED:
		case WIRE_GIVEN:
		case WIRE_IMBALANCE:
		case WIRE_TCP_INFO_WRITTEN:
		case WIRE_SYNCED:
		case WIRE_EJECTED:
			break;
		default:
			say(0, &(struct wire){.type = type, .n = 3, .generation = 1});
		}
	say(0, &(struct wire){.type = UINT32_MAX});
	say(0, &(struct wire){.type = 1u << 31 | WIRE_IDLE});
	assert_nothing_came_of_it(fds);
}

static void test_what_is_too_short_is_passed_over(void **state)
{
	const struct wire idle = {.type = WIRE_IDLE};
	unsigned fds;

	fake_workers_serve(1);
	fds = fds_open();
	for (size_t len = 1; len < sizeof(idle); len += 29)
		say_with(0, &idle, len, NULL, 0);
	say_with(0, &idle, sizeof(idle) - 1, NULL, 0);
	assert_nothing_came_of_it(fds);
}

/* Of a later version: what is behind it is not for us. */
static void test_of_what_is_longer_the_beginning_counts(void **state)
{
	struct {
		struct wire wire;
		char more[100];
	} longer = {.wire = {.type = WIRE_GIVEN, .n = 2}};

	fake_workers_serve(1);
	say_with(0, &longer, sizeof(longer), NULL, 0);
	say(0, &(struct wire){.type = WIRE_GIVEN, .n = 3});
	assert_string_equal(reported(), "moved:0,2 moved:0,3");
}

static void test_descriptors_are_not_wanted(void **state)
{
	const struct wire messages[] = {{.type = WIRE_GIVEN}, {.type = WIRE_LISTEN, .n = 3}, {.type = UINT32_MAX}};
	int list[3] = {any_fd(), any_fd(), any_fd()};
	unsigned fds;

	fake_workers_serve(1);
	fds = fds_open();
	for (size_t i = 0; i < 3; i++)
		say_with(0, &messages[i], i == 2 ? 5 : sizeof(messages[i]), list, 3);
	assert_string_equal(reported(), "moved:0,0");
	assert_nothing_came_of_it(fds);
	for (size_t i = 0; i < 3; i++)
		close(list[i]);
}

static void test_numbers_may_be_any(void **state)
{
	fake_workers_serve(1);
	say(0, &(struct wire){.type = WIRE_GIVEN, .n = UINT32_MAX, .whole = UINT64_MAX});
	say(0, &(struct wire){.type = WIRE_TCP_INFO_WRITTEN, .request = UINT64_MAX});
	say(0, &(struct wire){.type = WIRE_IMBALANCE, .busy = UINT32_MAX});
	say(0, &(struct wire){.type = WIRE_SYNCED, .number = UINT64_MAX});
	assert_string_equal(reported(), "moved:0,4294967295 tcp_info:0,18446744073709551615 imbalance:1");
	assert_int_equal(workers.list[0].told.obeyed, 1);
}

/* ---- what one is told ---- */

static void fill(uint32_t i)
{
	while (outbox_is_empty(&workers.list[i].child.outbox))
		worker_send(&workers.list[i], &(struct wire){.type = WIRE_KILL}, NULL, 0);
}

static void test_one_that_did_not_read_is_told_what_holds_when_it_does(void **state)
{
	unsigned rules_told = 0, kills = 0;
	uint64_t generation = 0;
	int fds[SOCK_MAX_FDS];
	struct wire w;
	size_t n;

	fake_workers_serve(2);
	fill(1);
	for (rules.generation = 6; rules.generation < 9; rules.generation++)
		told_update_all(&workers);
	rules.generation = 8;
	assert_string_equal(read_all(theirs[0]), "RULES+1 SYNC RULES+1 SYNC RULES+1 SYNC");
	for (int turns = 0; turns < 100; turns++, turn())
		while (read_one(theirs[1], &w, fds, &n)) {
			kills += w.type == WIRE_KILL;
			rules_told += w.type == WIRE_RULES;
			generation = w.type == WIRE_RULES ? w.generation : generation;
			while (n > 0)
				close(fds[--n]);
		}
	assert_true(kills > 1);
	assert_int_equal(rules_told, 1);
	assert_int_equal(generation, 8);
	assert_int_equal(w.type, WIRE_SYNC);
}

static void test_what_is_too_much_for_one_is_said(void **state)
{
	fake_workers_serve(2);
	for (int i = 0; i < 3000 && logged("") == 0; i++)
		worker_send(&workers.list[1], &(struct wire){.type = WIRE_KILL}, NULL, 0);
	assert_int_equal(logged("worker 1 does not read what it is told (is it stopped?): something is lost"), 1);
}

static void test_who_is_gone_is_told_nothing_and_nothing_is_said_of_it(void **state)
{
	fake_workers_serve(2);
	close(theirs[1]);
	theirs[1] = -1;
	workers_send(&workers, &(struct wire){.type = WIRE_TARGETS}, NULL, 0);
	assert_int_equal(logged(""), 0);
	assert_string_equal(read_all(theirs[0]), "TARGETS");
	phase = PHASE_STOPPING;
	turn();
	workers_send(&workers, &(struct wire){.type = WIRE_TARGETS}, NULL, 0);
	assert_int_equal(logged(""), 0);
}

static void test_another_trio_s_memory_goes_over_for_reading(void **state)
{
	int fds[SOCK_MAX_FDS], link = any_fd();
	struct wire w;
	size_t n;

	fake_workers_serve(2);
	worker_send_link(&workers.list[0], &(struct wire){.type = WIRE_GIVE}, link, workers.list[1].memfd);
	assert_true(read_one(theirs[0], &w, fds, &n));
	assert_int_equal(n, 2);
	assert_true(write(fds[1], "x", 1) < 0);
	assert_int_equal(errno, EBADF);
	close(fds[0]);
	close(fds[1]);
	close(link);
}

/* ---- the end of one ---- */

static void test_one_that_has_died_at_once_is_started_again(void **state)
{
	fake_workers_serve(2);
	atomic_store(&workers.world->live[1], 3);
	atomic_store(&workers.world->disarmed[1], 1);
	pass(1);
	workers.list[1].child.started_ms = now_ms;
	workers.list[1].deaths_seen = 4;
	hang_up(1);
	assert_int_equal(
	        logged("worker 1 and both its keepers have died at once: 0 connections are lost; starting again"), 1);
	assert_int_equal(atomic_load(&workers.world->live[1]), 0);
	assert_int_equal(atomic_load(&workers.world->disarmed[1]), 0);
	assert_int_equal(workers.list[1].deaths_seen, 0);
	assert_int_equal(atomic_load(&workers.list[1].trio->member_died_ms), now_ms);
	assert_int_equal(forks, 0);
	pass(RESPAWN_MS);
	assert_int_equal(forks, 1);
	assert_int_equal(logged("worker 1 cannot be started"), 1); /* as this test says */
	assert_true(again_is_pending(&workers.list[1].child.again));
	assert_string_equal(reported(), "");
	assert_int_equal(asked_again, 0);
}

static void test_its_connections_are_counted_and_recorded(void **state)
{
	struct trio *t;

	fake_workers_serve(1);
	t = workers.list[0].trio;
	for (uint32_t i = 0; i < 3; i++) {
		*trio_row(t, i) = (struct row){.state = i == 1 ? ROW_FREE : ROW_RELAY, .fd = {-1, -1, -1}};
		*trio_cold(t, i) = (struct row_cold){.id = 100 + i, .label = LABEL_NONE, .target = TARGET_NONE};
	}
	t->rows_used = 3;
	hang_up(0);
	assert_int_equal(logged("2 connections are lost; starting again"), 1);
	assert_int_equal(written(" close id=100 "), 1);
	assert_int_equal(written(" close id=102 "), 1);
	assert_int_equal(written("end=lost"), 2);
	assert_int_equal(t->rows_used, 0); /* as new */
}

static void test_it_may_say_that_it_had_more_than_there_is_room_for(void **state)
{
	fake_workers_serve(1);
	workers.list[0].trio->rows_used = UINT32_MAX;
	workers.list[0].trio->n_rows = UINT32_MAX;
	hang_up(0);
	assert_int_equal(logged(": 0 connections are lost"), 1);
	assert_int_equal(trio_n_rows(workers.list[0].trio), workers.list[0].n_rows);
}

static void test_one_that_dies_while_all_drains_is_idle(void **state)
{
	fake_workers_serve(2);
	phase = PHASE_DRAINING;
	hang_up(1);
	assert_string_equal(reported(), "idle");
	assert_true(workers.list[1].idle);
	assert_false(workers.list[0].idle);
	assert_int_equal(logged("0 connections are lost"), 1);
	assert_int_equal(logged("starting again"), 0);
	assert_false(again_is_pending(&workers.list[1].child.again));
}

static void test_one_that_was_not_ours_yet_and_dies_while_all_drains_is_not_waited_for(void **state)
{
	phase = PHASE_DRAINING;
	assert_int_equal(fake_workers_find(2, 3), 0);
	say(0, &(struct wire){.type = WIRE_ADOPTED});
	hang_up(1);
	assert_string_equal(reported(), "idle adopted");
}

/* Only all three of them together can close it. */
static void test_one_that_was_ours_and_hangs_up_is_dead_whatever_its_memory_says(void **state)
{
	fake_workers_serve(2);
	alive = workers.list[1].trio->pid[MEMBER_WORKER] = 4711;
	hang_up(1);
	assert_int_equal(asked_again, 0);
	assert_int_equal(logged("worker 1 and both its keepers have died at once"), 1);
}

static void test_that_all_end_is_reported_for_each(void **state)
{
	fake_workers_serve(2);
	phase = PHASE_STOPPING;
	assert_false(workers_gone(&workers));
	hang_up(0);
	assert_string_equal(reported(), "gone");
	assert_false(workers_gone(&workers));
	hang_up(1);
	assert_string_equal(reported(), "gone");
	assert_true(workers_gone(&workers));
	assert_int_equal(logged(""), 0);
	assert_int_equal(forks, 0);
}

/* Its worker has died between its greeting and our first word. */
static void test_one_that_hangs_up_too_early_is_looked_for_once_more(void **state)
{
	int pair[2];

	assert_int_equal(fake_workers_find(2, 3), 0);
	alive = workers.list[1].trio->pid[MEMBER_WORKER] = 4711;
	hang_up(1);
	assert_int_equal(asked_again, 1);
	pass(RECONNECT_MS);
	assert_int_equal(asked_again, 2);
	assert_int_equal(sock_message_pair(pair), 0);
	again_fd = pair[0];
	theirs[1] = pair[1];
	pass(RECONNECT_MS);
	assert_int_equal(asked_again, 3);
	assert_string_equal(reported(), "mute"); /* it has no channel yet */
	assert_string_equal(read_all(theirs[1]), "ADOPT+1 SAID+1 STDERR_IS+1 RULES+1 SYNC");
	pass(10 * RECONNECT_MS);
	assert_int_equal(asked_again, 3);
	assert_int_equal(logged(""), 0);
	say(1, &(struct wire){.type = WIRE_ADOPTED});
	say(0, &(struct wire){.type = WIRE_ADOPTED});
	assert_string_equal(reported(), "adopted");
}

static void test_one_that_is_found_again_and_cannot_be_told_is_looked_for_later(void **state)
{
	int pair[2];

	assert_int_equal(fake_workers_find(2, 3), 0);
	alive = workers.list[1].trio->pid[MEMBER_WORKER] = 4711;
	assert_int_equal(sock_message_pair(pair), 0);
	again_fd = pair[0];
	refusal = -ETOOMANYREFS;
	hang_up(1);
	refusal = 0;
	assert_false(fd_is_open(pair[0]));
	assert_int_equal(workers.list[1].child.control.fd, -1);
	close(pair[1]);
	again_fd = -EAGAIN;
	pass(RECONNECT_MS);
	assert_int_equal(asked_again, 2);
}

static void test_one_that_dies_while_it_is_looked_for_is_lost(void **state)
{
	assert_int_equal(fake_workers_find(2, 3), 0);
	alive = workers.list[1].trio->pid[MEMBER_WORKER] = 4711;
	hang_up(1);
	alive = 0;
	pass(RECONNECT_MS);
	assert_int_equal(asked_again, 1);
	assert_int_equal(logged("worker 1 and both its keepers have died at once"), 1);
	pass(10 * RECONNECT_MS);
	assert_int_equal(logged("worker 1 and both its keepers have died at once"), 1);
}

static void test_one_that_is_looked_for_when_all_stops_is_gone(void **state)
{
	assert_int_equal(fake_workers_find(2, 3), 0);
	alive = workers.list[1].trio->pid[MEMBER_WORKER] = 4711;
	hang_up(1);
	phase = PHASE_STOPPING;
	pass(RECONNECT_MS);
	assert_string_equal(reported(), "gone");
	assert_int_equal(asked_again, 1);
}

/* ---- those that are not there ---- */

static void test_one_that_was_not_found_is_started_when_it_can_be(void **state)
{
	assert_int_equal(fake_workers_find(3, 5), 0);
	assert_int_equal(forks, 1);
	assert_true(again_is_pending(&workers.list[1].child.again));
	assert_int_equal(logged("worker 1 cannot be started"), 1);
	workers_cancel(&workers);
	assert_true(workers.list[1].idle);
	assert_false(workers.list[0].idle || workers.list[2].idle);
	pass(10 * RESPAWN_MS);
	assert_int_equal(forks, 1);
}

/* ---- all of them ---- */

static void test_a_pid_that_a_trio_names_may_be_anybody_s(void **state)
{
	static pid_t spawner = 5000, page = -1, none;
	const pid_t others[] = {getpid(), getppid(), 1, 0, -1, -2, 5000, INT32_MIN};
	struct worker *w;

	fake_workers_serve(1);
	w = &workers.list[0];
	strangers_know(&workers.strangers, &spawner);
	strangers_know(&workers.strangers, &page);
	strangers_know(&workers.strangers, &none);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		for (int m = 0; m < MEMBERS; m++)
			w->trio->pid[m] = alive = others[i];
		assert_false(worker_signal(w, MEMBER_WORKER, SIGTERM));
		assert_false(worker_alive(w));
		workers_kill(&workers);
	}
	assert_int_equal(n_signalled, 0);
	spawner = 0; /* it is dead: the number is another's now */
	w->trio->pid[MEMBER_KEEPER0] = alive = 5000;
	assert_true(worker_signal(w, MEMBER_KEEPER0, SIGTERM));
	assert_int_equal(signalled, 5000);
	assert_true(worker_alive(w));
}

static void test_there_are_three_members(void **state)
{
	struct worker *w;

	fake_workers_serve(1);
	w = &workers.list[0];
	for (int m = 0; m < MEMBERS; m++)
		w->trio->pid[m] = alive = 4711;
	w->trio->head_pad = 4711; /* what stands behind them */
	assert_false(worker_signal(w, -1, SIGTERM));
	assert_false(worker_signal(w, MEMBERS, SIGTERM));
	assert_int_equal(n_signalled, 0);
	assert_true(worker_signal(w, MEMBERS - 1, SIGTERM));
	alive = 0;
	assert_false(worker_signal(w, 0, SIGTERM)); /* there is no such process */
}

static void test_who_is_gone_is_not_killed(void **state)
{
	fake_workers_serve(2);
	phase = PHASE_STOPPING;
	for (int m = 0; m < MEMBERS; m++) {
		workers.list[0].trio->pid[m] = 4000 + m;
		workers.list[1].trio->pid[m] = 5000 + m;
	}
	hang_up(0);
	workers_kill(&workers);
	assert_int_equal(n_signalled, MEMBERS);
	assert_int_equal(signalled, 5000 + MEMBERS - 1);
}

static void test_none_is_replaced_once_all_stop(void **state)
{
	fake_workers_serve(2);
	workers_mark_stopping(&workers);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(atomic_load(&workers.list[i].trio->stopping), 1);
}

static void test_sessions_of_theirs(void **state)
{
	fake_workers_serve(2);
	workers.list[0].session = 4711;
	assert_true(workers_have_session(&workers, 4711));
	assert_false(workers_have_session(&workers, 4712));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(one_that_is_found_is_told_whose_it_is_and_what_holds),
	        TEST(it_gets_a_descriptor_that_tells_of_our_death),
	        TEST(what_it_knows_from_before_it_is_not_told_again),
	        TEST(one_that_is_found_while_all_drains_accepts_nothing_more),
	        TEST(what_it_writes_to_its_new_stderr_is_logged),
	        TEST(all_are_ours_when_the_last_has_said_so),
	        TEST(for_one_that_was_lost_nobody_waits),
	        TEST(one_that_cannot_be_told_now_is_told_later),
	        TEST(another_failure_is_one_of_the_start),
	        TEST(each_message_is_reported_once),
	        TEST(several_are_reported_in_their_order),
	        TEST(what_is_said_before_the_end_is_heard),
	        TEST(what_no_worker_says_is_passed_over),
	        TEST(what_is_too_short_is_passed_over),
	        TEST(of_what_is_longer_the_beginning_counts),
	        TEST(descriptors_are_not_wanted),
	        TEST(numbers_may_be_any),
	        TEST(one_that_did_not_read_is_told_what_holds_when_it_does),
	        TEST(what_is_too_much_for_one_is_said),
	        TEST(who_is_gone_is_told_nothing_and_nothing_is_said_of_it),
	        TEST(another_trio_s_memory_goes_over_for_reading),
	        TEST(one_that_has_died_at_once_is_started_again),
	        TEST(its_connections_are_counted_and_recorded),
	        TEST(it_may_say_that_it_had_more_than_there_is_room_for),
	        TEST(one_that_dies_while_all_drains_is_idle),
	        TEST(one_that_was_not_ours_yet_and_dies_while_all_drains_is_not_waited_for),
	        TEST(one_that_was_ours_and_hangs_up_is_dead_whatever_its_memory_says),
	        TEST(that_all_end_is_reported_for_each),
	        TEST(one_that_hangs_up_too_early_is_looked_for_once_more),
	        TEST(one_that_is_found_again_and_cannot_be_told_is_looked_for_later),
	        TEST(one_that_dies_while_it_is_looked_for_is_lost),
	        TEST(one_that_is_looked_for_when_all_stops_is_gone),
	        TEST(one_that_was_not_found_is_started_when_it_can_be),
	        TEST(a_pid_that_a_trio_names_may_be_anybody_s),
	        TEST(there_are_three_members),
	        TEST(who_is_gone_is_not_killed),
	        TEST(none_is_replaced_once_all_stop),
	        TEST(sessions_of_theirs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
