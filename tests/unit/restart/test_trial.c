/* A program is tried before anything is risked for it: what it may do, and what comes of it. The programs are this one, executed
 * with the name of a part to play. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files/wire.h"
#include "os/sock.h"
#include "os/spawn.h"
#include "restart/inherit.h"
#include "restart/trial.h"

#define SELF "/proc/self/exe"

/* ---- the programs ---- */

static bool is_check; /* else a rehearsal */

static void accept_all(void)
{
	fprintf(stderr, "%s\n", is_check ? "checked" : "rehearsed");
	if (is_check)
		puts("port 1");
	else
		trial_passed();
}

static void say_no(void)
{
	fputs("line 3: no such directive\n", stderr);
	exit(1);
}

static void die(void)
{
	raise(SIGKILL);
}

static void hang(void)
{
	pause();
}

static void hang_in_rehearsal(void)
{
	if (!is_check)
		hang();
	accept_all();
}

static void be_another(void)
{
	puts("hello");
}

static void end_in_rehearsal(void)
{
	if (is_check)
		accept_all();
}

static void fail_in_rehearsal(void)
{
	if (!is_check)
		exit(3);
	accept_all();
}

static void say_more_than_ready(void)
{
	if (!is_check)
		puts("ready to serve\nor not");
	else
		accept_all();
}

static void talk(void)
{
	char line[1000];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (int i = 0; i < 2000; i++) {
		puts(line);
		fprintf(stderr, "%s\n", line);
	}
	accept_all();
}

/* As yes(1) does; for so long that the test can be seen to fail. */
static void talk_for_ever(void)
{
	static char line[1 << 20];

	for (int i = 0; i < 70; i++)
		if (write(1, line, sizeof(line)) < 0)
			break;
}

/* Its child holds its stderr. */
static void leave_one_behind(void)
{
	if (fork() == 0) {
		alarm(2 * FIXTURE_PATIENCE_MS / 1000);
		for (;;)
			pause();
	}
	accept_all();
}

/* The helper for files is stdin, and is said to be; nothing else of ours goes along. */
static void look_around(void)
{
	const char *helper = getenv(INHERIT_TRIAL_VARIABLE);
	struct stat st;

	for (int fd = 3; fd < 256; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			exit(4);
	if (!helper || strcmp(helper, "0") != 0 || fstat(0, &st) < 0 || !S_ISSOCK(st.st_mode))
		exit(5);
	if (is_check != !getenv("TCPPROXY_REHEARSAL"))
		exit(6);
	accept_all();
}

/* A private configuration comes from who tries us. */
static void ask_for_a_file(void)
{
	struct files_question q = {.version = FILES_VERSION, .verb = FILES_READ, .path = "/proc/self/comm"};
	struct files_answer a = {.result = -1};
	size_t n = 1;
	int fd, len;

	sock_send_message(0, &q, offsetof(struct files_question, path) + strlen(q.path) + 1, NULL, 0);
	poll(&(struct pollfd){.fd = 0, .events = POLLIN}, 1, -1);
	len = sock_recv_message(0, &a, sizeof(a), &fd, &n);
	if (len != sizeof(a) || a.result != 0 || n != 1)
		exit(4);
	accept_all();
}

static const struct {
	const char *name;
	void (*play)(void);
} parts[] = {
        {"accept_all", accept_all},
        {"say_no", say_no},
        {"die", die},
        {"hang", hang},
        {"hang_in_rehearsal", hang_in_rehearsal},
        {"be_another", be_another},
        {"end_in_rehearsal", end_in_rehearsal},
        {"fail_in_rehearsal", fail_in_rehearsal},
        {"say_more_than_ready", say_more_than_ready},
        {"talk", talk},
        {"talk_for_ever", talk_for_ever},
        {"leave_one_behind", leave_one_behind},
        {"look_around", look_around},
        {"ask_for_a_file", ask_for_a_file},
};

static int play(const char *part)
{
	alarm(2 * FIXTURE_PATIENCE_MS / 1000);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (strcmp(parts[i].name, part) == 0) {
			parts[i].play();
			fflush(stdout);
			_exit(0);
		}
	return 98;
}

/* ---- who tries them ---- */

static struct trial trial;
static int passed, failed;
static char failed_text[300];

static void take_passed(void *arg)
{
	assert_ptr_equal(arg, &trial);
	passed++;
}

static void take_failed(void *arg, const char *text)
{
	failed++;
	snprintf(failed_text, sizeof(failed_text), "%s", text);
}

static const struct trial_events events = {.passed = take_passed, .failed = take_failed};

/* There is no process for the next one. */
static bool no_process;
int __wrap_spawn_program(const struct spawn *what, struct spawned *ret);
int __real_spawn_program(const struct spawn *what, struct spawned *ret);

int __wrap_spawn_program(const struct spawn *what, struct spawned *ret)
{
	return no_process ? -EAGAIN : __real_spawn_program(what, ret);
}

static int setup(void **state)
{
	passed = failed = 0;
	no_process = false;
	*failed_text = '\0';
	return fixture_setup(state);
}

static int teardown(void **state)
{
	assert_false(trial.under_way);
	assert_int_equal(children.trial, 0);
	assert_null(getenv(INHERIT_TRIAL_VARIABLE));
	assert_null(getenv("TCPPROXY_REHEARSAL"));
	assert_int_equal(loop.n_timers, 0);
	return fixture_teardown(state);
}

static void begin_at(const char *binary, const char *part)
{
	static char *argv[] = {(char *)"tcpproxy", NULL, NULL};

	argv[1] = (char *)part;
	trial = (struct trial){.children = &children, .binary = binary, .argv = argv, .events = &events, .arg = &trial};
	trial_begin(&trial, &files);
}

/* To its end. */
static void try(const char *part)
{
	begin_at(SELF, part);
	UNTIL(!trial.under_way);
}

static void expect_failed(const char *text)
{
	assert_int_equal(passed, 0);
	assert_int_equal(failed, 1);
	assert_string_equal(failed_text, text);
}

static void test_one_that_accepts_all_is_checked_then_rehearsed(void **state)
{
	begin_at(SELF, "accept_all");
	assert_true(trial.under_way);
	assert_int_equal(children.trial, trial.run.process.pid);
	UNTIL(!trial.under_way);
	assert_int_equal(passed, 1);
	assert_int_equal(failed, 0);
	assert_string_equal(log_text, "upgrade: the new program: checked\nupgrade: the new program: rehearsed\n");
}

static void test_one_that_says_no_says_why(void **state)
{
	try("say_no");
	expect_failed(SELF " does not accept the running configuration (exit status 1): nothing has changed");
	assert_string_equal(log_text, "upgrade: the new program: line 3: no such directive\n");
}

static void test_one_that_dies(void **state)
{
	try("die");
	expect_failed(SELF " does not accept the running configuration (signal 9): nothing has changed");
}

static void test_one_that_cannot_be_executed(void **state)
{
	begin_at("/nonexistent/tcpproxy", "accept_all");
	UNTIL(!trial.under_way);
	expect_failed("cannot execute /nonexistent/tcpproxy: No such file or directory: nothing has changed");
}

static void test_one_for_which_there_is_no_process(void **state)
{
	no_process = true;
	begin_at(SELF, "accept_all");
	expect_failed("cannot try " SELF ": Resource temporarily unavailable: nothing has changed");
}

static void test_one_that_is_another_program(void **state)
{
	try("be_another");
	expect_failed(SELF " --check did not print the configuration, so it is no tcpproxy: nothing has changed");
}

static void test_one_that_ends_where_it_ought_to_serve(void **state)
{
	try("end_in_rehearsal");
	expect_failed(SELF " ends instead of serving: nothing has changed");
}

static void test_one_that_fails_where_it_ought_to_serve(void **state)
{
	try("fail_in_rehearsal");
	expect_failed(SELF " ends instead of serving (exit status 3): nothing has changed");
}

static void test_one_that_says_more_than_that_it_is_ready(void **state)
{
	try("say_more_than_ready");
	expect_failed(SELF " ends instead of serving: nothing has changed");
}

static void test_one_that_hangs(void **state)
{
	begin_at(SELF, "hang");
	fixture_pass(9999);
	assert_int_equal(failed, 0);
	fixture_pass(1);
	expect_failed(SELF " --check does not end within 10 s: nothing has changed");
	UNTIL((fixture_pass(20), !trial.under_way));
	assert_int_equal(failed, 1);
}

/* A limit for each of them. */
static void test_one_that_hangs_where_it_ought_to_serve(void **state)
{
	begin_at(SELF, "hang_in_rehearsal");
	fixture_pass(9000);
	UNTIL(trial.rehearsing);
	fixture_pass(9999);
	assert_int_equal(failed, 0);
	fixture_pass(1);
	expect_failed(SELF ", tried as it is to serve, does not end within 10 s: nothing has changed");
	UNTIL((fixture_pass(20), !trial.under_way));
	assert_int_equal(failed, 1);
}

static void test_one_that_talks_too_much_keeps_nobody(void **state)
{
	try("talk");
	expect_failed(SELF " ends instead of serving: nothing has changed");
	assert_non_null(strstr(log_text, "upgrade: the new program: xxx"));
}

/* What it prints is memory. */
static void test_one_that_talks_for_ever_is_ended(void **state)
{
	try("talk_for_ever");
	expect_failed(SELF " does not accept the running configuration (signal 25): nothing has changed");
}

/* What it leaves in the background is heard for some time, and keeps it from nothing. */
static void test_one_that_leaves_another_behind(void **state)
{
	pid_t leaders[2];

	begin_at(SELF, "leave_one_behind");
	leaders[0] = children.trial;
	UNTIL(trial.run.ended);
	fixture_pass(4999);
	assert_false(trial.rehearsing);
	fixture_pass(1);
	assert_true(trial.rehearsing);
	leaders[1] = children.trial;
	UNTIL(trial.run.ended);
	fixture_pass(5000);
	assert_int_equal(passed, 1);
	for (int i = 0; i < 2; i++) {
		assert_true(leaders[i] > 0);
		assert_int_equal(kill(-leaders[i], SIGKILL), 0);
	}
}

static void test_what_it_is_given(void **state)
{
	try("look_around");
	assert_string_equal(failed_text, "");
	assert_int_equal(passed, 1);
}

static void test_it_reads_files_through_us(void **state)
{
	try("ask_for_a_file");
	assert_string_equal(failed_text, "");
	assert_int_equal(passed, 1);
}

static void test_it_comes_too_late_where_all_ends(void **state)
{
	begin_at(SELF, "accept_all");
	phase = PHASE_DRAINING;
	UNTIL(!trial.under_way);
	assert_int_equal(passed, 0);
	assert_int_equal(failed, 1);
	assert_non_null(strstr(failed_text, ": nothing has changed"));
	assert_null(strstr(log_text, "rehearsed"));
}

static void test_one_that_is_stopped(void **state)
{
	trial_stop(&(struct trial){.under_way = false});
	begin_at(SELF, "hang");
	trial_stop(&trial);
	UNTIL((fixture_pass(20), !trial.under_way));
	expect_failed(SELF " does not accept the running configuration (signal 9): nothing has changed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        TEST(one_that_accepts_all_is_checked_then_rehearsed),
	        TEST(one_that_says_no_says_why),
	        TEST(one_that_dies),
	        TEST(one_that_cannot_be_executed),
	        TEST(one_for_which_there_is_no_process),
	        TEST(one_that_is_another_program),
	        TEST(one_that_ends_where_it_ought_to_serve),
	        TEST(one_that_fails_where_it_ought_to_serve),
	        TEST(one_that_says_more_than_that_it_is_ready),
	        TEST(one_that_hangs),
	        TEST(one_that_hangs_where_it_ought_to_serve),
	        TEST(one_that_talks_too_much_keeps_nobody),
	        TEST(one_that_talks_for_ever_is_ended),
	        TEST(one_that_leaves_another_behind),
	        TEST(what_it_is_given),
	        TEST(it_reads_files_through_us),
	        TEST(it_comes_too_late_where_all_ends),
	        TEST(one_that_is_stopped),
	};

	is_check = argc == 3 && strcmp(argv[1], "--check") == 0;
	if (argc > 1)
		return play(argv[argc - 1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
