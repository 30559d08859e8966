/* A program that is tried reads files through us: which, and that it can do nothing else with them. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files/wire.h"
#include "os/sock.h"
#include "restart/trial_files.h"

static struct trial_files trial;
static int program; /* its end */
static char folder[] = "/tmp/test-trial-files-XXXXXX", path[64], pattern[64];

static void make(const char *name, const char *content)
{
	char whole[64];
	int fd;

	snprintf(whole, sizeof(whole), "%s/%s", folder, name);
	fd = open(whole, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
}

static int setup(void **state)
{
	fixture_setup(state);
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/a.conf", folder);
	snprintf(pattern, sizeof(pattern), "%s/*.conf", folder);
	make("a.conf", "port 1\n");
	make("b.conf", "port 2\n");
	trial = (struct trial_files){.loop = &loop, .files = &files, .watch.fd = -1};
	program = trial_files_start(&trial);
	assert_true(program >= 0);
	return 0;
}

static int teardown(void **state)
{
	trial_files_stop(&trial);
	trial_files_stop(&trial); /* it takes one that is stopped */
	if (program >= 0)
		close(program);
	for (const char *name = "ab"; *name; name++) {
		snprintf(path, sizeof(path), "%s/%c.conf", folder, *name);
		unlink(path);
	}
	assert_int_equal(rmdir(folder), 0); /* nothing was added */
	return fixture_teardown(state);
}

static void send_question(uint32_t verb, const char *name)
{
	struct files_question q = {.version = FILES_VERSION, .verb = verb, .serial = 7};

	snprintf(q.path, sizeof(q.path), "%s", name);
	assert_int_equal(
	        sock_send_message(program, &q, offsetof(struct files_question, path) + strlen(name) + 1, NULL, 0), 0);
}

/* The answer, or -EAGAIN: there is none. */
static int take_answer(struct files_answer *a, int *fd)
{
	size_t n = 1;
	int len = sock_recv_message(program, a, sizeof(*a), fd, &n);

	if (n == 0 || len < 0)
		*fd = -1;
	return len;
}

/* A descriptor, or what the answer says. */
static int ask(uint32_t verb, const char *name)
{
	struct files_answer a;
	int fd;

	send_question(verb, name);
	fixture_turn();
	assert_int_equal(take_answer(&a, &fd), sizeof(a));
	assert_int_equal(a.serial, 7);
	return fd >= 0 ? fd : a.result;
}

static size_t read_from(int fd, char *to, size_t room)
{
	ssize_t n = read(fd, to, room - 1);

	assert_true(n >= 0);
	to[n] = '\0';
	return (size_t)n;
}

static void test_it_is_told_what_a_file_says(void **state)
{
	char content[32];
	int fd = ask(FILES_READ, path);

	assert_true(fd >= 0);
	read_from(fd, content, sizeof(content));
	assert_string_equal(content, "port 1\n");
	close(fd);
}

/* Neither the file nor the copy, by whichever way. */
static void test_it_cannot_write_there(void **state)
{
	int fd = ask(FILES_READ, path);

	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_true((fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE) != 0);
	close(fd);
}

static void test_it_is_told_which_paths_match(void **state)
{
	char names[200], expected[200];
	size_t len;
	int fd = ask(FILES_LIST, pattern);

	len = read_from(fd, names, sizeof(names));
	close(fd);
	snprintf(expected, sizeof(expected), "%s/a.conf", folder);
	assert_string_equal(names, expected);
	expected[strlen(folder) + 1] = 'b';
	assert_string_equal(names + strlen(names) + 1, expected);
	assert_int_equal(len, 2 * (strlen(expected) + 1));
	fd = ask(FILES_LIST, "/nonexistent/*");
	assert_int_equal(read_from(fd, names, sizeof(names)), 0);
	close(fd);
}

static void test_it_changes_nothing(void **state)
{
	struct stat st;

	for (uint32_t verb = FILES_APPEND; verb <= FILES_COMMIT; verb++)
		if (verb != FILES_LIST)
			assert_int_equal(ask(verb, path), -EPERM);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, strlen("port 1\n"));
}

static void test_what_is_not_there_or_not_for_us(void **state)
{
	assert_int_equal(ask(FILES_READ, "/nonexistent"), -ENOENT);
	assert_int_equal(ask(FILES_READ, folder), -EIO);
	assert_int_equal(chmod(folder, 0700), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	else
		assert_int_equal(chmod(folder, 0), 0);
	assert_int_equal(ask(FILES_READ, path), -EACCES);
	assert_int_equal(seteuid(getuid()), 0);
	assert_int_equal(chmod(folder, 0700), 0);
}

static void test_what_is_no_question(void **state)
{
	struct files_answer a;
	int fd;

	send_question(FILES_COMMIT + 1, path);
	assert_int_equal(sock_send_message(program, "rubbish", 7, NULL, 0), 0);
	fixture_turn();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(take_answer(&a, &fd), sizeof(a.result));
		assert_int_equal(a.result, -EPROTO);
	}
	assert_int_equal(ask(FILES_APPEND, path), -EPERM); /* it goes on */
}

/* Others have their turn. */
static void test_one_that_asks_much_is_answered_in_parts(void **state)
{
	struct files_answer a;
	int fd, n = 0;

	for (int i = 0; i < 20; i++)
		send_question(FILES_APPEND, path);
	fixture_turn();
	while (take_answer(&a, &fd) == sizeof(a))
		n++;
	assert_int_equal(n, 16);
	fixture_turn();
	while (take_answer(&a, &fd) == sizeof(a))
		n++;
	assert_int_equal(n, 20);
}

static void test_one_that_takes_no_answer_keeps_nobody(void **state)
{
	for (int i = 0; i < 1000; i++) {
		send_question(FILES_READ, path);
		fixture_turn();
	}
	close(program);
	program = -1;
	fixture_turn();
	assert_false(fixture_is_open(trial.watch.fd));
}

static void test_one_that_hangs_up(void **state)
{
	close(program);
	program = -1;
	fixture_turn();
	assert_null(trial.watch.fn);
	assert_int_equal(trial.watch.fd, -1);
}

static void test_one_that_is_not_started_can_be_stopped(void **state)
{
	struct trial_files none = {.loop = &loop, .watch.fd = -1};

	trial_files_stop(&none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_is_told_what_a_file_says),
	        TEST(it_cannot_write_there),
	        TEST(it_is_told_which_paths_match),
	        TEST(it_changes_nothing),
	        TEST(what_is_not_there_or_not_for_us),
	        TEST(what_is_no_question),
	        TEST(one_that_asks_much_is_answered_in_parts),
	        TEST(one_that_takes_no_answer_keeps_nobody),
	        TEST(one_that_hangs_up),
	        TEST(one_that_is_not_started_can_be_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
