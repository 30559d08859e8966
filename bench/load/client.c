/*
 * client.c - opens connections, keeps them busy in one of several ways, and tells what it did in a
 * window of time.
 *
 *   load drive --to PORT --mode MODE [--connections N] [--size BYTES] [--rate PER-SECOND]
 *              [--warmup SECONDS] [--seconds SECONDS] [--proxy PID] [--server PID] [--first HEX]
 *
 *   --first    bytes that each connection says before all else: a header of the PROXY protocol, a hello of TLS
 *
 *   exchange   each connection asks again as soon as it is answered; with --rate, requests come at
 * their times whether or not the last one was answered, and the latency counts from when they
 * should have been sent short      N at a time: connect, ask, be answered, close down up both bulk
 *   idle       one exchange on each; says "ready"; holds them; after a line on stdin one more
 * exchange on each, or, at its end, nothing late       one connection: sends 300 kB and a FIN, and
 * wants 2 MiB that come later
 *
 * Prints one line of JSON: what was done, and the CPU time that proxy, server and client used for
 * it, in ns.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define EVENTS      256
#define TURNS       8
#define MAX_SAMPLES (1u << 20)
#define LATE_UP     300000u
#define LATE_DOWN   (2u << 20)
#define PATIENCE    20 /* seconds beyond the measurement */

struct conn {
	int fd;
	uint32_t seed;
	uint64_t got, sent;       /* offsets in the two streams, from the hello on */
	uint64_t to_get, to_send; /* of the request under way */
	uint64_t due;             /* when it should have been sent */
	uint64_t next_due;        /* --rate: when the next one should be */
	bool wants_out;
};

struct snapshot {
	uint64_t ns, done, bytes, proxy, server, client;
};

static struct {
	int port;
	char mode; /* an enum mode, or 'i' */
	uint32_t size;
	unsigned n;
	double rate, warmup, seconds;
	pid_t proxy, server;
	unsigned char first[4096]; /* what each connection says before its hello */
	size_t n_first;
} o = {.mode = MODE_EXCHANGE, .size = 64, .n = 1, .warmup = 0.2, .seconds = 1};

static struct conn *conns;
static int epoll_fd;
static uint32_t next_seed = 1;
static uint64_t done, bytes;
static uint32_t *samples; /* latencies, ns */
static unsigned n_samples;
static bool sampling;

static void push(struct conn *c);

/* -- opening */

static int connect_to(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		die("no socket: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, (struct sockaddr *)&a, sizeof a))
		die("cannot connect to port %d: %s", port, strerror(errno));
	return fd;
}

/* Blocking: a few bytes, with the hello in front. */
static void send_hello(struct conn *c, enum mode mode, uint32_t size, size_t whole)
{
	struct hello h = {.magic = HELLO_MAGIC, .mode = mode, .size = size, .seed = c->seed};
	unsigned char buf[sizeof o.first + sizeof h + GULP], *at = buf + o.n_first;
	size_t all = o.n_first + whole;

	memcpy(buf, o.first, o.n_first);
	memcpy(at, &h, sizeof h);
	if (whole > sizeof h)
		memcpy(at + sizeof h, pattern_at(SEED_UP(c->seed), sizeof h, whole - sizeof h), whole - sizeof h);
	if (send(c->fd, buf, all, MSG_NOSIGNAL) != (ssize_t)all)
		die("cannot send a hello: %s", strerror(errno));
	c->sent = whole;
}

/* Connects and waits for the answer to the hello, so that no queue of anybody's overflows. */
static void open_slowly(struct conn *c, enum mode mode)
{
	struct hello h;

	*c = (struct conn){.fd = connect_to(o.port), .seed = next_seed++};
	send_hello(c, mode, o.size, sizeof h);
	if (recv(c->fd, &h, sizeof h, MSG_WAITALL) != (ssize_t)sizeof h || h.seed != c->seed)
		die("no answer to a hello on port %d", o.port);
	c->got = sizeof h;
}

static void watch(struct conn *c, int op, bool out)
{
	struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = c};

	c->wants_out = out;
	if (epoll_ctl(epoll_fd, op, c->fd, &e))
		die("epoll: %s", strerror(errno));
}

static void open_short(struct conn *c)
{
	*c = (struct conn){.fd = connect_to(o.port), .seed = next_seed++, .to_get = o.size};
	send_hello(c, MODE_SHORT, o.size, o.size);
	watch(c, EPOLL_CTL_ADD, false);
}

/* -- requests */

static void ask(struct conn *c, uint64_t due)
{
	c->due = due;
	c->to_get = c->to_send = o.size;
	push(c);
}

static void answered(struct conn *c)
{
	uint64_t now = o.rate > 0 ? now_ns() : 0;

	done++;
	if (o.mode == MODE_SHORT) {
		close(c->fd);
		open_short(c);
		return;
	}
	if (o.rate <= 0) {
		ask(c, 0);
		return;
	}
	if (sampling && n_samples < MAX_SAMPLES)
		samples[n_samples++] = (uint32_t)(now - c->due < UINT32_MAX ? now - c->due : UINT32_MAX);
	if (c->next_due <= now) { /* it had to wait for this answer */
		uint64_t due = c->next_due;

		c->next_due += (uint64_t)(1e9 * o.n / o.rate);
		ask(c, due);
	}
}

static void push(struct conn *c)
{
	for (int turn = 0; c->to_send && turn < TURNS; turn++) {
		size_t n = c->to_send < SLICE ? c->to_send : SLICE;
		ssize_t sent = send(c->fd, pattern_at(SEED_UP(c->seed), c->sent, n), n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0)
			die("cannot send: %s", strerror(errno));
		c->sent += (uint64_t)sent;
		bytes += (uint64_t)sent;
		if (c->to_send != UINT64_MAX)
			c->to_send -= (uint64_t)sent;
	}
	if (c->wants_out != (c->to_send > 0))
		watch(c, EPOLL_CTL_MOD, c->to_send > 0);
}

static void pull(struct conn *c)
{
	static unsigned char buf[GULP];
	ssize_t n = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("a connection ended after %llu bytes: %s", (unsigned long long)c->got,
		    n ? strerror(errno) : "end of stream");
	if ((uint64_t)n > c->to_get)
		die("more bytes than were asked for");
	pattern_check(buf, (size_t)n, SEED_DOWN(c->seed), c->got);
	c->got += (uint64_t)n;
	bytes += (uint64_t)n;
	if (c->to_get == UINT64_MAX)
		return;
	c->to_get -= (uint64_t)n;
	if (!c->to_get)
		answered(c);
}

/* -- the window */

static struct snapshot take(void)
{
	struct snapshot s = {
	        .done = done,
	        .bytes = bytes,
	        .proxy = o.proxy ? cpu_of_tree(o.proxy) : 0,
	        .server = o.server ? cpu_of_tree(o.server) : 0,
	        .client = cpu_of_tree(getpid()),
	        .ns = now_ns(),
	};

	return s;
}

/* Sends what is due; returns how long there is nothing to send. */
static struct timespec keep_rate(void)
{
	static unsigned turn; /* connections come due in this order */
	uint64_t now = now_ns(), gap = (uint64_t)(1e9 * o.n / o.rate), wait = 1000000000;

	for (unsigned i = 0; i < o.n; i++) {
		struct conn *c = &conns[turn];

		if (c->next_due > now) {
			wait = c->next_due - now;
			break;
		}
		if (!c->to_get) {
			uint64_t due = c->next_due;

			c->next_due += gap;
			ask(c, due);
		}
		turn = (turn + 1) % o.n;
	}
	return (struct timespec){.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
}

static void run_until(uint64_t end)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		struct timespec wait = {.tv_nsec = 100000000};
		int n;

		if (o.rate > 0)
			wait = keep_rate();
		n = epoll_pwait2(epoll_fd, events, EVENTS, &wait, NULL);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (events[i].events & ~(unsigned)EPOLLOUT)
				pull(c);
			if (events[i].events & EPOLLOUT)
				push(c);
		}
		if (now_ns() >= end)
			return;
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const struct snapshot *a, const struct snapshot *b)
{
	printf("{\"seconds\": %.6f, \"done\": %llu, \"bytes\": %llu, \"proxy\": %llu, \"server\": "
	       "%llu, \"client\": %llu",
	       (double)(b->ns - a->ns) / 1e9, (unsigned long long)(b->done - a->done),
	       (unsigned long long)(b->bytes - a->bytes), (unsigned long long)(b->proxy - a->proxy),
	       (unsigned long long)(b->server - a->server), (unsigned long long)(b->client - a->client));
	if (n_samples) {
		qsort(samples, n_samples, sizeof *samples, compare);
		printf(", \"p50\": %u, \"p99\": %u, \"max\": %u", samples[n_samples / 2],
		       samples[(uint64_t)n_samples * 99 / 100], samples[n_samples - 1]);
	}
	puts("}");
}

static void begin(void)
{
	uint64_t now;

	for (unsigned i = 0; i < o.n; i++) {
		if (o.mode == MODE_SHORT) {
			open_short(&conns[i]);
			continue;
		}
		open_slowly(&conns[i], (enum mode)o.mode);
		watch(&conns[i], EPOLL_CTL_ADD, false);
	}
	now = now_ns();
	for (unsigned i = 0; i < o.n; i++) {
		struct conn *c = &conns[i];

		if (o.mode == MODE_EXCHANGE && o.rate > 0) {
			c->next_due = now + (uint64_t)(1e9 * i / o.rate);
		} else if (o.mode == MODE_EXCHANGE) {
			ask(c, 0);
		} else if (o.mode != MODE_SHORT) {
			c->to_get = o.mode == MODE_UP ? 0 : UINT64_MAX;
			c->to_send = o.mode == MODE_DOWN ? 1 : UINT64_MAX;
			push(c);
		}
	}
}

static int measure(void)
{
	struct snapshot first, last;
	uint64_t start;

	begin();
	start = now_ns();
	run_until(start + (uint64_t)(o.warmup * 1e9));
	sampling = true;
	first = take();
	run_until(first.ns + (uint64_t)(o.seconds * 1e9));
	last = take();
	report(&first, &last);
	return 0;
}

/* -- idle ones, late ones */

static void exchange_on_all(void)
{
	unsigned char *buf = malloc(o.size);

	for (unsigned i = 0; i < o.n; i++) {
		struct conn *c = &conns[i];

		if (send(c->fd, pattern_at(SEED_UP(c->seed), c->sent, o.size), o.size, MSG_NOSIGNAL) !=
		            (ssize_t)o.size ||
		    recv(c->fd, buf, o.size, MSG_WAITALL) != (ssize_t)o.size)
			die("an idle connection was dropped");
		pattern_check(buf, o.size, SEED_DOWN(c->seed), c->got);
		c->sent += o.size;
		c->got += o.size;
	}
	free(buf);
}

static int idle(void)
{
	char line[16];

	for (unsigned i = 0; i < o.n; i++)
		open_slowly(&conns[i], MODE_EXCHANGE);
	exchange_on_all();
	alarm(0);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		exchange_on_all();
		puts("all answered");
		fflush(stdout);
	}
	return 0;
}

static int late(void)
{
	static unsigned char buf[GULP];
	struct conn *c = &conns[0];
	ssize_t n;

	o.size = LATE_DOWN;
	open_slowly(c, MODE_LATE);
	for (uint64_t left = LATE_UP; left;) {
		n = send(c->fd, pattern_at(SEED_UP(c->seed), c->sent, left < SLICE ? left : SLICE),
		         left < SLICE ? left : SLICE, MSG_NOSIGNAL);
		if (n <= 0)
			die("cannot send: %s", strerror(errno));
		c->sent += (uint64_t)n;
		left -= (uint64_t)n;
	}
	shutdown(c->fd, SHUT_WR);
	while ((n = recv(c->fd, buf, sizeof buf, 0)) > 0) {
		pattern_check(buf, (size_t)n, SEED_DOWN(c->seed), c->got);
		c->got += (uint64_t)n;
	}
	c->got -= sizeof(struct hello);
	printf("{\"wanted\": %u, \"got\": %llu, \"reset\": %s}\n", LATE_DOWN, (unsigned long long)c->got,
	       n < 0 ? "true" : "false");
	return 0;
}

/* -- the command line */

static char mode_of(const char *name)
{
	static const char *const names[] = {"exchange", "short", "down", "up", "both", "idle", "late"};
	static const char modes[] = {MODE_EXCHANGE, MODE_SHORT, MODE_DOWN, MODE_UP, MODE_BOTH, 'i', MODE_LATE};

	for (size_t i = 0; i < sizeof modes; i++)
		if (!strcmp(name, names[i]))
			return modes[i];
	die("%s is no mode", name);
}

static void read_first(const char *hex)
{
	o.n_first = strlen(hex) / 2;
	if (o.n_first > sizeof o.first)
		die("--first: at most %zu bytes", sizeof o.first);
	for (size_t i = 0; i < o.n_first; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &o.first[i]) != 1)
			die("--first: two digits for each byte");
}

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {
	        {"to", 1, NULL, 't'},
	        {"mode", 1, NULL, 'm'},
	        {"connections", 1, NULL, 'n'},
	        {"size", 1, NULL, 'z'},
	        {"rate", 1, NULL, 'r'},
	        {"warmup", 1, NULL, 'w'},
	        {"seconds", 1, NULL, 's'},
	        {"proxy", 1, NULL, 'p'},
	        {"server", 1, NULL, 'S'},
	        {"first", 1, NULL, 'f'},
	        {0},
	};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 't':
			o.port = atoi(optarg);
			break;
		case 'm':
			o.mode = mode_of(optarg);
			break;
		case 'n':
			o.n = (unsigned)atoi(optarg);
			break;
		case 'z':
			o.size = (uint32_t)atoi(optarg);
			break;
		case 'r':
			o.rate = atof(optarg);
			break;
		case 'w':
			o.warmup = atof(optarg);
			break;
		case 's':
			o.seconds = atof(optarg);
			break;
		case 'p':
			o.proxy = atoi(optarg);
			break;
		case 'S':
			o.server = atoi(optarg);
			break;
		case 'f':
			read_first(optarg);
			break;
		default:
			die("see the first lines of client.c for the options");
		}
	}
	if (!o.port || !o.n || o.size < sizeof(struct hello) || o.size > GULP)
		die("--to PORT, at least one connection, and a size of %zu to %d bytes, please", sizeof(struct hello),
		    GULP);
}

int drive(int argc, char **argv)
{
	read_options(argc, argv);
	conns = calloc(o.n, sizeof *conns);
	samples = malloc(MAX_SAMPLES * sizeof *samples);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!conns || !samples || epoll_fd < 0)
		die("cannot begin: %s", strerror(errno));
	alarm((unsigned)(o.warmup + o.seconds) + PATIENCE);
	if (o.mode == 'i')
		return idle();
	if (o.mode == MODE_LATE)
		return late();
	return measure();
}
