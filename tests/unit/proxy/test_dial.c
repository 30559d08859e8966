/* Reaching one server: its addresses in order, two attempts at a time, a time limit. */
#include "fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "os/sock.h"
#include "proxy/dial.h"

enum { ESTABLISHED = 1 }; /* a state of tcp_info */

static struct stage stage;
static struct dial dial;
static struct target *target;
static struct addr no_source;
static bool over;
static bool more_to_come; /* the name is still being asked for addresses of the other family */
static enum dial_outcome outcome;
static int calling; /* sockets that are said to be just calling */
static int caller;  /* who has called last, and whom */
static struct addr callee;

static void on_done(void *arg, enum dial_outcome result)
{
	assert_false(over);
	over = true;
	outcome = result;
}

static void on_calling(void *arg, const struct addr *to)
{
	assert_int_equal(calling++, 0);
	callee = *to;
}

/* Its own end is known when this is said. */
static void on_called(void *arg, int fd, const struct addr *to)
{
	struct addr local;

	if (calling > 0) {
		assert_memory_equal(&callee, to, sizeof(callee));
		calling--;
	}
	if (fd >= 0) {
		assert_int_equal(sock_local(fd, &local), 0);
		assert_int_not_equal(local.port, 0);
	}
	caller = fd;
	callee = *to;
}

static void row_event(void *arg, uint64_t number, uint32_t events)
{
	if (!over)
		dial_event(&dial, (enum side)(number & 3), events);
}

static int setup(void **state)
{
	over = more_to_come = false;
	stage_init(&stage);
	loop_handle(&stage.loop, LOOP_KIND_ROW, row_event, NULL);
	target = calloc(1, sizeof(*target));
	memset(&dial, 0, sizeof(dial));
	dial.target = target;
	dial.source = &no_source;
	dial.calling = on_calling;
	dial.called = on_called;
	calling = 0;
	caller = -1;
	return 0;
}

static int teardown(void **state)
{
	if (!over)
		dial_cancel(&dial);
	if (stage.row->fd[SERVER] >= 0)
		close(stage.row->fd[SERVER]);
	assert_int_equal(stage.row->fd[SECOND], -1);
	free(target);
	stage_release(&stage);
	return 0;
}

static struct addr address(const char *text)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	return a;
}

/* A listening socket at this address; port 0: any, which dial.port becomes. */
static int listen_at(const char *text)
{
	struct addr a = address(text);
	int fd;

	a.port = dial.port;
	fd = sock_listen(&a, 5, false);
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, &a), 0);
	dial.port = a.port;
	return fd;
}

/* A port at which nobody listens: one that was free a moment ago. */
static void nobody_listens(void)
{
	close(listen_at("127.0.0.1"));
}

/* An address whose queue is full: a caller is not answered at all. */
struct black_hole {
	int listener;
	int callers[8];
	int n;
};

static void open_black_hole(struct black_hole *h, const char *text)
{
	struct addr a;
	struct sock_tcp_info info = {.state = ESTABLISHED};

	h->n = 0;
	h->listener = listen_at(text);
	assert_int_equal(listen(h->listener, 0), 0);
	assert_int_equal(sock_local(h->listener, &a), 0);
	while (info.state == ESTABLISHED) {
		int fd = sock_new_tcp(a.family);

		assert_true(h->n < 8);
		h->callers[h->n++] = fd;
		assert_int_equal(sock_connect(fd, &a), -EINPROGRESS);
		assert_int_equal(sock_tcp_info(fd, &info), 0);
	}
}

static void close_black_hole(struct black_hole *h)
{
	while (h->n > 0)
		close(h->callers[--h->n]);
	close(h->listener);
}

static void set_addresses(const char *const *texts, size_t n)
{
	struct addr addrs[TARGET_ADDRS];

	for (size_t i = 0; i < n; i++)
		addrs[i] = address(texts[i]);
	target_set_addrs(target, addrs, n, more_to_come);
}

#define ADDRESSES(...) \
	set_addresses((const char *[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *))

static void start(void)
{
	stage.loop.now_ms = clock_mono_ms();
	dial_start(&dial, &stage.env, stage.row, stage.cold, on_done, NULL);
}

static void nothing(void *arg)
{
}

static void finish(enum dial_outcome wanted)
{
	UNTIL(&stage, nothing, NULL, over);
	assert_int_equal(outcome, wanted);
	assert_int_equal(stage.row->fd[SECOND], -1);
	assert_int_equal(calling, 0);
	if (wanted != DIAL_CONNECTED) {
		assert_int_equal(stage.row->fd[SERVER], -1);
		return;
	}
	/* the one who is connected was told last */
	assert_int_equal(caller, dial.unix_path ? -1 : stage.row->fd[SERVER]);
	if (!dial.unix_path)
		assert_memory_equal(&callee, &stage.cold->server, sizeof(callee));
}

/* The socket works, it is the row's, and the record names this address. */
static void assert_connected(int listener, const char *text)
{
	struct addr wanted = address(text);
	struct pollfd p = {.fd = listener, .events = POLLIN};
	int fd = stage.row->fd[SERVER], conn;
	char byte = 0;

	assert_true(fd >= 0);
	assert_int_equal(poll(&p, 1, 5000), 1);
	conn = sock_accept(listener, NULL);
	assert_true(conn >= 0);
	assert_int_equal(send(conn, "y", 1, 0), 1);
	p.fd = fd;
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 'y');
	assert_true(addr_same_host(&stage.cold->server, &wanted));
	assert_int_equal(stage.cold->server.port, dial.port);
	assert_true(stage.row->cookie[SERVER] == 0 || stage.row->cookie[SERVER] == sock_cookie(fd));
	close(conn);
}

static void connects(void **state)
{
	int listener = listen_at("127.0.0.1");

	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_CONNECTED);
	assert_connected(listener, "127.0.0.1");
	close(listener);
}

static void refused(void **state)
{
	nobody_listens();
	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
	assert_int_equal(stage.cold->server.ip[3], 1); /* tried last */
	assert_int_equal(stage.cold->server.port, dial.port);
}

static void no_address_at_all(void **state)
{
	dial.port = 25;
	start();
	finish(DIAL_FAILED);
	assert_int_equal(stage.cold->server.family, AF_UNSPEC);
}

static void an_address_that_cannot_be_reached(void **state)
{
	dial.port = 25;
	ADDRESSES("255.255.255.255"); /* fails inside connect() */
	start();
	finish(DIAL_FAILED);
	assert_int_not_equal(dial.error, 0);
	assert_int_equal(stage.cold->server.ip[3], 255);
}

/* The next address is tried at once, not after the delay between attempts. */
static void the_second_after_the_first_refused(void **state)
{
	int listener = listen_at("127.0.0.2");
	int64_t since = clock_mono_ms();

	ADDRESSES("127.0.0.1", "255.255.255.255", "127.0.0.2");
	start();
	finish(DIAL_CONNECTED);
	assert_true(clock_mono_ms() - since < 250);
	assert_connected(listener, "127.0.0.2");
	close(listener);
}

static void the_second_while_the_first_is_silent(void **state)
{
	struct black_hole hole;
	int64_t since, took;
	int listener;

	open_black_hole(&hole, "127.0.0.1");
	listener = listen_at("127.0.0.2");
	ADDRESSES("127.0.0.1", "127.0.0.2");
	since = clock_mono_ms();
	start();
	finish(DIAL_CONNECTED);
	took = clock_mono_ms() - since;
	assert_true(took >= 249 && took < 2000);
	assert_connected(listener, "127.0.0.2");
	close(listener);
	close_black_hole(&hole);
}

/* Never more than two at a time: the third is reached only when one of them has ended. */
static void two_at_a_time(void **state)
{
	struct black_hole first, second;
	int64_t since = clock_mono_ms();
	int listener;

	open_black_hole(&first, "127.0.0.1");
	open_black_hole(&second, "127.0.0.2");
	listener = listen_at("127.0.0.3");
	ADDRESSES("127.0.0.1", "127.0.0.2", "127.0.0.3");
	dial.deadline_ms = clock_mono_ms() + 700;
	start();
	finish(DIAL_TIMEOUT);
	assert_int_equal(dial.error, ETIMEDOUT);
	assert_true(clock_mono_ms() - since >= 699);
	assert_int_equal(sock_accept(listener, NULL), -EAGAIN);
	close(listener);
	close_black_hole(&first);
	close_black_hole(&second);
}

/* The first answers after the second was begun: the second is let go. */
static void the_first_answers_late(void **state)
{
	struct black_hole first, second;

	open_black_hole(&first, "127.0.0.1");
	open_black_hole(&second, "127.0.0.2");
	ADDRESSES("127.0.0.1", "127.0.0.2");
	start();
	UNTIL(&stage, nothing, NULL, stage.row->fd[SERVER] >= 0 && stage.row->fd[SECOND] >= 0);
	assert_int_equal(listen(first.listener, 20), 0); /* room for one that knocks again */
	finish(DIAL_CONNECTED);
	assert_int_equal(stage.cold->server.ip[3], 1);
	close_black_hole(&first);
	close_black_hole(&second);
}

static void a_deadline(void **state)
{
	struct black_hole hole;
	int64_t since = clock_mono_ms();

	open_black_hole(&hole, "127.0.0.1");
	ADDRESSES("127.0.0.1");
	dial.deadline_ms = clock_mono_ms() + 100;
	start();
	assert_false(over);
	finish(DIAL_TIMEOUT);
	assert_int_equal(dial.error, ETIMEDOUT);
	assert_true(clock_mono_ms() - since >= 100);
	close_black_hole(&hole);
}

static void cancelled(void **state)
{
	struct black_hole hole;

	open_black_hole(&hole, "127.0.0.1");
	ADDRESSES("127.0.0.1");
	start();
	assert_true(stage.row->fd[SERVER] >= 0);
	dial_cancel(&dial);
	assert_int_equal(stage.row->fd[SERVER], -1);
	assert_false(over);
	close_black_hole(&hole);
}

/* The server had accepted, which nobody has seen yet. */
static void cancelled_when_it_was_connected(void **state)
{
	int listener = listen_at("127.0.0.1"), conn;
	struct pollfd p = {.events = POLLIN};
	char byte;

	ADDRESSES("127.0.0.1");
	start();
	assert_false(over);
	do
		conn = sock_accept(listener, NULL);
	while (conn == -EAGAIN);
	dial_cancel(&dial);
	p.fd = conn;
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(conn, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(conn);
	close(listener);
}

/* ---- addresses that come while others are tried ---- */

static void wait_ms(int64_t ms)
{
	for (int64_t until = clock_mono_ms() + ms; clock_mono_ms() < until;)
		loop_turn(&stage.loop, 10);
}

static void a_later_address_while_the_first_is_silent(void **state)
{
	struct black_hole hole;
	int listener;

	open_black_hole(&hole, "127.0.0.1");
	listener = listen_at("::1");
	more_to_come = true;
	ADDRESSES("127.0.0.1");
	start();
	wait_ms(300);
	assert_false(over);
	more_to_come = false;
	ADDRESSES("127.0.0.1", "::1");
	finish(DIAL_CONNECTED);
	assert_connected(listener, "::1");
	close(listener);
	close_black_hole(&hole);
}

/* Also if more than one of the first family was tried: each of the other is new. */
static void a_later_address_when_all_have_refused(void **state)
{
	int listener = listen_at("::1");

	more_to_come = true;
	ADDRESSES("127.0.0.1", "127.0.0.2");
	start();
	wait_ms(300);
	assert_false(over);
	more_to_come = false;
	ADDRESSES("127.0.0.1", "127.0.0.2", "::1");
	finish(DIAL_CONNECTED);
	assert_connected(listener, "::1");
	close(listener);
}

static void no_later_address_when_all_have_refused(void **state)
{
	int64_t since;

	nobody_listens();
	more_to_come = true;
	ADDRESSES("127.0.0.1");
	start();
	wait_ms(100);
	assert_false(over);
	more_to_come = false;
	ADDRESSES("127.0.0.1");
	since = clock_mono_ms();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
	assert_true(clock_mono_ms() - since < 1000);
}

static void later_addresses_are_not_waited_for_for_ever(void **state)
{
	int64_t since = clock_mono_ms();

	nobody_listens();
	more_to_come = true;
	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
	assert_in_range(clock_mono_ms() - since, 2900, 4500);
}

static void later_addresses_are_not_waited_for_beyond_the_deadline(void **state)
{
	nobody_listens();
	more_to_come = true;
	ADDRESSES("127.0.0.1");
	dial.deadline_ms = clock_mono_ms() + 200;
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
	assert_in_range(clock_mono_ms(), dial.deadline_ms, dial.deadline_ms + 1000);
}

/* All of them would answer; the first is silent, so the second attempt shows who comes next. */
static void families_take_turns(void **state)
{
	struct black_hole hole;
	int listener, other;

	open_black_hole(&hole, "127.0.0.1");
	listener = listen_at("::1");
	other = listen_at("127.0.0.2");
	ADDRESSES("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1");
	start();
	finish(DIAL_CONNECTED);
	assert_connected(listener, "::1");
	close(listener);
	close(other);
	close_black_hole(&hole);
}

static void the_first_address_s_family_comes_first(void **state)
{
	int six, four;

	six = listen_at("::1");
	four = listen_at("127.0.0.1");
	ADDRESSES("::1", "127.0.0.1");
	start();
	finish(DIAL_CONNECTED);
	assert_connected(six, "::1");
	close(six);
	close(four);
}

/* All of a family come, also when the other is used up. */
static void every_address_is_tried(void **state)
{
	int listener = listen_at("127.0.0.4");

	ADDRESSES("::1", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4");
	start();
	finish(DIAL_CONNECTED);
	assert_connected(listener, "127.0.0.4");
	close(listener);
}

/* Before we look again. */
static int accept_and_say_bye(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	int conn;

	assert_int_equal(poll(&p, 1, 5000), 1);
	conn = sock_accept(listener, NULL);
	assert_int_equal(send(conn, "bye", 3, 0), 3);
	return conn;
}

/* It accepted, answered and reset before we looked: it was there, and its answer is to be had. */
static void a_server_that_is_gone_at_once(void **state)
{
	int listener = listen_at("127.0.0.1"), conn;
	char buf[8];

	ADDRESSES("127.0.0.1");
	start();
	conn = accept_and_say_bye(listener);
	while (sock_unsent(conn) > 0)
		;
	sock_reset_on_close(conn);
	close(conn);
	finish(DIAL_CONNECTED);
	assert_int_equal(recv(stage.row->fd[SERVER], buf, sizeof(buf), 0), 3);
	assert_int_equal(recv(stage.row->fd[SERVER], buf, sizeof(buf), 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(listener);
}

static void a_banner_and_fin_at_once(void **state)
{
	int listener = listen_at("127.0.0.1"), conn;
	char buf[8];

	ADDRESSES("127.0.0.1");
	start();
	conn = accept_and_say_bye(listener);
	close(conn);
	finish(DIAL_CONNECTED);
	assert_int_equal(recv(stage.row->fd[SERVER], buf, sizeof(buf), 0), 3);
	assert_int_equal(recv(stage.row->fd[SERVER], buf, sizeof(buf), 0), 0);
	close(listener);
}

static void a_source_address(void **state)
{
	struct addr source = address("127.0.0.9"), local;
	int listener = listen_at("127.0.0.1");

	dial.source = &source;
	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_CONNECTED);
	assert_int_equal(sock_local(stage.row->fd[SERVER], &local), 0);
	assert_true(addr_same_host(&local, &source));
	assert_connected(listener, "127.0.0.1");
	close(listener);
}

static void a_source_that_this_host_does_not_have(void **state)
{
	struct addr source = address("192.0.2.1");
	int listener = listen_at("127.0.0.1");

	dial.source = &source;
	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, EADDRNOTAVAIL);
	close(listener);
}

/* The interface is looked up for each attempt: it is not there now. */
static void an_interface_that_is_not_there(void **state)
{
	dial.port = 25;
	dial.zone = "nosuchif";
	ADDRESSES("fe80::1");
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ENODEV);
	assert_string_equal(dial.missing, "nosuchif");
}

static void a_source_on_an_interface_that_is_not_there(void **state)
{
	struct addr source = address("fe80::2");
	int listener = listen_at("::1");

	dial.source = &source;
	dial.source_zone = "nosuchif";
	ADDRESSES("::1");
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ENODEV);
	assert_string_equal(dial.missing, "nosuchif");
	close(listener);
}

/* ---- a socket that is connected to itself ---- */

/* Whoever calls this port calls from it, as the kernel may choose for a port of its range at which nobody listens. */
static void call_from(struct addr *source, const char *text)
{
	nobody_listens();
	*source = address(text);
	source->port = dial.port;
	dial.source = source;
}

static void itself_is_a_refusal(void **state)
{
	struct addr source;

	call_from(&source, "127.0.0.1");
	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
	close(listen_at("127.0.0.1")); /* the port is free for who should be there */
}

static void itself_by_another_name(void **state)
{
	struct addr source;

	call_from(&source, "127.0.0.1");
	ADDRESSES("0.0.0.0"); /* this host */
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
}

static void itself_in_the_second_attempt(void **state)
{
	struct black_hole hole;
	struct addr source;

	call_from(&source, "127.0.0.1");
	open_black_hole(&hole, "::1");
	ADDRESSES("::1", "127.0.0.1");
	dial.deadline_ms = clock_mono_ms() + 600;
	start();
	finish(DIAL_TIMEOUT);
	close_black_hole(&hole);
}

/* Who calls from the same port, but is another. */
static void a_port_like_the_server_s(void **state)
{
	struct addr source;
	int listener;

	call_from(&source, "127.0.0.9");
	listener = listen_at("127.0.0.1");
	ADDRESSES("127.0.0.1");
	start();
	finish(DIAL_CONNECTED);
	assert_connected(listener, "127.0.0.1");
	close(listener);
}

/* ---- Unix sockets ---- */

static char path[64];

static int listen_unix(int backlog)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = sock_new_unix();

	snprintf(path, sizeof(path), "/tmp/test-dial-%d.sock", getpid());
	unlink(path);
	memcpy(sun.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	dial.unix_path = path;
	return fd;
}

static void a_unix_socket_connects_at_once(void **state)
{
	int listener = listen_unix(5);

	start();
	assert_true(over); /* before dial_start() returned */
	assert_int_equal(outcome, DIAL_CONNECTED);
	assert_int_equal(stage.cold->server.family, AF_UNIX);
	close(listener);
	unlink(path);
}

static void a_unix_socket_that_nobody_serves(void **state)
{
	close(listen_unix(5));
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
	unlink(path);
	over = false;
	start();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ENOENT);
}

static void a_unix_socket_whose_queue_is_full(void **state)
{
	int listener = listen_unix(0), first = sock_new_unix(), conn;

	assert_int_equal(sock_connect_unix(first, path), 0);
	dial.deadline_ms = clock_mono_ms() + 5000;
	start();
	for (int i = 0; i < 5; i++)
		loop_turn(&stage.loop, 10);
	assert_false(over);
	conn = sock_accept(listener, NULL);
	assert_true(conn >= 0);
	finish(DIAL_CONNECTED);
	close(conn);
	close(first);
	close(listener);
	unlink(path);
}

static void a_full_queue_and_a_deadline(void **state)
{
	int listener = listen_unix(0), first = sock_new_unix();

	assert_int_equal(sock_connect_unix(first, path), 0);
	dial.deadline_ms = clock_mono_ms() + 60;
	start();
	finish(DIAL_TIMEOUT);
	close(first);
	close(listener);
	unlink(path);
}

/* ---- a worker that died while dialling ---- */

/* The next one has the row, and what the session tells it again. */
static void take_over(void)
{
	const char *unix_path = dial.unix_path;
	uint16_t port = dial.port;

	timer_clear(&stage.loop, &dial.timer);
	memset(&dial, 0, sizeof(dial));
	dial.target = target;
	dial.source = &no_source;
	dial.unix_path = unix_path;
	dial.port = port;
	dial.calling = on_calling;
	dial.called = on_called;
	caller = -1;
	stage.loop.now_ms = clock_mono_ms();
	dial_resume(&dial, &stage.env, stage.row, stage.cold, on_done, NULL);
}

static void connected_before_anybody_looked(void **state)
{
	struct sock_tcp_info info;
	int listener = listen_at("127.0.0.1");

	ADDRESSES("127.0.0.1");
	start();
	do
		assert_int_equal(sock_tcp_info(stage.row->fd[SERVER], &info), 0);
	while (info.state != ESTABLISHED);
	take_over();
	finish(DIAL_CONNECTED);
	assert_connected(listener, "127.0.0.1");
	close(listener);
}

/* An attempt under way goes on, the next address comes after it, the deadline is the first one's.
 */
static void attempts_go_on(void **state)
{
	struct black_hole hole;
	int listener, before;

	open_black_hole(&hole, "127.0.0.1");
	listener = listen_at("127.0.0.2");
	ADDRESSES("127.0.0.1", "127.0.0.2");
	start();
	before = stage.row->fd[SERVER];
	take_over();
	assert_int_equal(stage.row->fd[SERVER], before);
	finish(DIAL_CONNECTED);
	assert_connected(listener, "127.0.0.2");
	close(listener);
	close_black_hole(&hole);
}

/* It was under way, and is connected after that. */
static void an_attempt_of_a_predecessor_has_a_name(void **state)
{
	struct black_hole hole;
	struct addr wanted = address("127.0.0.1");

	open_black_hole(&hole, "127.0.0.1");
	ADDRESSES("127.0.0.1");
	start();
	take_over();
	assert_false(over);
	assert_int_equal(listen(hole.listener, 20), 0); /* room for one that knocks again */
	finish(DIAL_CONNECTED);
	assert_true(addr_same_host(&stage.cold->server, &wanted));
	assert_int_equal(stage.cold->server.port, dial.port);
	close_black_hole(&hole);
}

static void a_deadline_is_kept(void **state)
{
	struct black_hole hole;
	int64_t since = clock_mono_ms();

	open_black_hole(&hole, "127.0.0.1");
	ADDRESSES("127.0.0.1");
	dial.deadline_ms = clock_mono_ms() + 150;
	start();
	take_over();
	finish(DIAL_TIMEOUT);
	assert_true(clock_mono_ms() - since >= 150 && clock_mono_ms() - since < 2000);
	close_black_hole(&hole);
}

/* It had died before its first attempt was in the row. */
static void from_the_beginning(void **state)
{
	int listener = listen_at("127.0.0.1"), fd;

	ADDRESSES("127.0.0.1");
	start();
	fd = stage.row->fd[SERVER];
	stage.row->fd[SERVER] = -1;
	close(fd);
	take_over();
	finish(DIAL_CONNECTED);
	fd = sock_accept(listener, NULL); /* the lost one */
	assert_true(fd >= 0);
	close(fd);
	assert_connected(listener, "127.0.0.1");
	close(listener);
}

/* The one who died had connected to himself. */
static void itself_is_no_server_for_a_successor(void **state)
{
	struct addr source;
	struct sock_tcp_info info;

	call_from(&source, "127.0.0.1");
	ADDRESSES("127.0.0.1");
	start();
	do
		assert_int_equal(sock_tcp_info(stage.row->fd[SERVER], &info), 0);
	while (info.state != ESTABLISHED);
	take_over();
	finish(DIAL_FAILED);
	assert_int_equal(dial.error, ECONNREFUSED);
}

static void a_unix_socket_is_dialled_again(void **state)
{
	int listener = listen_unix(0), first = sock_new_unix(), conn;

	assert_int_equal(sock_connect_unix(first, path), 0);
	start();
	assert_false(over);
	take_over();
	assert_false(over);
	conn = sock_accept(listener, NULL);
	finish(DIAL_CONNECTED);
	close(conn);
	close(first);
	close(listener);
	unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(connects),
	        TEST(refused),
	        TEST(no_address_at_all),
	        TEST(an_address_that_cannot_be_reached),
	        TEST(the_second_after_the_first_refused),
	        TEST(the_second_while_the_first_is_silent),
	        TEST(two_at_a_time),
	        TEST(the_first_answers_late),
	        TEST(a_deadline),
	        TEST(cancelled),
	        TEST(cancelled_when_it_was_connected),
	        TEST(a_later_address_while_the_first_is_silent),
	        TEST(a_later_address_when_all_have_refused),
	        TEST(no_later_address_when_all_have_refused),
	        TEST(later_addresses_are_not_waited_for_for_ever),
	        TEST(later_addresses_are_not_waited_for_beyond_the_deadline),
	        TEST(families_take_turns),
	        TEST(the_first_address_s_family_comes_first),
	        TEST(every_address_is_tried),
	        TEST(a_server_that_is_gone_at_once),
	        TEST(a_banner_and_fin_at_once),
	        TEST(a_source_address),
	        TEST(a_source_that_this_host_does_not_have),
	        TEST(an_interface_that_is_not_there),
	        TEST(a_source_on_an_interface_that_is_not_there),
	        TEST(itself_is_a_refusal),
	        TEST(itself_by_another_name),
	        TEST(itself_in_the_second_attempt),
	        TEST(a_port_like_the_server_s),
	        TEST(a_unix_socket_connects_at_once),
	        TEST(a_unix_socket_that_nobody_serves),
	        TEST(a_unix_socket_whose_queue_is_full),
	        TEST(a_full_queue_and_a_deadline),
	        TEST(connected_before_anybody_looked),
	        TEST(attempts_go_on),
	        TEST(an_attempt_of_a_predecessor_has_a_name),
	        TEST(a_deadline_is_kept),
	        TEST(from_the_beginning),
	        TEST(itself_is_no_server_for_a_successor),
	        TEST(a_unix_socket_is_dialled_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
