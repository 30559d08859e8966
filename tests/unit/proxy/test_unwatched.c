/*
 * epoll_ctl() that fails (fs.epoll.max_user_watches is one for all processes of a user, and there may be no memory): whoever
 * cannot be watched would never be heard. A connection is ended at once, with a reset and a line in the log that says why; a
 * listening socket is tried again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/proc.h"
#include "os/sock.h"
#include "program/question.h"
#include "proxy/engine.h"

/* ---- a kernel that refuses ---- */

static struct {
	int op;    /* 0: nothing fails */
	int after; /* so many of them work */
	int times; /* then so many fail */
} fails;

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	if (op != fails.op || fails.after-- > 0 || fails.times-- <= 0)
		return __real_epoll_ctl(epfd, op, fd, event);
	errno = ENOSPC;
	return -1;
}

static void refuse(int op, int after, int times)
{
	fails.op = op;
	fails.after = after;
	fails.times = times;
}

/* ---- an engine ---- */

static struct engine engine;
static struct world *world;
static struct trio *trio;
static int channel; /* the spawner's end */
static uint8_t end; /* of the last record */
static char said[4096];
static int n_fds;

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void take_message(void *arg, enum message_type type, const void *data, size_t len)
{
	char texts[sizeof(((struct record_message *)0)->texts) + RECORD_TEXTS];
	struct record r;
	uint32_t label;

	if (type == MESSAGE_RECORD && accesslog_read(data, len, world, texts, &r, &label))
		end = (uint8_t)r.end;
}

static void take_line(void *arg, enum log_level level, const char *line)
{
	size_t len = strlen(said);

	snprintf(said + len, sizeof(said) - len, "%s\n", line);
}

static int lines_with(const char *text)
{
	int n = 0;

	for (const char *at = said; (at = strstr(at, text)); at++)
		n++;
	return n;
}

static void start_engine(void)
{
	struct engine_setup wanted = {
	        .n_trios = 1, .trios = &trio, .world = world, .trio = trio, .n_events = 16, .message = take_message};

	assert_int_equal(engine_init(&engine, &wanted, -1), 0);
}

static int setup(void **state)
{
	n_fds = open_fds();
	world = world_new_private();
	trio = trio_new_private(8);
	end = END_NONE;
	*said = '\0';
	refuse(0, 0, 0);
	log_set_sink(take_line, NULL);
	start_engine();
	return 0;
}

static void stop_engine(void)
{
	if (engine.channel.fd >= 0)
		close(engine.channel.fd);
	close(engine.loop.epfd);
	pipepool_release(&engine.env.pool);
	free(engine.loop.events);
	engine_forget(&engine);
}

static int teardown(void **state)
{
	pipepool_discard(&trio->step.pipe_read, &trio->step.pipe_write);
	stop_engine();
	trio_unmap(trio);
	munmap(world, sizeof(*world));
	assert_int_equal(open_fds(), n_fds);
	return 0;
}

/* Rules of one port; the server's name, if it has one, leads to 127.0.0.1 and 127.0.0.2. */
static void load(const char *text)
{
	struct config_errors errors;
	struct config *c = config_parse("", text, &(struct config_ops){0}, &errors);
	uint32_t labels[4] = {0};
	struct buf block = BUF_INIT;
	struct addr addrs[2];

	assert_non_null(c);
	world_take(world, c);
	assert_true(addr_parse("127.0.0.1", &addrs[0]) && addr_parse("127.0.0.2", &addrs[1]));
	if (atomic_load(&world->targets.list[0].state) == TARGET_UNKNOWN)
		target_set_addrs(&world->targets.list[0], addrs, 2, false);
	packed_make(c, labels, NULL, 0, &block);
	engine_set_rules(&engine, ruleset_load(block.s, block.len, 1, world));
	assert_non_null(engine.rules);
	buf_release(&block);
	config_free(c);
}

static void open_channel(void)
{
	int pair[2];

	assert_int_equal(sock_message_pair(pair), 0);
	engine_set_channel(&engine, pair[0]);
	channel = pair[1];
}

static int listen_on(const char *text, uint16_t *port)
{
	struct addr a;
	int fd;

	assert_true(addr_parse(text, &a));
	a.port = *port;
	fd = sock_listen(&a, 5, false);
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, &a), 0);
	*port = a.port;
	return fd;
}

static int accept_one(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 5000), 1);
	return sock_accept(listener, NULL);
}

/* A client that was accepted; returns its own end. */
static int serve(void)
{
	struct addr local = {.family = AF_INET, .port = 80, .ip = {127, 0, 0, 1}}, client = local, a;
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port), theirs = sock_new_tcp(AF_INET), ours, size = 8192;

	setsockopt(theirs, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	assert_int_equal(sock_local(listener, &a), 0);
	assert_int_equal(sock_connect(theirs, &a), -EINPROGRESS);
	ours = accept_one(listener);
	close(listener);
	client.port = 4711;
	engine.loop.now_ms = clock_mono_ms();
	engine_serve(&engine, ours, &local, &client, NULL);
	return theirs;
}

#define TURN_UNTIL(condition)                                                \
	do {                                                                 \
		int64_t until_ = clock_mono_ms() + 10000;                    \
		while (!(condition)) {                                       \
			assert_int_equal(loop_turn(&engine.loop, 5), 0);     \
			if (clock_mono_ms() > until_)                        \
				fail_msg("never came true: %s", #condition); \
		}                                                            \
	} while (0)

static void assert_reset(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char buf[4096];
	ssize_t n;

	do {
		assert_int_equal(poll(&p, 1, 5000), 1);
		n = recv(fd, buf, sizeof(buf), 0);
	} while (n > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
}

static void assert_lost(int client, const char *why)
{
	assert_reset(client);
	assert_int_equal(engine_live(&engine), 0);
	assert_int_equal(end, END_LOST);
	if (!strstr(said, why) || !strstr(said, "max_user_watches"))
		fail_msg("the log says: %s", said);
}

static void load_server(const char *host, uint16_t port)
{
	char text[100];

	snprintf(text, sizeof(text), "port 80\nserver %s:%u\n", host, port);
	load(text);
}

/* ---- a connection ---- */

static void a_client(void **state)
{
	load_server("127.0.0.1", 9);
	refuse(EPOLL_CTL_ADD, 0, 1);
	assert_lost(serve(), "cannot be watched");
}

static void what_an_access_program_prints(void **state)
{
	load("port 80\nserver 127.0.0.1:9\nacp /bin/true\n");
	open_channel();
	refuse(EPOLL_CTL_ADD, 1, 1);
	assert_lost(serve(), "what it prints cannot be watched");
	assert_int_equal(sock_recv_message(channel, said, 1, NULL, NULL), -EAGAIN); /* nothing was started */
	close(channel);
}

static void next_question(struct question *q)
{
	struct pollfd p = {.fd = channel, .events = POLLIN};
	int fds[2];
	size_t n = 2;

	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(sock_recv_message(channel, q, sizeof(*q), fds, &n), sizeof(*q));
	while (n > 0)
		close(fds[--n]);
}

/* It would run on unseen, so it is ended with the connection. */
static void the_end_of_a_handler(void **state)
{
	struct question q;
	struct answer a = {.kind = ANSWER_STARTED};
	pid_t pid = fork();
	int pidfd, client;

	if (pid == 0) {
		alarm(30);
		pause();
		_exit(0);
	}
	pidfd = proc_pidfd(pid);
	load("port 80\nexec /bin/cat\n");
	open_channel();
	client = serve();
	next_question(&q);
	assert_int_equal(q.kind, ASK_HANDLER);
	a.row = q.row;
	a.serial = q.serial;
	assert_int_equal(sock_send_message(channel, &a, sizeof(a), &pidfd, 1), 0);
	refuse(EPOLL_CTL_ADD, 0, 1);
	TURN_UNTIL(engine_live(&engine) == 0);
	assert_lost(client, "its end cannot be watched");
	next_question(&q);
	assert_int_equal(q.kind, ASK_KILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pidfd);
	close(channel);
}

/* The second attempt has won, and its events must be told as those of the server from now on. */
static void the_server_of_a_second_attempt(void **state)
{
	uint16_t port = 0;
	int first = listen_on("127.0.0.1", &port), second = listen_on("127.0.0.2", &port), callers[8], n = 0, client;
	struct sock_tcp_info info;
	struct addr a;

	/* whose queue is full answers nobody */
	assert_int_equal(listen(first, 0), 0);
	assert_int_equal(sock_local(first, &a), 0);
	do {
		callers[n] = sock_new_tcp(AF_INET);
		sock_connect(callers[n], &a);
		assert_int_equal(sock_tcp_info(callers[n++], &info), 0);
	} while (info.state == 1 && n < 8);
	load_server("two.example", port);
	client = serve();
	refuse(EPOLL_CTL_MOD, 0, 1);
	TURN_UNTIL(engine_live(&engine) == 0);
	assert_reset(client);
	assert_int_equal(end, END_CONNECT_FAILED);
	assert_int_equal(lines_with("No space left"), 1);
	while (n > 0)
		close(callers[--n]);
	close(first);
	close(second);
}

/* A server that reads nothing: we wait until it takes more, and would not be told. */
static void room_in_a_destination(void **state)
{
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port), client, server;
	char some[4096] = {0};

	load_server("127.0.0.1", port);
	client = serve();
	TURN_UNTIL(trio_row(trio, 0)->state == ROW_RELAY);
	server = accept_one(listener);
	/* the client's side is the one that is not watched for room yet */
	refuse(EPOLL_CTL_MOD, 0, 1);
	for (int i = 0; i < 2000 && engine_live(&engine) > 0; i++) {
		if (send(server, some, sizeof(some), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			break;
		assert_int_equal(loop_turn(&engine.loop, 5), 0);
	}
	assert_lost(client, "it cannot be watched");
	assert_reset(server);
	close(listener);
}

/* A successor whose epoll instance has not heard of it: its predecessor died before that. */
static void one_that_is_taken_over(void **state)
{
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port), client, server;

	load_server("127.0.0.1", port);
	client = serve();
	TURN_UNTIL(trio_row(trio, 0)->state == ROW_RELAY);
	server = accept_one(listener);
	stop_engine();
	start_engine();
	load_server("127.0.0.1", port);
	refuse(EPOLL_CTL_ADD, 1, 1); /* the client's works */
	engine_take_up(&engine, 0);
	assert_lost(client, "cannot be watched");
	assert_reset(server);
	close(listener);
}

/* ---- a listening socket ---- */

static void a_listener_is_tried_again(void **state)
{
	uint16_t port = 0;
	int listener = listen_on("127.0.0.1", &port), client = sock_new_tcp(AF_INET);
	struct pollfd p = {.fd = client, .events = POLLIN};
	struct addr a;

	load("port 80\nserver 127.0.0.1:9\n");
	refuse(EPOLL_CTL_ADD, 0, 3);
	engine_accept(&engine, true);
	assert_int_equal(engine_add_listener(&engine, 0, 1, 0, listener), 0);
	assert_int_equal(sock_local(listener, &a), 0);
	assert_int_equal(atomic_load(&world->disarmed[0]), 1); /* status says that it does not accept */
	assert_int_equal(sock_connect(client, &a), -EINPROGRESS);
	TURN_UNTIL(lines_with("watched again") == 1);
	assert_true(fails.times <= 0);
	assert_int_equal(lines_with("accepting connections: a listening socket cannot be watched"), 1);
	assert_int_equal(atomic_load(&world->disarmed[0]), 0);
	TURN_UNTIL(poll(&p, 1, 0) == 1);
	assert_reset(client); /* it was accepted, and nothing is configured for its port */
	timer_clear(&engine.loop, &engine.rearm_timer);
	close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_client),
	        TEST(what_an_access_program_prints),
	        TEST(the_end_of_a_handler),
	        TEST(the_server_of_a_second_attempt),
	        TEST(room_in_a_destination),
	        TEST(one_that_is_taken_over),
	        TEST(a_listener_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
