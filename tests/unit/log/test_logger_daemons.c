/* What syslog's daemon and the journal get, and what happens while they are busy, dead or away. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "logger_fixture.h"

/* ---- syslog ---- */

static void test_syslog(void **state)
{
	int fd = serve(SOCK_DGRAM);
	struct logger *l = logger_to(to_syslog);
	char expected[300];

	say(l, "no route");
	snprintf(expected, sizeof(expected), "<19>Sep  3 14:05:09 tcpproxy[%d]: no route", (int)getpid());
	assert_string_equal(read_now(fd), expected);
	logger_line(l, LOG_LEVEL_WARNING, "w", WALL_US);
	assert_int_equal(strncmp(read_now(fd), "<20>", 4), 0);
	say_record(l);
	snprintf(expected, sizeof(expected), "<22>Sep  3 14:05:09 tcpproxy[%d]: " RECORD, (int)getpid());
	assert_string_equal(read_now(fd), expected);
	logger_free(l);
	close(fd);
}

static void test_syslog_comes_late_and_restarts(void **state)
{
	struct logger *l = logger_to(to_syslog);
	int fd, fds = open_fds();

	say(l, "nobody there");
	fd = serve(SOCK_DGRAM);
	say(l, "one");
	assert_contains(read_now(fd), "are lost: 1 (No such file or directory)");
	assert_contains(read_now(fd), ": one");
	close(fd);
	say(l, "nobody there");
	say(l, "nobody there");
	fd = serve(SOCK_DGRAM);
	say(l, "two");
	assert_contains(read_now(fd), "are lost: 2 (Connection refused)");
	assert_contains(read_now(fd), ": two");
	close(fd);
	fd = serve(SOCK_DGRAM); /* so quickly that no line was lost */
	say(l, "three");
	assert_contains(read_now(fd), ": three");
	close(fd);
	logger_free(l);
	assert_int_equal(open_fds(), fds);
}

static void test_syslog_full(void **state)
{
	int fd = serve(SOCK_DGRAM);
	struct logger *l = logger_to(to_syslog);
	int taken = 0;

	alarm(20);
	for (int i = 0; i < 3000; i++)
		say(l, "to a daemon that sleeps");
	while (*read_now(fd))
		taken++;
	assert_in_range(taken, 1, 2999);
	say(l, "awake");
	assert_contains(read_now(fd), "(its reader did not take them in time)");
	assert_contains(read_now(fd), ": awake");
	alarm(0);
	logger_free(l);
	close(fd);
}

static void test_syslog_on_a_stream(void **state)
{
	int listener = serve(SOCK_STREAM), fd;
	struct logger *l = logger_to(to_syslog);
	const char *text;

	say(l, "one");
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	text = read_now(fd);
	assert_contains(text, ": one");
	say(l, "two");
	text = read_now(fd);
	assert_int_equal(strncmp(text, "<19>", 4), 0); /* right behind the NUL of the first */
	assert_contains(text, ": two");
	close(fd);
	say(l, "three"); /* connects again */
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_contains(read_now(fd), ": three");
	close(fd);
	logger_free(l);
	close(listener);
}

/* ---- the journal ---- */

static const struct log_target to_journal = {.kind = LOG_TO_JOURNAL};

static void test_journal(void **state)
{
	int fd = serve(SOCK_DGRAM);
	struct logger *l = logger_to(to_journal);

	say(l, "no route");
	assert_string_equal(read_now(fd), "MESSAGE=no route\nPRIORITY=3\nSYSLOG_IDENTIFIER=tcpproxy\n");
	logger_free(l);
	close(fd);
}

static void assert_field(const char *entry, size_t len, const char *part, size_t part_len)
{
	if (!memmem(entry, len, part, part_len))
		fail_msg("no \"%s\" in \"%.*s\"", part, (int)len, entry);
}

#define ASSERT_FIELD(entry, n, part) assert_field((entry), (size_t)(n), (part), sizeof(part) - 1)

static void test_journal_record(void **state)
{
	int fd = serve(SOCK_DGRAM);
	struct logger *l = logger_to(to_journal);
	char entry[2000];
	ssize_t n;

	say_record(l);
	n = read(fd, entry, sizeof(entry));
	assert_true(n > 0);
	ASSERT_FIELD(entry, n, "MESSAGE=" RECORD "\nPRIORITY=6\n");
	ASSERT_FIELD(entry, n, "\nTCPPROXY_EVENT=close\nTCPPROXY_ID=17\nTCPPROXY_SERVICE=mail\n");
	ASSERT_FIELD(entry, n, "\nTCPPROXY_END=denied\nTCPPROXY_WHY=acp\n");
	ASSERT_FIELD(entry, n, "\nTCPPROXY_TARGET=db1\n");
	ASSERT_FIELD(entry, n, "TCPPROXY_SERVER\n\4\0\0\0\0\0\0\0/a\nb\nTCPPROXY_UP=0\n");
	assert_null(memmem(entry, (size_t)n, "TCPPROXY_CLIENT", 15)); /* missing: left out */
	logger_free(l);
	close(fd);
}

static int receive_fd(int sock)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {.msg_control = &control, .msg_controllen = sizeof(control)};
	int fd = -1;

	assert_int_equal(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC), 0);
	assert_non_null(CMSG_FIRSTHDR(&msg));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static void test_journal_large_entry(void **state)
{
	int sock = serve(SOCK_DGRAM), fd;
	struct logger *l = logger_to(to_journal);
	struct record r = {.id = 18};
	char *huge = malloc(1000001);
	struct stat st;

	memset(huge, 'x', 1000000);
	huge[1000000] = '\0';
	r.server_text = huge;
	logger_record(l, &r);
	fd = receive_fd(sock);
	assert_int_equal(fstat(fd, &st), 0);
	assert_in_range(st.st_size, 2000000, 2001000);
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	close(fd);
	free(huge);
	logger_free(l);
	close(sock);
}

/* ---- no memory ---- */

/* In a child: not a byte can be had any more, and that is to be said. */
static void say_without_memory(struct logger *l)
{
	const struct rlimit none = {0, 0};

	log_set_sink(logger_sink, l);
	mem_serve();
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_AS, &none);
	for (size_t size = 1 << 20; size > 0; size /= 2)
		while (malloc(size))
			;
	mem_alloc(1);
	_exit(0);
}

static void test_without_memory_it_is_said(void **state)
{
	const struct log_target targets[] = {
	        to_syslog, {.kind = LOG_TO_JOURNAL}, {.kind = LOG_TO_FILE, .path = file_path, .json = true}};
	struct logger *l;
	int fd, status, file;
	pid_t pid;

#if defined(__SANITIZE_ADDRESS__)
	skip();
#endif
	fd = serve(SOCK_DGRAM);
	l = new_logger(targets, 3);
	pid = fork();
	if (pid == 0)
		say_without_memory(l);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_contains(read_now(fd), "]: out of memory (1 bytes wanted)");
	assert_contains(read_now(fd), "MESSAGE=out of memory (1 bytes wanted)");
	file = open(file_path, O_RDONLY);
	assert_contains(read_now(file), "\"message\":\"out of memory (1 bytes wanted)");
	close(file);
	close(fd);
	logger_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        LOGGER_TEST(test_syslog),
	        LOGGER_TEST(test_syslog_comes_late_and_restarts),
	        LOGGER_TEST(test_syslog_full),
	        LOGGER_TEST(test_syslog_on_a_stream),
	        LOGGER_TEST(test_journal),
	        LOGGER_TEST(test_journal_record),
	        LOGGER_TEST(test_journal_large_entry),
	        LOGGER_TEST(test_without_memory_it_is_said),
	};

	return cmocka_run_group_tests(tests, summer, NULL);
}
