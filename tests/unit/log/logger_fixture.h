/*
 * logger_fixture.h - what the tests of the logger share: a folder of their own, something to say,
 * and ways to see what arrived.
 */
#ifndef TESTS_LOGGER_FIXTURE_H
#define TESTS_LOGGER_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "log/logger.h"

#define WALL_US 1788437109123456LL
#define TIME    "2026-09-03T14:05:09.123+02:00"

/* A folder of its own for each test, with paths for what is used in it. */
static char folder[64], file_path[96], other_path[96], socket_path[96];
static struct logger_ops world;
static struct buf error;

static int set_up(void **state)
{
	strcpy(folder, "/tmp/test-logger-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(file_path, sizeof(file_path), "%s/log", folder);
	snprintf(other_path, sizeof(other_path), "%s/log.1", folder);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	world = (struct logger_ops){.syslog_path = socket_path, .journal_path = socket_path};
	unsetenv("JOURNAL_STREAM");
	return 0;
}

static int tear_down(void **state)
{
	unlink(file_path);
	unlink(other_path);
	unlink(socket_path);
	assert_int_equal(rmdir(folder), 0);
	buf_release(&error);
	return 0;
}

static struct logger *new_logger(const struct log_target *targets, size_t n)
{
	struct logger *l = logger_new(targets, n, &world, &error);

	if (!l)
		fail_msg("%s", error.s);
	return l;
}

static struct logger *logger_to(struct log_target target)
{
	return new_logger(&target, 1);
}

static void say(struct logger *l, const char *line)
{
	logger_line(l, LOG_LEVEL_ERROR, line, WALL_US);
}

static void say_record(struct logger *l)
{
	struct record r = {.id = 17,
	                   .wall_us = WALL_US,
	                   .connect_us = -1,
	                   .event = RECORD_CLOSE,
	                   .end = END_DENIED,
	                   .why = WHY_ACP,
	                   .service = "mail",
	                   .named = true,
	                   .target = "db1",
	                   .server_text = "/a\nb"};

	logger_record(l, &r);
}

#define RECORD                                                                                                  \
	"close id=17 service=mail port=- interface=- client=- rule=- target=db1 server=\"/a\\nb\" up=0 down=0 " \
	"connect=- "                                                                                            \
	"duration=0.000 end=denied why=acp"

/* What can be read from fd now. */
static const char *read_now(int fd)
{
	static char text[100000];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in \"%s\"", part, text);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 200; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static const struct log_target to_syslog = {.kind = LOG_TO_SYSLOG, .facility = LOG_MAIL};

/* A log daemon: a bound socket. Messages are read with read_now(). */
static int serve(int type)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, socket_path);
	unlink(socket_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* The group's set-up. */
static int summer(void **state)
{
	setenv("TZ", "CEST-2", 1);
	tzset();
	umask(022);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return 0;
}

#define LOGGER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
