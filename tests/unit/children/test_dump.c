/* The process that shows all bytes: what it has, who is told of it, and its end. */
#include "fake_process.h"
#include "fake_workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/tapread.h"
#include "children/dump.h"
#include "os/proc.h"

#define WORKERS  2
#define PAUSE_MS 500

static struct dump dump;
static char folder[64], path[96];

int __wrap_tap_read(struct ring **rings, size_t n, int wake_fd, struct tap_view *v, int to,
                    const volatile sig_atomic_t *stop, uint64_t *lost);

/* Instead of its life. */
int __wrap_tap_read(struct ring **rings, size_t n, int wake_fd, struct tap_view *v, int to,
                    const volatile sig_atomic_t *stop, uint64_t *lost)
{
	find();
	if (n != WORKERS || !rings[0] || !rings[1] || rings[0] == rings[1] || *stop || !has_found(wake_fd) ||
	    write(to, "shown", 5) != 5)
		_exit(9);
	live_until_hangup(wake_fd);
}

static int setup(void **state)
{
	fixture_begin();
	fake_workers_begin();
	fake_process_reset();
	strcpy(folder, "/tmp/test-dump-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/out", folder);
	dump = (struct dump){.workers = &workers, .path = path, .fd = -1};
	return 0;
}

static int teardown(void **state)
{
	dump_wait(&dump);
	if (dump.fd >= 0)
		close(dump.fd);
	unlink(path);
	rmdir(folder);
	fake_process_reset();
	fake_workers_end();
	fixture_end();
	return 0;
}

static void start(void)
{
	fake_workers_serve(WORKERS);
	assert_true(dump_open(&dump));
	dump_start(&dump);
}

/* ---- where it writes to ---- */

static void test_a_file_of_its_own_is_made(void **state)
{
	assert_true(dump_open(&dump));
	assert_true(dump.fd >= 0);
	assert_int_equal(access(path, R_OK | W_OK), 0);
	assert_int_equal(write(dump.fd, "x", 1), 1);
}

static void test_without_a_path_it_is_our_stderr(void **state)
{
	dump.path = NULL;
	assert_true(dump_open(&dump));
	assert_true(dump.fd >= 3);
	assert_true(fcntl(dump.fd, F_GETFD) & FD_CLOEXEC);
}

static void test_what_cannot_be_written_to_is_said(void **state)
{
	snprintf(path, sizeof(path), "%s/missing/out", folder);
	assert_false(dump_open(&dump));
	assert_int_equal(logged("--dump: cannot write to /tmp/test-dump-"), 1);
	assert_int_equal(logged("No such file or directory"), 1);
	dump_start(&dump);
	assert_int_equal(forks, 0);
}

/* ---- its life ---- */

static void test_it_has_its_rings_and_nothing_else(void **state)
{
	char text[8] = "";
	int fd, status;

	fork_really = true;
	start();
	assert_int_equal(dump.fd, -1);
	for (uint32_t i = 0; i < WORKERS; i++)
		assert_string_equal(read_all(theirs[i]), "TAP+2");
	dump_lost(&dump); /* no end of a worker's is left: so it ends */
	status = await(-1);
	assert_int_equal(status, 0);
	assert_int_equal(found->n_fds, 1 + WORKERS + 1);
	assert_false(found->privileged);
	assert_true(found->leads_session);
	assert_string_equal(found->title, "tcpproxy: dump");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_string_equal(text, "shown");
	close(fd);
}

static void test_a_worker_that_begins_is_told(void **state)
{
	start();
	for (uint32_t i = 0; i < WORKERS; i++)
		read_all(theirs[i]);
	dump_tell(&dump, &workers.list[1]);
	assert_string_equal(read_all(theirs[0]), "");
	assert_string_equal(read_all(theirs[1]), "TAP+2");
	dump.n--;
	dump_tell(&dump, &workers.list[1]); /* it has no ring */
	assert_string_equal(read_all(theirs[1]), "");
	dump.n++;
}

static void test_before_there_are_workers_nobody_is_told(void **state)
{
	workers.n = WORKERS;
	assert_true(dump_open(&dump));
	dump_start(&dump);
	assert_int_equal(dump.pid, FAKE_PID);
	assert_int_equal(dump.n, 1 + WORKERS);
	workers.n = 0;
}

static void test_one_that_cannot_be_started_comes_later(void **state)
{
	unsigned fds;

	fake_workers_serve(WORKERS);
	assert_true(dump_open(&dump));
	fds = fds_open();
	fork_error = EAGAIN;
	dump_start(&dump);
	assert_int_equal(logged("the process for --dump cannot be started"), 1);
	assert_int_equal(dump.pid, 0);
	assert_int_equal(fds_open(), fds);
	dump_tell(&dump, &workers.list[0]);
	assert_string_equal(read_all(theirs[0]), "");
	fork_error = 0;
	pass(PAUSE_MS);
	assert_int_equal(dump.pid, FAKE_PID + 1);
	assert_string_equal(read_all(theirs[0]), "TAP+2");
	assert_string_equal(read_all(theirs[1]), "TAP+2");
}

/* ---- its end ---- */

static void test_its_death_is_said_and_it_does_not_come_again(void **state)
{
	start();
	read_all(theirs[0]);
	read_all(theirs[1]);
	dump_lost(&dump);
	assert_int_equal(logged("what --dump shows ends here"), 1);
	assert_int_equal(dump.pid, 0);
	fake_process_hangs_up();
	dump_start(&dump);
	pass(10 * PAUSE_MS);
	assert_int_equal(forks, 1);
	dump_tell(&dump, &workers.list[0]);
	assert_string_equal(read_all(theirs[0]), "");
}

static void test_when_all_stops_nothing_is_said(void **state)
{
	start();
	phase = PHASE_STOPPING;
	dump_lost(&dump);
	assert_int_equal(logged(""), 0);
}

static void test_its_end_is_waited_for(void **state)
{
	fork_really = true;
	start();
	read_all(theirs[0]);
	read_all(theirs[1]);
	dump_wait(&dump); /* fixture.c sees that nobody is left */
	assert_int_equal(dump.n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_file_of_its_own_is_made),
	        TEST(without_a_path_it_is_our_stderr),
	        TEST(what_cannot_be_written_to_is_said),
	        TEST(it_has_its_rings_and_nothing_else),
	        TEST(a_worker_that_begins_is_told),
	        TEST(before_there_are_workers_nobody_is_told),
	        TEST(one_that_cannot_be_started_comes_later),
	        TEST(its_death_is_said_and_it_does_not_come_again),
	        TEST(when_all_stops_nothing_is_said),
	        TEST(its_end_is_waited_for),
	};

	proc_title_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
