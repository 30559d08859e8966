/* Checks of servers that answer, are silent, trickle, hang up or are not there; and how each is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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
#include "checker/dialog.h"
#include "checker/kinds.h"
#include "os/sock.h"

#define LIMIT_MS 10000

static struct loop loop;
static struct script script;
static struct addr there;
static int listener;
static struct {
	int n;
	bool yes;
	char words[200];
} result;

static int setup(void **state)
{
	struct addr any = {.family = AF_INET, .ip = {127, 0, 0, 1}};

	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	listener = sock_listen(&any, 16, false);
	assert_true(listener >= 0);
	assert_int_equal(fcntl(listener, F_SETFL, 0), 0); /* a server waits for its client */
	assert_int_equal(sock_local(listener, &there), 0);
	memset(&result, 0, sizeof(result));
	script = (struct script){0};
	return 0;
}

static int teardown(void **state)
{
	if (listener >= 0)
		close(listener);
	script_release(&script);
	loop_release(&loop);
	return 0;
}

static void done(void *arg, bool yes, const char *words)
{
	result.n++;
	result.yes = yes;
	snprintf(result.words, sizeof(result.words), "%s", words);
}

static struct dialog *start(int64_t timeout_ms)
{
	loop.now_ms = clock_mono_ms();
	return dialog_start(&(struct dialog_setup){
	        .loop = &loop, .script = &script, .to = &there, .timeout_ms = timeout_ms, .done = done});
}

/* Until the last dialog is gone. */
static void finish(void)
{
	int64_t end = clock_mono_ms() + LIMIT_MS;

	while (dialog_open() > 0) {
		assert_true(clock_mono_ms() < end);
		assert_int_equal(loop_turn(&loop, 50), 0);
	}
}

/* ---- servers: each a process, whose exit code says how it was left ---- */

enum left { LEFT_BY_FIN = 0, LEFT_BY_RESET = 1, LEFT_OTHERWISE = 2 };

static int left(int fd)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		;
	if (n < 0)
		return errno == ECONNRESET ? LEFT_BY_RESET : LEFT_OTHERWISE;
	if (write(fd, "bye", 3) != 3)
		return LEFT_OTHERWISE;
	return sock_take_error(fd) == 0 ? LEFT_BY_FIN : LEFT_OTHERWISE; /* it hears our last words */
}

static pid_t serve(int (*server)(int fd))
{
	pid_t pid = fork();

	if (pid == 0) {
		int fd = accept(listener, NULL, NULL);

		alarm(LIMIT_MS / 1000);
		close(listener);
		_exit(fd < 0 ? LEFT_OTHERWISE : server(fd));
	}
	return pid;
}

static int how(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int says(int fd, const char *text)
{
	return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

static int greets(int fd)
{
	says(fd, "220 mail.example\r\n");
	return left(fd);
}

static int is_silent(int fd)
{
	return left(fd);
}

static int hangs_up(int fd)
{
	return 0;
}

static int resets(int fd)
{
	sock_reset_on_close(fd);
	return 0;
}

/* Answers after it was asked, a byte at a time; must be left with the word of its protocol. */
static int is_redis(int fd)
{
	char bytes[100] = "";
	size_t n = 0;
	ssize_t got;

	while (n < 6 && (got = read(fd, bytes + n, sizeof(bytes) - 1 - n)) > 0)
		n += (size_t)got;
	if (strcmp(bytes, "PING\r\n") != 0)
		return LEFT_OTHERWISE;
	for (const char *p = "+PONG\r\n"; *p; p++) {
		const char one[] = {*p, '\0'};

		sock_no_delay(fd);
		if (says(fd, one) < 0)
			return LEFT_OTHERWISE;
	}
	for (n = 0; (got = read(fd, bytes + n, sizeof(bytes) - 1 - n)) > 0;)
		n += (size_t)got;
	bytes[n] = '\0';
	return got == 0 && strcmp(bytes, "QUIT\r\n") == 0 ? LEFT_BY_FIN : LEFT_OTHERWISE;
}

/* Sends without an end. */
static int floods(int fd)
{
	char much[4096];

	memset(much, 'x', sizeof(much));
	while (send(fd, much, sizeof(much), MSG_NOSIGNAL) > 0)
		;
	return 0;
}

/* ---- the tests ---- */

static void a_server_that_accepts_is_there(void **state)
{
	pid_t pid = serve(is_silent);

	start(1000);
	finish();
	assert_int_equal(result.n, 1);
	assert_string_equal(result.words, "");
	assert_true(result.yes);
	assert_string_equal(result.words, "");
	assert_int_equal(how(pid), LEFT_BY_FIN);
}

static void one_that_greets_sees_no_reset(void **state)
{
	pid_t pid = serve(greets);

	start(1000);
	finish();
	assert_string_equal(result.words, "");
	assert_true(result.yes);
	assert_int_equal(how(pid), LEFT_BY_FIN);
}

static void one_that_is_not_there_refuses(void **state)
{
	close(listener);
	listener = -1;
	start(1000);
	finish();
	assert_int_equal(result.n, 1);
	assert_false(result.yes);
	assert_string_equal(result.words, "Connection refused");
}

static void it_is_told_later_that_it_cannot_begin(void **state)
{
	there.family = AF_UNIX; /* which no TCP has */
	start(1000);
	assert_int_equal(result.n, 0);
	finish();
	assert_int_equal(result.n, 1);
	assert_false(result.yes);
}

static void a_whole_conversation(void **state)
{
	pid_t pid = serve(is_redis);

	assert_true(kind_script("redis", &(struct script_words){0}, &script));
	start(5000);
	finish();
	assert_string_equal(result.words, "");
	assert_true(result.yes);
	assert_int_equal(how(pid), LEFT_BY_FIN);
}

static void silence_is_a_no_when_the_time_is_over(void **state)
{
	pid_t pid = serve(is_silent);

	script_add_text(&script, SCRIPT_EXPECT, "220");
	start(50);
	finish();
	assert_int_equal(result.n, 1);
	assert_false(result.yes);
	assert_string_equal(result.words, "time is over, expected \"220\", got nothing");
	assert_int_equal(how(pid), LEFT_BY_FIN);
}

static void wanted_silence_is_a_yes(void **state)
{
	pid_t pid = serve(is_silent);

	script_add_text(&script, SCRIPT_NOT, "error");
	start(50);
	finish();
	assert_string_equal(result.words, "");
	assert_true(result.yes);
	assert_int_equal(how(pid), LEFT_BY_FIN);
}

static void one_that_hangs_up_or_resets_has_not_answered(void **state)
{
	int (*const servers[])(int fd) = {hangs_up, resets};
	const char *const words[] = {"expected \"220\", got nothing", "Connection reset by peer"};

	for (int i = 0; i < 2; i++) {
		pid_t pid = serve(servers[i]);

		if (i == 0)
			script_add_text(&script, SCRIPT_EXPECT, "220");
		result.n = 0;
		start(5000);
		finish();
		assert_int_equal(result.n, 1);
		assert_false(result.yes);
		assert_string_equal(result.words, words[i]);
		how(pid);
	}
}

static void a_flood_ends_in_a_no(void **state)
{
	pid_t pid = serve(floods);

	script_add_text(&script, SCRIPT_EXPECT, "220");
	start(5000);
	finish();
	assert_false(result.yes);
	how(pid);
}

/* A server that is stuck does not hold our socket for longer than a second. */
static int hears_nothing(int fd)
{
	return pause();
}

static void one_that_never_hangs_up_is_left_all_the_same(void **state)
{
	pid_t pid = serve(hears_nothing);

	start(1000);
	finish();
	assert_string_equal(result.words, "");
	assert_true(result.yes);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void one_that_is_not_wanted_any_more_is_left_without_a_word(void **state)
{
	pid_t pid = serve(is_silent);
	struct dialog *d;

	script_add_text(&script, SCRIPT_EXPECT, "220");
	d = start(5000);
	for (int i = 0; i < 3; i++)
		loop_turn(&loop, 10);
	dialog_cancel(d);
	finish();
	assert_int_equal(result.n, 0);
	assert_int_equal(how(pid), LEFT_BY_FIN);
	dialog_cancel(start(5000)); /* still connecting */
	finish();
	assert_int_equal(result.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(a_server_that_accepts_is_there),
	        TEST(one_that_greets_sees_no_reset),
	        TEST(one_that_is_not_there_refuses),
	        TEST(it_is_told_later_that_it_cannot_begin),
	        TEST(a_whole_conversation),
	        TEST(silence_is_a_no_when_the_time_is_over),
	        TEST(wanted_silence_is_a_yes),
	        TEST(one_that_hangs_up_or_resets_has_not_answered),
	        TEST(a_flood_ends_in_a_no),
	        TEST(one_that_never_hangs_up_is_left_all_the_same),
	        TEST(one_that_is_not_wanted_any_more_is_left_without_a_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
