/* The spawner, as the supervisor sees it: born, given channels, heard, replaced, ended. */
#include "fake_process.h"
#include "fake_workers.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "children/spawner_child.h"
#include "ipc/saying.h"
#include "os/proc.h"
#include "os/sock.h"
#include "spawner/spawnd.h"

#define WORKERS    2
#define RESPAWN_MS 500

static struct spawner_child spawner;
static bool *born_right; /* shared with the child */

int __wrap_spawnd_run(const struct spawnd_setup *setup);

/* Instead of its life. */
int __wrap_spawnd_run(const struct spawnd_setup *s)
{
	find();
	*born_right = s->trios == workers.trios && s->n_trios == WORKERS && s->nofile.rlim_cur == 77 &&
	              s->umask == 027 && has_found(s->control_fd);
	return 7;
}

static int anew_times; /* other channels to the spawner are to be made, too */

static void anew(void *arg)
{
	anew_times++;
}

static int setup(void **state)
{
	if (!born_right)
		born_right = mmap(NULL, sizeof(*born_right), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fixture_begin();
	fake_workers_begin();
	fake_workers_serve(WORKERS);
	fake_process_reset();
	anew_times = 0;
	spawner = (struct spawner_child){.workers = &workers,
	                                 .old_fd = -1,
	                                 .nofile = {.rlim_cur = 77},
	                                 .umask = 027,
	                                 .child.control.fd = -1,
	                                 .anew = anew};
	spawner_child_init(&spawner);
	return 0;
}

static int teardown(void **state)
{
	if (spawner.child.control.fd >= 0)
		child_stop_hearing(&spawner.child);
	lastwords_close(&spawner.child.words);
	again_cancel(&spawner.child.again);
	free(spawner.stderrs);
	fake_process_reset();
	fake_workers_end();
	fixture_end();
	return 0;
}

static void start(void)
{
	assert_int_equal(spawner_child_start(&spawner), 0);
	assert_int_equal(spawner.child.pid, FAKE_PID);
	assert_string_equal(read_all(its_end), "RULES+1 CHANNEL+1 CHANNEL+1");
	for (uint32_t i = 0; i < WORKERS; i++)
		assert_string_equal(read_all(theirs[i]), "CHANNEL+1");
	turn();
}

/* ---- birth ---- */

static void test_it_is_born_with_its_socket_and_nothing_else(void **state)
{
	fork_really = true;
	assert_int_equal(spawner_child_start(&spawner), 0);
	assert_int_equal(WEXITSTATUS(await(spawner.child.pid)), 7);
	assert_true(*born_right);
	assert_int_equal(found->n_fds, 1);
	assert_true(found->null_in && found->null_out && found->pipe_err);
	assert_false(found->privileged);
	assert_string_equal(found->title, "tcpproxy: spawner");
}

/* A channel's two ends: the spawner knows whose it is. */
static void test_each_worker_has_a_channel_of_its_own(void **state)
{
	int fds[SOCK_MAX_FDS], ends[WORKERS];
	struct wire w;
	char c;
	size_t n;

	assert_int_equal(spawner_child_start(&spawner), 0);
	assert_true(read_one(its_end, &w, fds, &n));
	assert_int_equal(w.type, WIRE_RULES);
	assert_int_equal(w.generation, rules.generation);
	close(fds[0]);
	for (uint32_t i = 0; i < WORKERS; i++) {
		assert_true(read_one(its_end, &w, &ends[i], &n));
		assert_int_equal(w.type, WIRE_CHANNEL);
		assert_int_equal(w.trio, i);
	}
	for (uint32_t i = 0; i < WORKERS; i++) {
		assert_true(read_one(theirs[i], &w, fds, &n));
		assert_int_equal(w.type, WIRE_CHANNEL);
		assert_int_equal(sock_send(fds[0], &(char){'0' + (char)i}, 1, 0), 1);
		assert_int_equal(sock_recv(ends[i], &c, 1, 0), 1);
		assert_int_equal(c, '0' + i);
		close(fds[0]);
		close(ends[i]);
	}
	assert_int_equal(anew_times, 1);
}

static void test_where_it_runs_only_the_channels_are_made_anew(void **state)
{
	start();
	assert_int_equal(spawner_child_start(&spawner), 0);
	assert_string_equal(read_all(its_end), "CHANNEL+1 CHANNEL+1");
	assert_string_equal(read_all(theirs[0]), "CHANNEL+1");
	assert_string_equal(read_all(theirs[1]), "CHANNEL+1");
	assert_int_equal(forks, 1);
}

static void test_where_there_are_no_processes_it_comes_later(void **state)
{
	fork_error = EAGAIN;
	assert_int_equal(spawner_child_start(&spawner), -EAGAIN);
	spawner_child_start_late(&spawner);
	assert_int_equal(logged("the spawner cannot be started"), 1);
	assert_string_equal(read_all(theirs[0]), "");
	fork_error = 0;
	pass(RESPAWN_MS);
	assert_string_equal(read_all(its_end), "RULES+1 CHANNEL+1 CHANNEL+1");
	assert_string_equal(read_all(theirs[0]), "CHANNEL+1");
}

/* There is no second process for that. */
static void test_where_a_channel_is_missing_it_comes_later(void **state)
{
	pairs_left = 2; /* its own, and that of the first channel */
	assert_int_equal(spawner_child_start(&spawner), -EMFILE);
	pairs_left = -1;
	assert_int_equal(forks, 1);
	assert_string_equal(read_all(theirs[1]), "");
	spawner_child_start_late(&spawner);
	assert_int_equal(forks, 1);
	assert_string_equal(read_all(theirs[1]), "CHANNEL+1");
	read_all(theirs[0]);
	read_all(its_end);
}

static void test_new_rules_are_told_while_it_is_there(void **state)
{
	start();
	rules.generation++;
	spawner_child_tell_rules(&spawner);
	assert_string_equal(read_all(its_end), "RULES+1");
	spawner_child_died(&spawner, 0);
	spawner_child_tell_rules(&spawner);
}

/* ---- what it says ---- */

static void say_line(int to, uint32_t type, uint32_t level, uint32_t lost, const char *text, const int *fds,
                     size_t n_fds)
{
	struct said m = {.wire = {.type = type, .n = lost}, .line.level = level};
	size_t len = strlen(text);

	memcpy(m.line.text, text, len);
	assert_int_equal(sock_send_message(to, &m, SAYING_HEAD + len, fds, n_fds), 0);
	turn();
}

static void test_its_lines_are_logged(void **state)
{
	start();
	say_line(its_end, WIRE_LINE, LOG_LEVEL_WARNING, 0, "one", NULL, 0);
	say_line(its_end, WIRE_LINE, UINT32_MAX, 0, "two", NULL, 0);
	assert_int_equal(written("warning one"), 1);
	assert_int_equal(written("error two"), 1);
	assert_int_equal(logged("are lost"), 0);
}

static void test_lines_that_it_has_lost_are_counted(void **state)
{
	start();
	say_line(its_end, WIRE_LINE, LOG_LEVEL_INFO, 7, "after them", NULL, 0);
	say_line(its_end, WIRE_LINE, LOG_LEVEL_INFO, 2, "", NULL, 0); /* that, and nothing else */
	assert_int_equal(logged("spawner: 7 log lines are lost"), 1);
	assert_int_equal(logged("spawner: 2 log lines are lost"), 1);
	assert_int_equal(atomic_load(&workers.world->totals.lines_lost), 9);
	assert_int_equal(written(""), 1);
}

static void test_what_is_too_short_or_too_long_is_nothing(void **state)
{
	static struct said m = {.wire = {.type = WIRE_LINE, .n = 3}};

	start();
	memset(m.line.text, 'x', sizeof(m.line.text));
	for (size_t len = 1; len < SAYING_HEAD; len += 7)
		assert_int_equal(sock_send_message(its_end, &m, len, NULL, 0), 0);
	assert_int_equal(sock_send_message(its_end, &m, SAYING_HEAD - 1, NULL, 0), 0);
	assert_int_equal(sock_send_message(its_end, &m, sizeof(m), NULL, 0), 0);
	turn();
	assert_int_equal(written(""), 0);
	assert_int_equal(logged(""), 0);
	assert_true(spawner.child.control.fd >= 0);
}

static void test_descriptors_that_are_not_wanted_are_closed(void **state)
{
	int list[2] = {any_fd(), any_fd()};
	unsigned fds;

	start();
	fds = fds_open();
	say_line(its_end, WIRE_LINE, LOG_LEVEL_INFO, 0, "a line", list, 1);
	say_line(its_end, WIRE_COMMAND, LOG_LEVEL_INFO, 0, "for somebody else", list, 1);
	say_line(its_end, WIRE_STDERR, LOG_LEVEL_INFO, 0, "none", NULL, 0);
	assert_int_equal(sock_send_message(its_end, "short", 5, list, 2), 0);
	turn();
	assert_int_equal(fds_open(), fds);
	assert_int_equal(written(""), 1);
	close(list[0]);
	close(list[1]);
}

/* It has the other copy. */
static void test_what_its_programs_say_is_heard_when_it_is_dead(void **state)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	start();
	say_line(its_end, WIRE_STDERR, LOG_LEVEL_INFO, 0, "handler /x", ends, 1);
	close(ends[0]);
	assert_int_equal(write(ends[1], "alas\n", 5), 5);
	turn();
	assert_int_equal(logged("alas"), 0);
	fake_process_hangs_up();
	turn();
	assert_int_equal(logged("handler /x: alas"), 1);
	close(ends[1]);
	turn();
}

static void test_its_last_word_is_heard(void **state)
{
	struct said m = {.wire.type = WIRE_LINE, .line.text = "x"};

	start();
	assert_int_equal(sock_send_message(its_end, &m, SAYING_HEAD + 1, NULL, 0), 0);
	assert_true(spawner_child_hear(&spawner));
	assert_int_equal(written("error x"), 1);
	assert_int_equal(sock_send_message(its_end, &m, SAYING_HEAD + 1, NULL, 0), 0);
	fake_process_hangs_up();
	assert_false(spawner_child_hear(&spawner));
	assert_int_equal(written("error x"), 2);
}

/* ---- the one before it ---- */

static void test_the_one_of_the_program_before_us_may_still_speak(void **state)
{
	int pair[2];
	struct pollfd p;

	assert_int_equal(sock_message_pair(pair), 0);
	spawner.old_fd = pair[0];
	spawner_child_hear_old(&spawner);
	p = (struct pollfd){.fd = pair[1], .events = POLLIN};
	assert_int_equal(poll(&p, 1, 0), 1); /* it sees that we are gone */
	say_line(pair[1], WIRE_LINE, LOG_LEVEL_INFO, 0, "still here", NULL, 0);
	assert_int_equal(written("still here"), 1);
	assert_true(fd_is_open(pair[0]));
	close(pair[1]);
	turn();
	assert_false(fd_is_open(pair[0]));
	assert_int_equal(spawner.child.pid, 0);
	spawner.old_fd = -1;
	spawner_child_hear_old(&spawner); /* there is none */
}

/* ---- its end ---- */

static void test_one_that_dies_is_replaced(void **state)
{
	start();
	fake_process_hangs_up();
	turn();
	assert_int_equal(forks, 1);
	spawner_child_died(&spawner, 9);
	assert_int_equal(logged("the spawner was killed by signal 9 and is replaced"), 1);
	assert_int_equal(spawner.child.pid, 0);
	pass(RESPAWN_MS - 1);
	assert_int_equal(forks, 1);
	pass(1);
	assert_int_equal(forks, 2);
	assert_int_equal(spawner.child.pid, FAKE_PID + 1);
	assert_string_equal(read_all(its_end), "RULES+1 CHANNEL+1 CHANNEL+1");
	assert_string_equal(read_all(theirs[1]), "CHANNEL+1");
	read_all(theirs[0]);
}

static void test_when_all_stops_it_is_not_replaced(void **state)
{
	start();
	phase = PHASE_STOPPING;
	spawner_child_died(&spawner, 0);
	pass(10 * RESPAWN_MS);
	assert_int_equal(forks, 1);
	assert_int_equal(logged(""), 0);
	assert_int_equal(spawner.child.control.fd, -1);
}

static void test_it_is_told_to_stop_or_killed(void **state)
{
	spawner_child_kill(&spawner);
	assert_int_equal(kills, 0); /* there is none */
	start();
	spawner_child_stop(&spawner);
	assert_string_equal(read_all(its_end), "STOP");
	spawner_child_kill(&spawner);
	assert_int_equal(kills, 1);
	assert_int_equal(last_killed, FAKE_PID);
	assert_int_equal(last_signal, SIGKILL);
	phase = PHASE_STOPPING;
	spawner_child_died(&spawner, 9);
	spawner_child_stop(&spawner);
	spawner_child_kill(&spawner);
	assert_int_equal(kills, 1);
}

static void test_one_that_has_just_died_is_started_once_more_to_end_its_programs(void **state)
{
	spawner_child_revive(&spawner);
	assert_int_equal(forks, 0); /* there never was one */
	start();
	spawner_child_revive(&spawner);
	assert_int_equal(forks, 1); /* it is there */
	assert_string_equal(read_all(its_end), "");
	spawner_child_died(&spawner, 9);
	spawner_child_revive(&spawner);
	assert_int_equal(forks, 2);
	assert_false(again_is_pending(&spawner.child.again));
	read_all(its_end);
	for (uint32_t i = 0; i < WORKERS; i++)
		read_all(theirs[i]);
}

static void test_where_that_fails_it_is_said_and_not_tried_again(void **state)
{
	start();
	spawner_child_died(&spawner, 9);
	fork_error = EAGAIN;
	spawner_child_revive(&spawner);
	assert_int_equal(logged("stopping without a spawner"), 1);
	pass(10 * RESPAWN_MS);
	assert_int_equal(forks, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_is_born_with_its_socket_and_nothing_else),
	        TEST(each_worker_has_a_channel_of_its_own),
	        TEST(where_it_runs_only_the_channels_are_made_anew),
	        TEST(where_there_are_no_processes_it_comes_later),
	        TEST(where_a_channel_is_missing_it_comes_later),
	        TEST(new_rules_are_told_while_it_is_there),
	        TEST(its_lines_are_logged),
	        TEST(lines_that_it_has_lost_are_counted),
	        TEST(what_is_too_short_or_too_long_is_nothing),
	        TEST(descriptors_that_are_not_wanted_are_closed),
	        TEST(what_its_programs_say_is_heard_when_it_is_dead),
	        TEST(its_last_word_is_heard),
	        TEST(the_one_of_the_program_before_us_may_still_speak),
	        TEST(one_that_dies_is_replaced),
	        TEST(when_all_stops_it_is_not_replaced),
	        TEST(it_is_told_to_stop_or_killed),
	        TEST(one_that_has_just_died_is_started_once_more_to_end_its_programs),
	        TEST(where_that_fails_it_is_said_and_not_tried_again),
	};

	proc_title_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
