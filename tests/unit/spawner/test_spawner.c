#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../event/dns_server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "spawner/spawner.h"

#define ROWS 256

struct fixture {
	struct loop loop;
	struct spawner *spawner;
	struct resolver *resolver;
	struct dns_server *dns;
	struct question_slot *slots;
	int sock;         /* the worker's end of the channel; -1: closed */
	int spawner_sock; /* the spawner's */
	bool gone, stopped;
	char dir[32];
	struct buf log;
	unsigned fds_before;
	uint64_t serial;
};

static const struct dns_record zone[] = {
        {"7.0.0.10.in-addr.arpa", DNS_PTR, "mail.test", 60},
        {"mail.test", DNS_A, "10.0.0.7", 60},
        {"8.0.0.10.in-addr.arpa", DNS_SILENCE, NULL, 0},
        {0},
};

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void take_line(void *arg, enum log_level level, const char *line)
{
	buf_addf(arg, "%s %s\n", log_level_name(level), line);
}

static void on_gone(void *arg)
{
	((struct fixture *)arg)->gone = true;
}

static void on_stopped(void *arg)
{
	((struct fixture *)arg)->stopped = true;
}

/* Turns the loop until the condition holds, at most 8 s. */
#define WAIT_FOR(f, cond)                                                                                 \
	do {                                                                                              \
		int64_t until_ = clock_mono_ms() + 8000;                                                  \
		bool holds_ = cond;                                                                       \
		while (!holds_ && clock_mono_ms() < until_) {                                             \
			loop_turn(&(f)->loop, 20);                                                        \
			holds_ = cond;                                                                    \
		}                                                                                         \
		if (!holds_)                                                                              \
			fail_msg("never became true: %s; log:\n%s", #cond, (f)->log.s ? (f)->log.s : ""); \
	} while (0)

static bool logged(const struct fixture *f, const char *text)
{
	return f->log.s && strstr(f->log.s, text);
}

/* ---- fixture ---- */

static int start(struct fixture *f, bool names)
{
	struct spawner_setup setup = {.loop = &f->loop, .umask = 022};
	int pair[2];

	f->fds_before = count_fds();
	strcpy(f->dir, "/tmp/spawner-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	log_set_sink(take_line, &f->log);
	assert_int_equal(loop_init(&f->loop, -1, NULL, 64), 0);
	if (names) {
		struct addr server;

		f->dns = dns_server_start(zone);
		server = dns_server_addr(f->dns);
		assert_int_equal(resolver_new(&(struct resolver_setup){.loop = &f->loop}, &server, 1, &f->resolver), 0);
		setup.resolver = f->resolver;
	}
	getrlimit(RLIMIT_NOFILE, &setup.nofile);
	assert_int_equal(spawner_new(&setup, &f->spawner), 0);
	f->slots = mmap(NULL, ROWS * sizeof(*f->slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(f->slots != MAP_FAILED);
	assert_int_equal(sock_message_pair(pair), 0);
	f->sock = pair[0];
	f->spawner_sock = pair[1];
	assert_int_equal(spawner_add_channel(f->spawner, pair[1], f->slots, NULL, ROWS, on_gone, f), 0);
	return 0;
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	*state = &f;
	return start(&f, false);
}

static int setup_names(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	*state = &f;
	return start(&f, true);
}

static void remove_dir(const char *dir)
{
	char *command = mem_printf("rm -r %s", dir);

	assert_int_equal(system(command), 0);
	free(command);
}

/* Stops everything, and looks for what was left behind. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	siginfo_t info;

	if (!f->stopped) {
		spawner_stop(f->spawner, on_stopped, f);
		WAIT_FOR(f, f->stopped);
	}
	assert_int_equal(spawner_running(f->spawner), 0);
	spawner_free(f->spawner);
	resolver_free(f->resolver);
	assert_int_equal(f->loop.n_timers, 0);
	if (f->dns)
		dns_server_stop(f->dns);
	if (f->sock >= 0)
		close(f->sock);
	loop_release(&f->loop);
	munmap(f->slots, ROWS * sizeof(*f->slots));
	remove_dir(f->dir);
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1); /* no zombie */
	assert_int_equal(errno, ECHILD);
	assert_int_equal(count_fds(), f->fds_before);
	buf_release(&f->log);
	return 0;
}

/* A shell script in the test's directory; its path is `dir`/name. */
static void script(struct fixture *f, const char *name, const char *body)
{
	char *path = mem_printf("%s/%s", f->dir, name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", body);
	fclose(file);
	assert_int_equal(chmod(path, 0755), 0);
	free(path);
}

/* Service on port 25 with the handler `h` and the access program `a` of the test's directory. */
static void configure(struct fixture *f, uint64_t generation, const char *more)
{
	char *text = mem_printf("port 25\nexec %s/h\nacp %s/a\n%s", f->dir, f->dir, more);
	struct config_errors errors = {0};
	struct config *c = config_parse("test", text, NULL, &errors);

	if (!c)
		fail_msg("%s", errors.list[0].message);
	spawner_set_config(f->spawner, c, generation);
	free(text);
}

static struct question make_question(struct fixture *f, enum question_kind kind, uint32_t row)
{
	struct question q = {.kind = kind, .row = row, .serial = ++f->serial, .generation = 1, .id = 17};

	assert_true(addr_parse("10.0.0.1", &q.local) && addr_parse("10.0.0.7", &q.client));
	q.local.port = 25;
	q.client.port = 51234;
	q.server = kind == ASK_HANDLER ? 0 : UINT32_MAX;
	return q;
}

/* Fills the slot and sends; the descriptor is closed here, as the channel has it. */
static void ask(struct fixture *f, const struct question *q, int fd)
{
	f->slots[q->row] = (struct question_slot){.serial = q->serial};
	assert_int_equal(sock_send_message(f->sock, q, sizeof(*q), &fd, fd >= 0), 0);
	if (fd >= 0)
		close(fd);
}

static bool take_answer(struct fixture *f, struct answer *a, int *pidfd)
{
	size_t n_fds = 1;

	*pidfd = -1;
	if (sock_recv_message(f->sock, a, sizeof(*a), pidfd, &n_fds) != sizeof(*a))
		return false;
	assert_int_equal(n_fds, a->kind == ANSWER_STARTED);
	return true;
}

/* Waits for the answer to q, which has to be of this kind. Returns the pidfd, or -1. */
static int answer_to(struct fixture *f, const struct question *q, enum answer_kind kind)
{
	int64_t until = clock_mono_ms() + 8000;
	struct answer a;
	int pidfd;

	while (!take_answer(f, &a, &pidfd)) {
		loop_turn(&f->loop, 20);
		if (clock_mono_ms() > until)
			fail_msg("no answer; log:\n%s", f->log.s ? f->log.s : "");
	}
	assert_int_equal(a.kind, kind);
	assert_int_equal(a.row, q->row);
	assert_int_equal(a.serial, q->serial);
	assert_int_equal(f->slots[q->row].answered, kind);
	assert_int_equal(f->slots[q->row].status, a.status);
	return pidfd;
}

static void no_answer(struct fixture *f)
{
	struct answer a;
	int pidfd;

	for (int i = 0; i < 5; i++)
		loop_turn(&f->loop, 20);
	assert_false(take_answer(f, &a, &pidfd));
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* All that comes until the end. */
static void read_all(struct fixture *f, int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len + 1 < size) {
		WAIT_FOR(f, readable(fd));
		n = read(fd, text + len, size - 1 - len);
		if (n > 0)
			len += (size_t)n;
	}
	text[len] = '\0';
}

static int client_pair(int *program_end)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	*program_end = pair[1];
	return pair[0];
}

/* ---- handlers ---- */

static void test_handler_talks_through_its_socket(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 3);
	char text[64];
	int program_end, client = client_pair(&program_end), pidfd;

	script(f, "h", "exec cat");
	configure(f, 1, "");
	ask(f, &q, program_end);
	pidfd = answer_to(f, &q, ANSWER_STARTED);
	assert_true(f->slots[3].pid > 0);
	assert_string_equal(f->slots[3].name, "");
	assert_int_equal(spawner_running(f->spawner), 1);
	assert_false(readable(pidfd));
	assert_int_equal(write(client, "hello", 5), 5);
	shutdown(client, SHUT_WR);
	/* The end comes only because no copy of its socket is left anywhere. */
	read_all(f, client, text, sizeof(text));
	assert_string_equal(text, "hello");
	WAIT_FOR(f, readable(pidfd));
	WAIT_FOR(f, spawner_running(f->spawner) == 0);
	assert_null(f->log.s);
	close(pidfd);
	close(client);
}

static void test_a_worker_that_does_not_know_of_ids_is_heard(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 3);
	int program_end, client = client_pair(&program_end), pidfd;

	script(f, "h", "exec sleep 1000");
	configure(f, 1, "");
	f->slots[q.row] = (struct question_slot){.serial = q.serial};
	assert_int_equal(sock_send_message(f->sock, &q, QUESTION_WITHOUT_ID, &program_end, 1), 0);
	close(program_end);
	pidfd = answer_to(f, &q, ANSWER_STARTED);
	q.kind = ASK_KILL;
	assert_int_equal(sock_send_message(f->sock, &q, QUESTION_WITHOUT_ID, NULL, 0), 0);
	WAIT_FOR(f, readable(pidfd));
	assert_null(f->log.s);
	close(pidfd);
	close(client);
}

static void test_no_copy_of_the_client_is_kept(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);
	char text[8];

	script(f, "h", "exec </dev/null >/dev/null; sleep 1000");
	configure(f, 1, "");
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	read_all(f, client, text, sizeof(text));
	assert_int_equal(spawner_running(f->spawner), 1);
	close(client);
}

static void test_handler_environment(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	char text[256];
	int program_end, client = client_pair(&program_end);

	script(f, "h", "echo $X_CLIENT $X_CLIENTPORT $X_PORT $X_CLIENTNAME $OWN $X_SERVER.");
	configure(f, 1, "setenv X_\nenv OWN=value\n");
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	read_all(f, client, text, sizeof(text));
	assert_string_equal(text, "10.0.0.7 51234 25 10.0.0.7 value .\n");
	close(client);
}

static void test_handler_with_two_pipes(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int in[2], out[2], fds[2];
	char text[64];

	assert_true(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	fds[0] = in[0];
	fds[1] = out[1];
	script(f, "h", "tr a-z A-Z");
	configure(f, 1, "");
	f->slots[0].serial = q.serial;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), fds, 2), 0);
	close(in[0]);
	close(out[1]);
	close(answer_to(f, &q, ANSWER_STARTED));
	assert_int_equal(write(in[1], "hello", 5), 5);
	close(in[1]);
	read_all(f, out[0], text, sizeof(text));
	assert_string_equal(text, "HELLO");
	close(out[0]);
}

static void test_handler_that_cannot_start(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);
	char *expected;

	configure(f, 1, "");
	ask(f, &q, program_end);
	assert_int_equal(answer_to(f, &q, ANSWER_FAILED), -1);
	assert_int_equal(f->slots[0].status, ENOENT);
	expected = mem_printf("error cannot start handler %s/h for 10.0.0.7:51234 id=17: "
	                      "No such file or directory\n",
	                      f->dir);
	assert_string_equal(f->log.s, expected);
	free(expected);
	WAIT_FOR(f, spawner_running(f->spawner) == 0);
	WAIT_FOR(f, readable(client)); /* closed everywhere */
	close(client);

	/* A script whose interpreter is missing looks the same to the kernel. */
	script(f, "h", "");
	expected = mem_printf("sed -i 1s,bin/sh,bin/missing, %s/h", f->dir);
	assert_int_equal(system(expected), 0);
	free(expected);
	client = client_pair(&program_end);
	q = make_question(f, ASK_HANDLER, 0);
	ask(f, &q, program_end);
	answer_to(f, &q, ANSWER_FAILED);
	assert_true(logged(f, "interpreter is missing"));
	close(client);
}

static void test_no_descriptor_to_be_had(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end), lowest;
	struct rlimit before, low;

	script(f, "h", "");
	configure(f, 1, "");
	ask(f, &q, program_end);
	lowest = dup(0);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = (struct rlimit){(rlim_t)lowest, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	answer_to(f, &q, ANSWER_FAILED);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(f->slots[0].status, EMFILE);
	assert_int_equal(f->slots[0].pid, 0);
	assert_true(logged(f, "limit of open files"));
	close(client);
}

static void test_stderr_becomes_lines(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);
	char *expected;

	script(f, "h",
	       "printf 'one\\r\\n\\ntw' >&2; printf 'o\\033[1m\\ta\\n' >&2; "
	       "head -c 1500 /dev/zero | tr '\\0' x >&2; printf 'end' >&2; kill -USR1 $$");
	configure(f, 1, "");
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	WAIT_FOR(f, logged(f, "ended by"));
	expected = mem_printf("info handler %s/h for 10.0.0.7:51234 id=17: one\n"
	                      "info handler %s/h for 10.0.0.7:51234 id=17: two?[1m a\n"
	                      "info handler %s/h for 10.0.0.7:51234 id=17: xxx",
	                      f->dir, f->dir, f->dir);
	assert_int_equal(strncmp(f->log.s, expected, strlen(expected)), 0);
	free(expected);
	expected = mem_printf("xxxend\ninfo handler %s/h for 10.0.0.7:51234 id=17: "
	                      "ended by signal 10 (User defined signal 1)\n",
	                      f->dir);
	assert_true(logged(f, expected));
	free(expected);
	/* 1500 + "end" in parts of at most 1024 */
	assert_int_equal(strcspn(strstr(f->log.s, "xxx"), "\n"), 1024);
	close(client);
}

/* It may echo what its client sent. A character is not taken for control bytes, nor torn. */
static void test_stderr_moves_no_cursor(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);

	script(f, "h",
	       "printf 'csi\\302\\2332J nel\\302\\205 ls\\342\\200\\250 bad\\377\\233 zero\\000 \\303\\244\\n' >&2; "
	       "head -c 1023 /dev/zero | tr '\\0' x >&2; printf '\\303\\244end' >&2; kill -USR1 $$");
	configure(f, 1, "");
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	WAIT_FOR(f, logged(f, "ended by"));
	assert_true(logged(f, ": csi?2J nel? ls? bad?? zero? \303\244\n"));
	assert_true(logged(f, "xxx\n"));
	assert_true(logged(f, ": \303\244end\n"));
	close(client);
}

static void test_background_child_keeps_the_log(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end), pidfd, fifo;
	char *body = mem_printf("(read x <%s/fifo; echo late >&2) & exit 0", f->dir);
	char *path = mem_printf("%s/fifo", f->dir);

	assert_int_equal(mkfifo(path, 0600), 0);
	script(f, "h", body);
	configure(f, 1, "");
	ask(f, &q, program_end);
	pidfd = answer_to(f, &q, ANSWER_STARTED);
	WAIT_FOR(f, readable(pidfd) && spawner_running(f->spawner) == 0);
	assert_null(f->log.s);
	fifo = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fifo, "\n", 1), 1);
	WAIT_FOR(f, logged(f, ": late\n"));
	close(fifo);
	close(pidfd);
	close(client);
	free(path);
	free(body);
}

static void test_many_at_once(void **state)
{
	struct fixture *f = *state;
	int clients[200], pidfds[200];
	struct question q[200];

	script(f, "h", "echo hello >&2; exec cat");
	configure(f, 1, "");
	for (uint32_t i = 0; i < 200; i++) {
		int program_end;

		clients[i] = client_pair(&program_end);
		q[i] = make_question(f, ASK_HANDLER, i);
		ask(f, &q[i], program_end);
		if (i % 50 == 49)
			loop_turn(&f->loop, 0);
	}
	for (int i = 0; i < 200; i++) {
		struct answer a;
		int pidfd;

		WAIT_FOR(f, take_answer(f, &a, &pidfd));
		assert_int_equal(a.kind, ANSWER_STARTED);
		pidfds[a.row] = pidfd;
	}
	assert_int_equal(spawner_running(f->spawner), 200);
	for (int i = 0; i < 200; i++) {
		char text[8];

		assert_int_equal(write(clients[i], "abc", 3), 3);
		shutdown(clients[i], SHUT_WR);
		read_all(f, clients[i], text, sizeof(text));
		assert_string_equal(text, "abc");
		close(clients[i]);
	}
	WAIT_FOR(f, spawner_running(f->spawner) == 0);
	for (int i = 0; i < 200; i++) {
		assert_true(readable(pidfds[i]));
		close(pidfds[i]);
	}
}

/* ---- access programs ---- */

/* Asks the access program; its whole output goes to text. Returns after the answer. */
static void ask_access(struct fixture *f, struct question *q, enum answer_kind kind, char *text, size_t size)
{
	int pipefd[2];

	assert_int_equal(pipe2(pipefd, O_CLOEXEC | O_NONBLOCK), 0);
	*q = make_question(f, ASK_ACCESS, 7);
	ask(f, q, pipefd[1]);
	assert_int_equal(answer_to(f, q, kind), -1);
	read_all(f, pipefd[0], text, size);
	close(pipefd[0]);
}

static void test_access_granted_with_a_banner(void **state)
{
	struct fixture *f = *state;
	struct question q;
	char text[64];

	script(f, "a", "read x && exit 1; echo 220 hello $PROXY_CLIENT; exit 0");
	configure(f, 1, "");
	ask_access(f, &q, ANSWER_GRANTED, text, sizeof(text));
	assert_string_equal(text, "220 hello 10.0.0.7\n");
	assert_true(f->slots[7].pid > 0);
	assert_null(f->log.s);
}

static void test_access_knows_the_server(void **state)
{
	struct fixture *f = *state;
	struct config_errors errors = {0};
	char *config = mem_printf("port 25\nserver 10.9.9.9:2525\nserver mail\nacp %s/a\n", f->dir);
	struct question q;
	char text[64];
	int pipefd[2];

	script(f, "a", "echo $PROXY_SERVER $PROXY_SERVERPORT");
	spawner_set_config(f->spawner, config_parse("test", config, NULL, &errors), 1);
	free(config);
	for (uint32_t server = 0; server < 2; server++) {
		assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
		q = make_question(f, ASK_ACCESS, 7);
		q.server = server;
		ask(f, &q, pipefd[1]);
		answer_to(f, &q, ANSWER_GRANTED);
		read_all(f, pipefd[0], text, sizeof(text));
		assert_string_equal(text, server == 0 ? "10.9.9.9 2525\n" : "mail 25\n");
		close(pipefd[0]);
	}
}

static void test_access_denied(void **state)
{
	struct fixture *f = *state;
	struct question q;
	char text[64];

	script(f, "a", "echo 554 go away; echo because >&2; exit 3");
	configure(f, 1, "");
	ask_access(f, &q, ANSWER_DENIED, text, sizeof(text));
	assert_string_equal(text, "554 go away\n");
	assert_true(WIFEXITED(f->slots[7].status) && WEXITSTATUS(f->slots[7].status) == 3);
	assert_true(logged(f, "info access program "));
	assert_true(logged(f, "/a for 10.0.0.7:51234 id=17: because\n"));
	assert_true(logged(f, "/a for 10.0.0.7:51234 id=17: denied, exit status 3\n"));

	script(f, "a", "kill -9 $$");
	ask_access(f, &q, ANSWER_DENIED, text, sizeof(text));
	assert_true(logged(f, "denied, signal 9 (Killed)\n"));
}

/* Whatever a program has said stands in the log before what became of it. */
static void test_last_words_before_the_verdict(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_ACCESS, 0);
	siginfo_t info;

	script(f, "a", "(head -c 30000 /dev/zero | tr '\\0' x; echo; echo because) >&2; exit 3");
	configure(f, 1, "");
	ask(f, &q, open("/dev/null", O_WRONLY | O_CLOEXEC));
	WAIT_FOR(f, f->slots[0].pid != 0);
	/* All of it is in the pipe, more than one read takes, and the program has ended. */
	assert_int_equal(waitid(P_PID, (id_t)f->slots[0].pid, &info, WEXITED | WNOWAIT), 0);
	answer_to(f, &q, ANSWER_DENIED);
	assert_true(logged(f, ": because\n") && logged(f, ": denied"));
	assert_true(strstr(f->log.s, "because") < strstr(f->log.s, "denied"));
}

static void test_access_out_of_time(void **state)
{
	struct fixture *f = *state;
	int64_t begin = clock_mono_ms();
	struct question q;
	char text[64];

	script(f, "a", "trap '' TERM; sleep 1000 & echo wait; sleep 1000");
	configure(f, 1, "acp-timeout 300ms\n");
	/* Its output ends: the whole group was killed. */
	ask_access(f, &q, ANSWER_DENIED, text, sizeof(text));
	assert_in_range(clock_mono_ms() - begin, 290, 6000);
	assert_string_equal(text, "wait\n");
	assert_true(logged(f, "denied, no answer within 0.3 s\n"));
	WAIT_FOR(f, spawner_running(f->spawner) == 0);
	assert_false(logged(f, "signal"));
}

static void test_access_that_cannot_start(void **state)
{
	struct fixture *f = *state;
	struct question q;
	char text[64];

	configure(f, 1, "");
	ask_access(f, &q, ANSWER_FAILED, text, sizeof(text));
	assert_true(logged(f, "error cannot start access program "));
	assert_string_equal(text, "");
}

/* ---- names ---- */

static void test_name_of_the_client(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);
	char text[64];

	script(f, "h", "echo $PROXY_CLIENTNAME $TCPREMOTEHOST");
	configure(f, 1, "");
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	read_all(f, client, text, sizeof(text));
	assert_string_equal(text, "mail.test mail.test\n");
	assert_string_equal(f->slots[0].name, "mail.test");
	close(client);

	configure(f, 2, "numeric yes\n");
	client = client_pair(&program_end);
	q = make_question(f, ASK_HANDLER, 0);
	q.generation = 2;
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	read_all(f, client, text, sizeof(text));
	assert_string_equal(text, "10.0.0.7\n");
	assert_string_equal(f->slots[0].name, "");
	close(client);
}

static struct question ask_silent(struct fixture *f, enum question_kind kind, uint32_t row, int fd)
{
	struct question q = make_question(f, kind, row);

	assert_true(addr_parse("10.0.0.8", &q.client));
	ask(f, &q, fd);
	return q;
}

static void test_name_and_access_share_the_time(void **state)
{
	struct fixture *f = *state;
	int program_end, client = client_pair(&program_end);
	struct question q;

	script(f, "a", "");
	configure(f, 1, "acp-timeout 300ms\n");
	q = ask_silent(f, ASK_ACCESS, 0, program_end);
	answer_to(f, &q, ANSWER_DENIED);
	assert_int_equal(f->slots[0].pid, 0);
	WAIT_FOR(f, readable(client)); /* nobody holds the other end any more */
	close(client);
}

static void test_gone_while_a_name_is_looked_up(void **state)
{
	struct fixture *f = *state;
	int program_end, client = client_pair(&program_end);
	struct question q;

	script(f, "h", "");
	configure(f, 1, "");
	/* killed; overtaken; its channel gone */
	q = ask_silent(f, ASK_HANDLER, 0, program_end);
	loop_turn(&f->loop, 20);
	program_end = dup(client); /* asked again by a worker that took over */
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &program_end, 1), 0);
	close(program_end);
	q.kind = ASK_KILL;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), NULL, 0), 0);
	answer_to(f, &q, ANSWER_FAILED);
	WAIT_FOR(f, readable(client));
	close(client);

	client = client_pair(&program_end);
	q = make_question(f, ASK_HANDLER, 2);
	ask(f, &q, program_end);
	loop_turn(&f->loop, 20);
	f->slots[2].serial++;
	WAIT_FOR(f, readable(client));
	assert_int_equal(f->slots[2].pid, 0);
	assert_string_equal(f->slots[2].name, "");
	close(client);

	/* killed, while the name server answers */
	client = client_pair(&program_end);
	q = make_question(f, ASK_HANDLER, 3);
	ask(f, &q, program_end);
	loop_turn(&f->loop, 20);
	q.kind = ASK_KILL;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), NULL, 0), 0);
	answer_to(f, &q, ANSWER_FAILED);
	no_answer(f);
	assert_int_equal(f->slots[3].pid, 0);
	close(client);

	client = client_pair(&program_end);
	ask_silent(f, ASK_HANDLER, 1, program_end);
	loop_turn(&f->loop, 20);
	close(f->sock);
	f->sock = -1;
	WAIT_FOR(f, f->gone);
	WAIT_FOR(f, readable(client));
	assert_int_equal(f->slots[0].pid | f->slots[1].pid, 0);
	close(client);
}

/* ---- questions ---- */

static void test_not_started_twice(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end), pidfd, again;

	script(f, "h", "exec cat");
	configure(f, 1, "");
	/* the row is about another question by now */
	f->slots[0].serial = q.serial + 1;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &program_end, 1), 0);
	no_answer(f);
	assert_int_equal(f->slots[0].pid, 0);

	/* not even told that it is stale; nor when it was started once */
	q.generation = 99;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &program_end, 1), 0);
	f->slots[1] = (struct question_slot){.serial = q.serial, .pid = 1};
	q.row = 1;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &program_end, 1), 0);
	no_answer(f);
	q.row = 0;
	q.generation = 1;

	again = dup(program_end);
	ask(f, &q, program_end);
	pidfd = answer_to(f, &q, ANSWER_STARTED);
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &again, 1), 0);
	no_answer(f);
	assert_int_equal(spawner_running(f->spawner), 1);
	close(again);
	close(client);
	WAIT_FOR(f, readable(pidfd));
	/* also when it is over */
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &pidfd, 1), 0);
	no_answer(f);
	close(pidfd);
}

static void test_generations(void **state)
{
	struct fixture *f = *state;

	script(f, "h", "");
	for (uint64_t g = 1; g <= 5; g++)
		configure(f, g, "");
	for (uint64_t g = 1; g <= 6; g++) {
		struct question q = make_question(f, ASK_HANDLER, 0);
		int program_end, client = client_pair(&program_end), pidfd;

		q.generation = g;
		ask(f, &q, program_end);
		pidfd = answer_to(f, &q, g >= 2 && g <= 5 ? ANSWER_STARTED : ANSWER_STALE);
		if (pidfd >= 0)
			close(pidfd);
		close(client);
	}
}

static void test_questions_that_make_no_sense(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);
	int three[3] = {program_end, program_end, program_end};
	char big[sizeof(q) + 1] = "";

	script(f, "h", "");
	configure(f, 1, "");
	f->slots[0].serial = q.serial;
	assert_int_equal(sock_send_message(f->sock, "x", 1, &program_end, 1), 0);
	assert_int_equal(sock_send_message(f->sock, big, sizeof(big), &program_end, 1), 0);
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), NULL, 0), 0);
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), three, 3), 0);
	q.row = ROWS;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &program_end, 1), 0);
	q.row = 0;
	q.kind = 99;
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), &program_end, 1), 0);
	no_answer(f);
	close(program_end);
	WAIT_FOR(f, readable(client)); /* every copy was closed */
	close(client);
	assert_string_equal(f->log.s, "error a message to the spawner is ignored: it is no question\n"
	                              "error a message to the spawner is ignored: it is no question\n"
	                              "error a message to the spawner is ignored: wrong number of descriptors\n"
	                              "error a message to the spawner is ignored: wrong number of descriptors\n"
	                              "error a message to the spawner is ignored: unknown row\n"
	                              "error a message to the spawner is ignored: unknown kind of question\n");

	for (int i = 0; i < 3; i++) {
		client = client_pair(&program_end);
		q = make_question(f, i == 2 ? ASK_ACCESS : ASK_HANDLER, 0);
		q.section = i == 0 ? 5 : 0;
		q.server = 77;
		ask(f, &q, program_end);
		answer_to(f, &q, ANSWER_FAILED);
		assert_int_equal(f->slots[0].status, EINVAL);
		close(client);
	}
}

/* An asker that takes no answers is held up; it cannot fill our memory. */
static void test_slow_reader_of_answers(void **state)
{
	struct fixture *f = *state;
	unsigned asked = 0, answered = 0;
	struct question q;
	struct answer a;
	int fd, small = 1;

	setsockopt(f->spawner_sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	/* No configuration: each is answered at once, as stale. */
	for (int rc = 0; rc == 0 && asked < 10 * ROWS; asked++) {
		q = make_question(f, ASK_HANDLER, 0);
		f->slots[0] = (struct question_slot){.serial = q.serial};
		fd = dup(0);
		rc = sock_send_message(f->sock, &q, sizeof(q), &fd, 1);
		close(fd);
		loop_turn(&f->loop, 0);
	}
	assert_in_range(asked, ROWS + 1, 10 * ROWS - 1);
	while (answered < ROWS) {
		WAIT_FOR(f, take_answer(f, &a, &fd));
		assert_int_equal(a.kind, ANSWER_STALE);
		assert_int_equal(a.serial, ++answered); /* in order */
	}
	do {
		loop_turn(&f->loop, 20);
	} while (take_answer(f, &a, &fd));
	q = make_question(f, ASK_HANDLER, 0);
	ask(f, &q, dup(0));
	answer_to(f, &q, ANSWER_STALE);
}

/* ---- ending ---- */

static void test_kill_a_stubborn_handler(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0), kill_q;
	int program_end, client = client_pair(&program_end), pidfd;
	int64_t begin;
	char text[64];

	/* A shell that waits obeys its trap at once; with `sleep` in the foreground it would do so at its end, and a shell
	 * that is just about to become `sleep` does not hear the signal. */
	script(f, "h", "trap 'echo term' TERM; echo ready; while :; do sleep 1000 & wait; done");
	configure(f, 1, "");
	ask(f, &q, program_end);
	pidfd = answer_to(f, &q, ANSWER_STARTED);
	WAIT_FOR(f, readable(client));
	kill_q = q;
	kill_q.kind = ASK_KILL;
	begin = clock_mono_ms();
	assert_int_equal(sock_send_message(f->sock, &kill_q, sizeof(kill_q), NULL, 0), 0);
	read_all(f, client, text, sizeof(text));
	assert_string_equal(text, "ready\nterm\n");
	assert_in_range(clock_mono_ms() - begin, 1900, 3900);
	WAIT_FOR(f, readable(pidfd));
	assert_false(logged(f, "ended by")); /* it was we who ended it */
	close(pidfd);
	close(client);
}

static bool runs_what_we_run(pid_t pid)
{
	char path[32], ours[PATH_MAX] = "", theirs[PATH_MAX] = "";

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return readlink("/proc/self/exe", ours, sizeof(ours) - 1) == readlink(path, theirs, sizeof(theirs) - 1) &&
	       strcmp(ours, theirs) == 0;
}

/* A process with a session of its own: a program, or (path NULL) one of us. */
static pid_t session_of(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		if (path)
			execl(path, path, "60", NULL);
		for (;;)
			pause();
	}
	while (getsid(pid) != pid)
		usleep(1000);
	while (path && runs_what_we_run(pid))
		usleep(1000);
	return pid;
}

static void end_by_word(struct fixture *f, uint32_t row, pid_t pid)
{
	struct question q = make_question(f, ASK_KILL, row);

	f->slots[row] = (struct question_slot){.serial = q.serial, .pid = pid};
	assert_int_equal(sock_send_message(f->sock, &q, sizeof(q), NULL, 0), 0);
	for (int i = 0; i < 5; i++)
		loop_turn(&f->loop, 20);
}

/* Which program another spawner has started stands in memory that a worker can write. */
static void test_a_worker_has_nobody_ended_but_programs(void **state)
{
	struct fixture *f = *state;
	pid_t own = session_of(NULL), program = session_of("/bin/sleep");
	int status;

	end_by_word(f, 0, own);
	end_by_word(f, 1, getpid());
	end_by_word(f, 2, getppid());
	end_by_word(f, 3, -1);
	assert_int_equal(spawner_running(f->spawner), 0);
	f->slots[4] = (struct question_slot){.serial = 7, .pid = own, .starter = INT32_MAX}; /* who is dead */
	spawner_take_program(f->spawner, f->spawner_sock, 4, false);
	assert_int_equal(waitpid(own, &status, WNOHANG), 0);
	end_by_word(f, 5, program);
	WAIT_FOR(f, kill(program, 0) < 0 && spawner_running(f->spawner) == 0);
	kill(own, SIGKILL);
	assert_int_equal(waitpid(own, &status, 0), own);
}

static void test_stop_ends_all(void **state)
{
	struct fixture *f = *state;
	int clients[3];
	int64_t begin;

	/* obeys; ignores TERM; obeys, but leaves a child that ignores it */
	script(f, "h",
	       "case $PROXY_CLIENTPORT in 1) trap '' TERM;; 2) (trap '' TERM; echo; sleep 1000) & "
	       "wait;; esac; echo; sleep 1000");
	configure(f, 1, "");
	for (uint32_t i = 0; i < 3; i++) {
		struct question q = make_question(f, ASK_HANDLER, i);
		int program_end;

		clients[i] = client_pair(&program_end);
		q.client.port = (uint16_t)i;
		ask(f, &q, program_end);
		close(answer_to(f, &q, ANSWER_STARTED));
		WAIT_FOR(f, readable(clients[i]));
	}
	begin = clock_mono_ms();
	spawner_stop(f->spawner, on_stopped, f);
	assert_false(f->stopped);
	WAIT_FOR(f, f->stopped);
	assert_in_range(clock_mono_ms() - begin, 1900, 3900);
	assert_int_equal(spawner_running(f->spawner), 0);
	for (int i = 0; i < 3; i++) {
		char text[8];

		/* The end is there: no process holds the other side. */
		read_all(f, clients[i], text, sizeof(text));
		close(clients[i]);
	}
	assert_null(f->log.s);
	clients[0] = client_pair(&clients[1]);
	{
		struct question q = make_question(f, ASK_HANDLER, 0);

		ask(f, &q, clients[1]);
		answer_to(f, &q, ANSWER_FAILED);
	}
	close(clients[0]);
}

static void test_stop_is_quick_when_programs_obey(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end);
	int64_t begin;

	script(f, "h", "echo; exec cat");
	configure(f, 1, "");
	ask(f, &q, program_end);
	close(answer_to(f, &q, ANSWER_STARTED));
	WAIT_FOR(f, readable(client));
	begin = clock_mono_ms();
	spawner_stop(f->spawner, on_stopped, f);
	WAIT_FOR(f, f->stopped);
	assert_in_range(clock_mono_ms() - begin, 0, 1900);
	close(client);
}

static void test_channel_gone(void **state)
{
	struct fixture *f = *state;
	struct question q = make_question(f, ASK_HANDLER, 0);
	int program_end, client = client_pair(&program_end), pidfd, pipefd[2];
	char text[64];

	script(f, "h", "exec cat");
	script(f, "a", "trap '' TERM; echo asked; sleep 1000");
	configure(f, 1, "");
	ask(f, &q, program_end);
	pidfd = answer_to(f, &q, ANSWER_STARTED);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	q = make_question(f, ASK_ACCESS, 1);
	ask(f, &q, pipefd[1]);
	WAIT_FOR(f, readable(pipefd[0]));
	close(f->sock);
	f->sock = -1;
	WAIT_FOR(f, f->gone);
	/* the access program is killed, the handler goes on */
	read_all(f, pipefd[0], text, sizeof(text));
	assert_string_equal(text, "asked\n");
	WAIT_FOR(f, spawner_running(f->spawner) == 1);
	assert_int_equal(write(client, "still", 5), 5);
	shutdown(client, SHUT_WR);
	read_all(f, client, text, sizeof(text));
	assert_string_equal(text, "still");
	WAIT_FOR(f, spawner_running(f->spawner) == 0);
	assert_int_equal(f->slots[1].answered, 0);
	close(pipefd[0]);
	close(pidfd);
	close(client);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
#define TEST_NAMES(name) cmocka_unit_test_setup_teardown(test_##name, setup_names, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(handler_talks_through_its_socket),
	        TEST(a_worker_that_does_not_know_of_ids_is_heard),
	        TEST(no_copy_of_the_client_is_kept),
	        TEST(handler_environment),
	        TEST(handler_with_two_pipes),
	        TEST(handler_that_cannot_start),
	        TEST(no_descriptor_to_be_had),
	        TEST(stderr_becomes_lines),
	        TEST(stderr_moves_no_cursor),
	        TEST(background_child_keeps_the_log),
	        TEST(many_at_once),
	        TEST(access_granted_with_a_banner),
	        TEST(access_knows_the_server),
	        TEST(access_denied),
	        TEST(last_words_before_the_verdict),
	        TEST(access_out_of_time),
	        TEST(access_that_cannot_start),
	        TEST_NAMES(name_of_the_client),
	        TEST_NAMES(name_and_access_share_the_time),
	        TEST_NAMES(gone_while_a_name_is_looked_up),
	        TEST(not_started_twice),
	        TEST(generations),
	        TEST(questions_that_make_no_sense),
	        TEST(slow_reader_of_answers),
	        TEST(kill_a_stubborn_handler),
	        TEST(a_worker_has_nobody_ended_but_programs),
	        TEST(stop_ends_all),
	        TEST(stop_is_quick_when_programs_obey),
	        TEST(channel_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
