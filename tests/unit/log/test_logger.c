/* Where lines go, and what happens to them when a file or pipe is full, dead, moved or replaced. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <jansson.h>

#include "logger_fixture.h"

static struct log_target to_file(char *path)
{
	return (struct log_target){.kind = LOG_TO_FILE, .path = path};
}

static const char *content(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *text;

	assert_true(fd >= 0);
	text = read_now(fd);
	close(fd);
	return text;
}

static void drain(int fd)
{
	while (*read_now(fd))
		;
}

/* ---- files ---- */

static void test_file(void **state)
{
	struct logger *l = logger_to(to_file(file_path));
	struct stat st;

	say(l, "no route to db");
	assert_string_equal(content(file_path), TIME " error no route to db\n");
	logger_line(l, LOG_LEVEL_INFO, "a\nb", WALL_US);
	say_record(l);
	assert_string_equal(content(file_path), TIME " error no route to db\n" TIME " info a?b\n" TIME " " RECORD "\n");
	stat(file_path, &st);
	assert_int_equal(st.st_mode & 0777, 0640);
	logger_free(l);
	l = logger_to(to_file(file_path)); /* appends */
	say(l, "again");
	assert_contains(content(file_path), "why=acp\n" TIME " error again\n");
	logger_free(l);
}

/* Lines of a program's stderr come here, too, by way of the spawner. */
static void test_a_line_moves_no_cursor(void **state)
{
	static char line[2100];
	struct logger *l = logger_to(to_file(file_path));

	say(l, "a\302\2332Jb\302\205c\342\200\250d\377e\303\244");
	assert_string_equal(content(file_path), TIME " error a?2Jb?c?d?e\303\244\n");
	unlink(file_path);
	logger_reopen(l);
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line + 2046, "\303\244", 2); /* not cut within it */
	say(l, line);
	assert_contains(content(file_path), "x\n");
	logger_free(l);
}

static void test_file_json(void **state)
{
	struct log_target t = to_file(file_path);
	struct logger *l;
	json_t *o;

	t.json = true;
	l = logger_to(t);
	say(l, "no \"route\"");
	o = json_loads(content(file_path), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(o, "message")), "no \"route\"");
	json_decref(o);
	unlink(file_path);
	logger_reopen(l);
	say_record(l);
	o = json_loads(content(file_path), 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(o, "id")), 17);
	json_decref(o);
	logger_free(l);
}

static void test_long_lines_are_bounded(void **state)
{
	struct logger *l = logger_to(to_file(file_path));
	static char line[10000];

	memset(line, 'x', sizeof(line) - 1);
	say(l, line);
	say(l, "next");
	assert_in_range(strlen(content(file_path)), 2000, 2200);
	assert_contains(content(file_path), "x\n" TIME " error next\n");
	logger_free(l);
}

static void test_moved_and_reopened(void **state)
{
	struct logger *l = logger_to(to_file(file_path));
	int fds = open_fds();

	say(l, "one");
	assert_int_equal(rename(file_path, other_path), 0);
	say(l, "two");
	logger_reopen(l);
	say(l, "three");
	assert_string_equal(content(other_path), TIME " error one\n" TIME " error two\n");
	assert_string_equal(content(file_path), TIME " error three\n");
	assert_int_equal(open_fds(), fds);
	logger_free(l);
	assert_int_equal(open_fds(), fds - 1);
}

static int refuse(void *arg, const char *path)
{
	return *(const int *)arg ? *(const int *)arg : logger_open_file(NULL, path);
}

static void test_reopen_that_fails_keeps_the_file(void **state)
{
	int result = 0;
	struct logger *l;

	world.open_file = refuse;
	world.arg = &result;
	l = logger_to(to_file(file_path));
	result = -EACCES;
	logger_reopen(l);
	say(l, "still here");
	assert_contains(content(file_path), "log cannot be opened for writing: Permission denied");
	assert_contains(content(file_path), "error still here\n");
	logger_free(l);
}

static void test_a_file_that_cannot_be_opened(void **state)
{
	char path[] = "/nowhere/log";
	struct log_target t[] = {to_file(file_path), to_file(path)};
	int fds = open_fds();

	assert_null(logger_new(t, 2, &world, &error));
	assert_string_equal(error.s, "the log file /nowhere/log cannot be opened for writing: "
	                             "No such file or directory");
	assert_int_equal(open_fds(), fds);
}

static void test_full_disk(void **state)
{
	char full[] = "/dev/full";
	struct log_target t[] = {to_file(full), to_file(file_path)};
	struct logger *l = new_logger(t, 2);

	say(l, "one");
	say(l, "two"); /* the other target is not stopped by the first */
	assert_string_equal(content(file_path), TIME " error one\n" TIME " error two\n");
	logger_free(l);
}

static int open_full_first(void *arg, const char *path)
{
	int *calls = arg;

	return (*calls)++ == 0 ? open("/dev/full", O_WRONLY | O_CLOEXEC) : logger_open_file(NULL, path);
}

static void test_says_how_many_were_lost(void **state)
{
	int calls = 0;
	struct logger *l;

	world.open_file = open_full_first;
	world.arg = &calls;
	l = logger_to(to_file(file_path));
	say(l, "one");
	say_record(l);
	say(l, "three");
	logger_reopen(l);
	say(l, "four");
	say(l, "five");
	assert_string_equal(content(file_path),
	                    TIME " warning lines of this log that could not be written and are lost: 3 "
	                         "(No space left on device)\n" TIME " error four\n" TIME " error five\n");
	logger_free(l);
}

/* A file that may grow by a part of a line only, as on a disk that fills up. */
static void test_torn_line_is_ended(void **state)
{
	struct logger *l = logger_to(to_file(file_path));
	struct rlimit whole, small;

	getrlimit(RLIMIT_FSIZE, &whole);
	small = (struct rlimit){.rlim_cur = 40, .rlim_max = whole.rlim_max};
	setrlimit(RLIMIT_FSIZE, &small);
	say(l, "this line does not fit");
	say(l, "nor this one");
	setrlimit(RLIMIT_FSIZE, &whole);
	say(l, "this one does");
	assert_string_equal(content(file_path), TIME
	                    " error this\n" TIME " warning lines of this log that could not be written and are lost: 2 "
	                    "(File too large)\n" TIME " error this one does\n");
	logger_free(l);
}

/* ---- FIFOs ---- */

static void test_fifo_nobody_reads(void **state)
{
	struct logger *l;
	int reader, n = 0;
	const char *text;

	assert_int_equal(mkfifo(file_path, 0600), 0);
	alarm(20); /* a write that waits would wait for ever */
	l = logger_to(to_file(file_path));
	for (n = 0; n < 5000; n++)
		say(l, "a line that is long enough to fill the pipe in a while");
	reader = open(file_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	text = read_now(reader); /* what was written before anyone read is not lost */
	assert_int_equal(strncmp(text, TIME " error a line", strlen(TIME) + 13), 0);
	assert_int_equal(text[strlen(text) - 1], '\n');
	say(l, "after");
	text = read_now(reader);
	assert_contains(text, "are lost: ");
	assert_contains(text, "(its reader did not take them in time)\n" TIME " error after\n");
	close(reader);
	alarm(0);
	logger_free(l);
}

static void test_fifo_reader_goes_and_comes_back(void **state)
{
	struct logger *l;
	int reader;

	assert_int_equal(mkfifo(file_path, 0600), 0);
	reader = open(file_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	l = logger_to(to_file(file_path));
	say(l, "one");
	assert_string_equal(read_now(reader), TIME " error one\n");
	close(reader);
	say(l, "two");
	reader = open(file_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	say(l, "three");
	assert_string_equal(read_now(reader),
	                    TIME " warning lines of this log that could not be written and are lost: 1 "
	                         "(nobody read it)\n" TIME " error three\n");
	close(reader);
	logger_free(l);
}

/* ---- stderr ---- */

/* Descriptor 2 becomes fd until it is restored. */
static int saved_stderr = -1;

static void redirect_stderr(int fd)
{
	saved_stderr = fcntl(2, F_DUPFD_CLOEXEC, 100);
	assert_int_equal(dup2(fd, 2), 2);
}

static void restore_stderr(void)
{
	dup2(saved_stderr, 2);
	close(saved_stderr);
}

static const struct log_target to_stderr = {.kind = LOG_TO_STDERR};

static void test_stderr_file(void **state)
{
	int fd = open(file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct logger *l;

	redirect_stderr(fd);
	l = logger_to(to_stderr);
	say(l, "no\nroute");
	say_record(l);
	logger_free(l);
	assert_true(fcntl(2, F_GETFD) >= 0); /* not ours to close */
	restore_stderr();
	close(fd);
	assert_string_equal(content(file_path), "tcpproxy: no?route\n" TIME " " RECORD "\n");
}

/* Into a pipe that nobody reads for a while: the logger must not wait, and goes on when somebody does. euid: of the one who
 * opens it. */
static void write_to_a_full_pipe(int fds[2], uid_t euid)
{
	struct logger *l;

	redirect_stderr(fds[1]);
	alarm(20);
	assert_int_equal(seteuid(euid), 0);
	l = logger_to(to_stderr);
	assert_int_equal(seteuid(getuid()), 0);
	for (int n = 0; n < 5000; n++)
		say(l, "a line that is long enough to fill the pipe in a while");
	assert_false(fcntl(2, F_GETFL) & O_NONBLOCK); /* our starter shares it */
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	drain(fds[0]);
	say(l, "after");
	alarm(0);
	logger_free(l);
	restore_stderr();
}

static void test_stderr_pipe_nobody_reads(void **state)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	write_to_a_full_pipe(fds, geteuid());
	assert_contains(read_now(fds[0]), "in time)\ntcpproxy: after\n");
	close(fds[0]);
	close(fds[1]);
}

/* The same without the right to open the pipe a second time (as after root was given up). */
static void test_stderr_pipe_not_ours(void **state)
{
	int fds[2];

	if (getuid() != 0)
		skip();
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(fchmod(fds[1], 0), 0);
	write_to_a_full_pipe(fds, 65534);
	assert_contains(read_now(fds[0]), "tcpproxy: after\n");
	close(fds[0]);
	close(fds[1]);
}

static void test_stderr_socket(void **state)
{
	int fds[2], n;
	struct logger *l;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	redirect_stderr(fds[1]);
	alarm(20);
	l = logger_to(to_stderr);
	say(l, "one");
	for (n = 0; n < 5000; n++)
		say(l, "a line that is long enough to fill the socket in a while");
	assert_false(fcntl(2, F_GETFL) & O_NONBLOCK);
	alarm(0);
	assert_int_equal(strncmp(read_now(fds[0]), "tcpproxy: one\n", 14), 0);
	close(fds[0]);
	say(l, "to nobody"); /* no SIGPIPE kills us, even where it is not ignored */
	logger_free(l);
	restore_stderr();
	close(fds[1]);
}

static void test_stderr_closed(void **state)
{
	struct log_target t[] = {to_stderr, to_file(file_path)};
	struct logger *l;

	redirect_stderr(2);
	close(2);
	l = new_logger(t, 2);
	say(l, "heard elsewhere");
	logger_free(l);
	restore_stderr();
	assert_string_equal(content(file_path), TIME " error heard elsewhere\n");
}

static void stderr_with_journal_stream(int wrong_by, const char *expected)
{
	int fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;
	char name[64];
	struct logger *l;

	fstat(fd, &st);
	snprintf(name, sizeof(name), "%lu:%lu", (unsigned long)st.st_dev,
	         (unsigned long)st.st_ino + (unsigned long)wrong_by);
	setenv("JOURNAL_STREAM", name, 1);
	redirect_stderr(fd);
	l = logger_to(to_stderr);
	say(l, "bad");
	logger_line(l, LOG_LEVEL_INFO, "good", WALL_US);
	logger_free(l);
	restore_stderr();
	close(fd);
	assert_string_equal(content(file_path), expected);
}

static void test_stderr_under_journald(void **state)
{
	stderr_with_journal_stream(0, "<3>tcpproxy: bad\n<6>tcpproxy: good\n");
	stderr_with_journal_stream(1, "tcpproxy: bad\ntcpproxy: good\n");
}

/* ---- several targets, reload ---- */

static void test_reload_replaces_targets(void **state)
{
	struct log_target old[] = {to_file(file_path), to_file(other_path)};
	struct log_target new[] = {to_syslog, to_file(file_path)};
	int sock = serve(SOCK_DGRAM), fds = open_fds();
	struct logger *l = new_logger(old, 2);

	say(l, "one");
	rename(file_path, other_path); /* the file that stays is not opened anew */
	assert_true(logger_reconfigure(l, new, 2, &error));
	say(l, "two");
	assert_contains(read_now(sock), ": two");
	assert_string_equal(content(other_path), TIME " error one\n" TIME " error two\n");
	assert_int_equal(open_fds(), fds + 2); /* the file, the connection to syslog */
	assert_true(logger_reconfigure(l, NULL, 0, &error));
	say(l, "to nobody");
	logger_free(l);
	assert_int_equal(open_fds(), fds);
	close(sock);
}

static void test_reload_that_fails_changes_nothing(void **state)
{
	char path[] = "/nowhere/log";
	struct log_target new[] = {to_file(file_path), to_file(other_path), to_file(path)};
	struct logger *l = logger_to(to_file(file_path));
	int fds = open_fds();

	assert_false(logger_reconfigure(l, new, 3, &error));
	assert_contains(error.s, "/nowhere/log");
	assert_int_equal(open_fds(), fds);
	say(l, "still here");
	assert_string_equal(content(file_path), TIME " error still here\n");
	assert_string_equal(content(other_path), "");
	assert_true(logger_reconfigure(l, new, 2, &error)); /* nothing is left marked */
	assert_int_equal(open_fds(), fds + 1);
	say(l, "both");
	assert_string_equal(content(other_path), TIME " error both\n");
	logger_free(l);
}

static void test_as_sink(void **state)
{
	struct logger *l = logger_to(to_file(file_path));

	log_set_sink(logger_sink, l);
	log_warning("port %d is in use", 25);
	log_set_sink(NULL, NULL);
	assert_contains(content(file_path), " warning port 25 is in use\n");
	logger_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        LOGGER_TEST(test_file),
	        LOGGER_TEST(test_a_line_moves_no_cursor),
	        LOGGER_TEST(test_file_json),
	        LOGGER_TEST(test_long_lines_are_bounded),
	        LOGGER_TEST(test_moved_and_reopened),
	        LOGGER_TEST(test_reopen_that_fails_keeps_the_file),
	        LOGGER_TEST(test_a_file_that_cannot_be_opened),
	        LOGGER_TEST(test_full_disk),
	        LOGGER_TEST(test_says_how_many_were_lost),
	        LOGGER_TEST(test_torn_line_is_ended),
	        LOGGER_TEST(test_fifo_nobody_reads),
	        LOGGER_TEST(test_fifo_reader_goes_and_comes_back),
	        LOGGER_TEST(test_stderr_file),
	        LOGGER_TEST(test_stderr_pipe_nobody_reads),
	        LOGGER_TEST(test_stderr_pipe_not_ours),
	        LOGGER_TEST(test_stderr_socket),
	        LOGGER_TEST(test_stderr_closed),
	        LOGGER_TEST(test_stderr_under_journald),
	        LOGGER_TEST(test_reload_replaces_targets),
	        LOGGER_TEST(test_reload_that_fails_changes_nothing),
	        LOGGER_TEST(test_as_sink),
	};

	return cmocka_run_group_tests(tests, summer, NULL);
}
