/* server.c - answers as the hello of each connection says. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define EVENTS  256
#define TURNS   8   /* slices that one connection may send in a turn */
#define PAUSE   700 /* ms after which MODE_LATE answers: longer than a proxy's impatience */
#define MAX_FDS 1048576

struct conn {
	struct hello hello;
	uint64_t got, sent; /* offsets in the two streams; the hello and its answer count */
	uint64_t request;   /* bytes of the request under way */
	uint64_t to_send;   /* how many of the answer are left; UINT64_MAX: without end */
	uint64_t due;       /* MODE_LATE: when to answer */
	bool wants_out;
	bool prefaced; /* what comes before the hello has come, if anything did */
	bool open;
	bool listens;
};

static struct conn *conns; /* by descriptor */
static int epoll_fd;
static int late_fd = -1;

static void watch(int fd, bool out)
{
	struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.fd = fd};

	if (conns[fd].wants_out == out)
		return;
	conns[fd].wants_out = out;
	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &e);
}

static void end(int fd)
{
	conns[fd].open = false;
	if (late_fd == fd)
		late_fd = -1;
	close(fd);
}

/* Sends what is due of the pattern; a hello is answered by answer_hello(). */
static void push(int fd)
{
	struct conn *c = &conns[fd];

	for (int turn = 0; c->to_send && turn < TURNS; turn++) {
		size_t n = c->to_send < SLICE ? c->to_send : SLICE;
		ssize_t done =
		        send(fd, pattern_at(SEED_DOWN(c->hello.seed), c->sent, n), n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (done < 0 && errno == EAGAIN)
			break;
		if (done < 0) {
			end(fd);
			return;
		}
		c->sent += (uint64_t)done;
		if (c->to_send != UINT64_MAX)
			c->to_send -= (uint64_t)done;
	}
	watch(fd, c->to_send > 0);
}

/* What a proxy, or the client, says before our hello: a header of the PROXY protocol, a hello of TLS. Its length; 0: nothing. It comes in
 * one piece, being short. */
static size_t preface(const unsigned char *bytes, size_t n)
{
	static const char v2[] = "\r\n\r\n\0\r\nQUIT\n";
	const unsigned char *end;

	if (n >= 16 && !memcmp(bytes, v2, sizeof v2 - 1))
		return 16 + (size_t)(bytes[14] << 8 | bytes[15]);
	if (n >= 6 && !memcmp(bytes, "PROXY ", 6) && (end = memchr(bytes, '\n', n)))
		return (size_t)(end - bytes) + 1;
	if (n >= 5 && bytes[0] == 0x16 && bytes[1] == 3)
		return 5 + (size_t)(bytes[3] << 8 | bytes[4]);
	return 0;
}

static void begin(int fd, const void *bytes, ssize_t n)
{
	struct conn *c = &conns[fd];

	if ((size_t)n < sizeof c->hello)
		die("a hello in pieces");
	memcpy(&c->hello, bytes, sizeof c->hello);
	if (c->hello.magic != HELLO_MAGIC)
		die("no hello");
	if (c->hello.mode != MODE_SHORT) {
		if (send(fd, &c->hello, sizeof c->hello, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof c->hello) {
			end(fd);
			return;
		}
		c->sent = sizeof c->hello;
	} else {
		c->request = sizeof c->hello;
	}
	c->got = sizeof c->hello;
}

static void answer(int fd, size_t n)
{
	struct conn *c = &conns[fd];

	switch ((enum mode)c->hello.mode) {
	case MODE_EXCHANGE:
	case MODE_SHORT:
		for (c->request += n; c->request >= c->hello.size; c->request -= c->hello.size)
			c->to_send += c->hello.size;
		push(fd);
		break;
	case MODE_DOWN:
	case MODE_BOTH:
		if (c->to_send || !n)
			break;
		c->to_send = UINT64_MAX;
		push(fd);
		break;
	case MODE_UP:
	case MODE_LATE:
		break;
	}
}

static void finish(int fd)
{
	struct conn *c = &conns[fd];
	struct epoll_event none = {.data.fd = fd};

	if (c->hello.mode != MODE_LATE || c->due) {
		end(fd);
		return;
	}
	c->due = now_ns() + PAUSE * 1000000ull;
	late_fd = fd;
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &none);
}

static void pull(int fd)
{
	static unsigned char buf[GULP];
	struct conn *c = &conns[fd];
	unsigned char *at = buf;
	ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		end(fd);
		return;
	}
	if (n == 0) {
		finish(fd);
		return;
	}
	if (!c->got && !c->prefaced) {
		size_t before = preface(buf, (size_t)n);

		if (before > (size_t)n)
			die("a preface in pieces");
		c->prefaced = true;
		at += before;
		n -= (ssize_t)before;
		if (n == 0)
			return;
	}
	if (!c->got) {
		begin(fd, at, n);
		if (!c->open)
			return;
		at += sizeof c->hello;
		n -= (ssize_t)sizeof c->hello;
	}
	pattern_check(at, (size_t)n, SEED_UP(c->hello.seed), c->got);
	c->got += (uint64_t)n;
	answer(fd, (size_t)n);
}

/* The one connection that waits for its pause to be over: a blocking answer does, nobody else is
 * there. */
static void answer_late(void)
{
	int fd = late_fd;
	struct conn *c = &conns[fd];

	late_fd = -1;
	for (uint64_t left = c->hello.size; left;) {
		size_t n = left < SLICE ? left : SLICE;
		ssize_t done = send(fd, pattern_at(SEED_DOWN(c->hello.seed), c->sent, n), n, MSG_NOSIGNAL);

		if (done <= 0)
			break;
		c->sent += (uint64_t)done;
		left -= (uint64_t)done;
	}
	end(fd);
}

static void welcome(int listener)
{
	struct epoll_event e = {.events = EPOLLIN};
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;

	if (fd < 0)
		return;
	if (fd >= MAX_FDS)
		die("too many connections");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	conns[fd] = (struct conn){.open = true};
	e.data.fd = fd;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

/* at: INADDR_LOOPBACK; or INADDR_ANY, so that all of 127.0.0.0/8 are servers. */
static void listen_on(in_addr_t at, int port)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	a.sin_addr.s_addr = htonl(at);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096))
		die("cannot listen on port %d: %s", port, strerror(errno));
	conns[fd].listens = true;
	e.data.fd = fd;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

int serve(int argc, char **argv)
{
	bool anywhere = argc == 4 && !strcmp(argv[3], "anywhere");
	struct epoll_event events[EVENTS];

	if (argc != 3 && !anywhere)
		die("usage: load serve FIRST-PORT HOW-MANY [anywhere]");
	conns = calloc(MAX_FDS, sizeof *conns);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!conns || epoll_fd < 0)
		die("cannot begin: %s", strerror(errno));
	for (int i = 0; i < atoi(argv[2]); i++)
		listen_on(anywhere ? INADDR_ANY : INADDR_LOOPBACK, atoi(argv[1]) + i);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS, late_fd >= 0 ? 20 : -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (conns[fd].listens) {
				welcome(fd);
				continue;
			}
			if (conns[fd].open && events[i].events & ~(unsigned)EPOLLOUT)
				pull(fd);
			if (conns[fd].open && events[i].events & EPOLLOUT)
				push(fd);
		}
		if (late_fd >= 0 && now_ns() >= conns[late_fd].due)
			answer_late();
	}
}
