/*
 * peers.c - both ends of many connections through a forwarder, every byte and every end checked.
 *
 * One connection after the other in each slot; a slot is a port of the forwarder and the server of ours that
 * this port leads to, so it is known who belongs to whom. What a connection does comes from the seed alone.
 *
 * usage: peers SEED KIND:FORWARDER_PORT:TARGET ...
 *
 *   tcp4, tcp6  TARGET is the server's port
 *   unix        TARGET is its path
 *   exec        behind the port is a program that says what it is told (cat); no TARGET
 *   acp         as tcp4, but an access program prints "port N\n" with the client's port, and grants if that is even
 *
 * SIGTERM: begin no more, end what is under way. One line for each connection:
 *   conn CLIENT_ADDRESS FORWARDER_PORT UP DOWN END[,END]   UP, DOWN: bytes that must be recorded, -1: any
 *   FAIL what went wrong
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_SLOTS   512
#define BLOCK       65536
#define PATIENCE_US 20000000 /* of a connection, without any progress */

enum kind { TCP4, TCP6, UNIX, EXEC, ACP };
enum who { CLIENT, SERVER };

/* One end of a connection, and its plan. */
struct side {
	int fd; /* -1: not there yet, or closed */
	struct slot *slot;
	enum who who;
	uint64_t seed_out, seed_in;
	uint64_t out, out_total, in, in_total;
	size_t chunk, read_size;
	int64_t write_pause, read_pause; /* us after each; only the first hundred times */
	int64_t next_write, next_read;
	int pauses;
	uint64_t turn;   /* ping-pong: so many bytes at a time; 0: not */
	bool write_last; /* sends only when it has seen the other's end */
	bool end_last;   /* sends its FIN only then */
	bool resets;     /* ends with a reset, when all it sent was acknowledged */
	bool early;      /* without having read what the other sends */
	bool may_be_reset;
	char banner[24]; /* comes before the other's stream */
	bool fin_sent, ended, told, done;
	uint32_t interest;
};

struct slot {
	enum kind kind;
	uint16_t port;
	int listener;
	char target[108];
	bool busy, denied;
	char local[64];   /* the client's address */
	const char *what; /* for messages */
	struct side side[2];
	uint64_t number;
	int64_t active, start_at;
};

static struct slot slots[MAX_SLOTS];
static int n_slots, epfd;
static uint64_t seed, next_number, finished, failures, octets, redials;
static volatile sig_atomic_t stopping;
static unsigned char ours[BLOCK + 16], theirs[BLOCK];

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t wall_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* n bytes of stream s from offset on; returned is where they begin in `ours`. */
static unsigned char *stream(uint64_t s, uint64_t offset, size_t n)
{
	uint64_t first = offset / 8, last = (offset + n + 7) / 8;

	for (uint64_t i = first; i < last; i++) {
		uint64_t word = mix(s * 0x100000001b3ULL + i);

		memcpy(ours + (i - first) * 8, &word, 8);
	}
	return ours + offset % 8;
}

/* ---- plans ---- */

static uint64_t dice_state;

static uint64_t dice(uint64_t n)
{
	dice_state = mix(dice_state);
	return dice_state % n;
}

static uint64_t any_size(void)
{
	static const uint64_t sizes[] = {0, 1, 100, 1400, 4096, 16384, 70000, 70000, 300000, 1000000};
	uint64_t n = sizes[dice(10)];

	return n > 1 ? n + dice(n / 10 + 1) : n;
}

static void plan_side(struct side *s, struct slot *slot, enum who who)
{
	static const int64_t pauses[] = {0, 0, 0, 500, 3000};
	static const size_t reads[] = {BLOCK, BLOCK, 16384, 1000};

	*s = (struct side){.fd = -1, .slot = slot, .who = who};
	s->seed_out = slot->number * 2 + who;
	s->seed_in = slot->number * 2 + !who;
	s->out_total = any_size();
	s->chunk = dice(3) ? BLOCK : 5000;
	s->read_size = reads[dice(4)];
	s->write_pause = pauses[dice(5)];
	s->read_pause = pauses[dice(5)];
	s->next_read = dice(4) ? 0 : now_us() + (int64_t)dice(100000);
}

static void plan(struct slot *slot)
{
	struct side *c = &slot->side[CLIENT], *s = &slot->side[SERVER];
	bool server = slot->kind != UNIX && dice(2); /* a Unix socket cannot reset */

	slot->number = next_number++;
	slot->denied = false;
	dice_state = mix(seed * 1000003 + slot->number);
	plan_side(c, slot, CLIENT);
	plan_side(s, slot, SERVER);
	switch (dice(10)) {
	case 0:
		slot->what = "client ends first";
		s->end_last = true;
		break;
	case 1:
		slot->what = "server ends first";
		c->end_last = true;
		break;
	case 2:
		slot->what = "request, answer";
		s->write_last = s->end_last = true;
		break;
	case 3:
		slot->what = "server first";
		c->write_last = c->end_last = true;
		break;
	case 4:
		slot->what = "ping-pong";
		c->turn = s->turn = 1 + dice(2000);
		c->out_total = s->out_total = c->turn * (1 + dice(60));
		s->end_last = true;
		break;
	case 5:
		slot->what = "tiny";
		c->chunk = s->chunk = 1 + dice(20);
		c->out_total = 1 + dice(2000);
		s->out_total = 1 + dice(2000);
		c->write_pause = s->write_pause = 200;
		break;
	case 6:
		slot->what = server ? "server resets" : "client resets";
		slot->side[server].resets = true;
		slot->side[!server].may_be_reset = true;
		break;
	case 7:
		slot->what = server ? "server resets early" : "client resets early";
		slot->side[server].resets = slot->side[server].early = true;
		slot->side[!server].may_be_reset = true;
		break;
	case 8:
		slot->what = "early answer";
		c->out_total = 500000 + dice(500000);
		s->next_read = now_us() + 50000;
		c->end_last = true;
		break;
	default:
		slot->what = "bulk";
		break;
	}
	c->in_total = s->out_total;
	s->in_total = c->out_total;
	if (slot->kind == EXEC) {
		slot->what = "echo";
		plan_side(c, slot, CLIENT);
		c->seed_in = c->seed_out;
		c->in_total = c->out_total;
		s->done = true;
	}
}

/* What the access program says of this port is what it will print, and do. */
static void plan_verdict(struct slot *slot, unsigned port)
{
	struct side *c = &slot->side[CLIENT];

	snprintf(c->banner, sizeof(c->banner), "port %u\n", port);
	if (port % 2) {
		uint64_t out = c->out_total;

		slot->what = "denied";
		slot->denied = true;
		plan_side(c, slot, CLIENT);
		snprintf(c->banner, sizeof(c->banner), "port %u\n", port);
		c->out_total = out;
		slot->side[SERVER].done = true;
	}
	c->in_total += strlen(c->banner);
}

/* ---- the end of a connection ---- */

static void drop(struct side *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->interest = 0;
}

static void slot_over(struct slot *slot)
{
	slot->busy = false;
	slot->start_at = now_us() + (int64_t)(mix(slot->number) % 20000);
	finished++;
}

static void fail(struct slot *slot, enum who who, const char *why)
{
	static const char *const names[] = {"tcp4", "tcp6", "unix", "exec", "acp"};
	const struct side *c = &slot->side[CLIENT], *s = &slot->side[SERVER];

	printf("FAIL at %.3f connection %llu (%s, port %u, %s; client %s sent %llu/%llu got %llu/%llu%s; server sent "
	       "%llu/%llu got %llu/%llu%s%s): %s: %s\n",
	       (double)wall_us() / 1e6, (unsigned long long)slot->number, slot->what, slot->port, names[slot->kind],
	       slot->local, (unsigned long long)c->out, (unsigned long long)c->out_total, (unsigned long long)c->in,
	       (unsigned long long)c->in_total, c->ended ? " ended" : "", (unsigned long long)s->out,
	       (unsigned long long)s->out_total, (unsigned long long)s->in, (unsigned long long)s->in_total,
	       s->ended ? " ended" : "", s->fd < 0 && !s->done ? ", not connected" : "",
	       who == CLIENT ? "client" : "server", why);
	fflush(stdout);
	failures++;
	drop(&slot->side[CLIENT]);
	drop(&slot->side[SERVER]);
	slot_over(slot);
}

static const char *expected_end(const struct slot *slot)
{
	const struct side *c = &slot->side[CLIENT], *s = &slot->side[SERVER];

	if (slot->kind == EXEC)
		return "handler-exit";
	if (slot->denied)
		return "denied";
	if (c->resets)
		return "client-reset";
	if (s->resets)
		return "server-reset";
	return s->end_last ? "client-fin" : c->end_last ? "server-fin" : "client-fin,server-fin";
}

static void side_done(struct side *s)
{
	struct slot *slot = s->slot;
	const struct side *c = &slot->side[CLIENT], *d = &slot->side[SERVER];

	drop(s);
	s->done = true;
	if (!c->done || !d->done)
		return;
	printf("conn %s %u %lld %lld %s\n", slot->local, slot->port,
	       d->early || slot->denied ? -1LL : (long long)c->out_total,
	       /* of a program's bytes, those are recorded that were acknowledged when it ended */
	       c->early || slot->denied || slot->kind == EXEC ? -1LL : (long long)d->out_total, expected_end(slot));
	octets += c->in + d->in;
	slot_over(slot);
}

/* ---- a side in action ---- */

/* What came of the other's stream. */
static uint64_t got(const struct side *s)
{
	size_t banner = strlen(s->banner);

	return s->in > banner ? s->in - banner : 0;
}

static bool may_write(const struct side *s)
{
	uint64_t credit = s->out_total;

	if (s->out == s->out_total || s->told || (s->write_last && !s->ended))
		return false;
	if (s->turn)
		credit = (got(s) / s->turn + (s->who == CLIENT ? 1 : 0)) * s->turn;
	return s->out < credit;
}

static int64_t pause_after(struct side *s, int64_t pause)
{
	return pause && s->pauses++ < 100 ? now_us() + pause : 0;
}

static void on_write(struct side *s)
{
	uint64_t left = s->out_total - s->out;
	ssize_t n;

	if (s->turn && left > s->turn - s->out % s->turn)
		left = s->turn - s->out % s->turn;
	if (left > s->chunk)
		left = s->chunk;
	n = send(s->fd, stream(s->seed_out, s->out, left), left, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0) {
		s->out += (uint64_t)n;
		s->slot->active = now_us();
		s->next_write = pause_after(s, s->write_pause);
	} else if (errno != EAGAIN && errno != EINTR) {
		struct side *other = &s->slot->side[!s->who];

		if (!other->early)
			fail(s->slot, s->who, errno == EPIPE ? "writing: closed" : "writing: reset");
		else
			s->told = true; /* a read will not hear of it again */
	}
}

static void on_end(struct side *s, bool reset)
{
	struct slot *slot = s->slot;
	bool cannot_know = s->told || (s->who == SERVER && slot->kind == UNIX);

	if (s->in < s->in_total) {
		fail(slot, s->who, reset ? "a reset before the last byte" : "an end before the last byte");
		return;
	}
	if (s->resets && s->early) { /* the answer to its own end cannot come first */
		fail(slot, s->who, "an end that nobody has made");
		return;
	}
	if (reset && !s->may_be_reset) {
		fail(slot, s->who, "a reset instead of a FIN");
		return;
	}
	if (s->resets || (s->may_be_reset && !reset && !cannot_know)) {
		fail(slot, s->who, "a FIN instead of a reset");
		return;
	}
	s->ended = true;
	slot->active = now_us();
	if (s->may_be_reset)
		side_done(s);
}

static bool is_right(struct side *s, const unsigned char *data, size_t n)
{
	size_t banner = strlen(s->banner), first = 0;

	if (s->in < banner) {
		first = banner - s->in < n ? banner - s->in : n;
		if (memcmp(data, s->banner + s->in, first) != 0)
			return false;
	}
	return memcmp(data + first, stream(s->seed_in, s->in + first - banner, n - first), n - first) == 0;
}

static void on_read(struct side *s)
{
	/* one more than will come: it must not */
	uint64_t want = s->in_total - s->in + 1;
	ssize_t n = recv(s->fd, theirs, want < s->read_size ? want : s->read_size, MSG_DONTWAIT);

	if (n > 0) {
		if (s->in + (uint64_t)n > s->in_total)
			fail(s->slot, s->who, "more bytes than were sent");
		else if (!is_right(s, theirs, (size_t)n))
			fail(s->slot, s->who, "a wrong byte");
		else {
			s->in += (uint64_t)n;
			s->slot->active = now_us();
			s->next_read = pause_after(s, s->read_pause);
		}
	} else if (n == 0) {
		on_end(s, false);
	} else if (errno == ECONNRESET) {
		on_end(s, true);
	} else if (errno != EAGAIN && errno != EINTR) {
		fail(s->slot, s->who, strerror(errno));
	}
}

static void maybe_end(struct side *s)
{
	int unsent = 0;

	if (s->fd < 0 || s->out < s->out_total || s->may_be_reset)
		return;
	if (s->resets) {
		if (s->slot->side[!s->who].fd < 0 || (!s->early && s->in < s->in_total))
			return;
		ioctl(s->fd, SIOCOUTQ, &unsent);
		if (unsent > 0)
			return;
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
		side_done(s);
		return;
	}
	if (!s->fin_sent && (!s->end_last || s->ended)) {
		shutdown(s->fd, SHUT_WR);
		s->fin_sent = true;
		s->slot->active = now_us();
	}
	if (s->fin_sent && s->ended)
		side_done(s);
}

/* What it waits for follows from what it is. Returns when it is to be looked at again at the latest. */
static int64_t side_wants(struct side *s, int64_t now)
{
	int64_t next = now + 1000000;
	uint32_t want = 0;

	maybe_end(s);
	if (s->fd < 0)
		return next;
	if (!s->ended && now >= s->next_read)
		want |= EPOLLIN;
	else if (!s->ended && s->next_read < next)
		next = s->next_read;
	if (may_write(s) && now >= s->next_write)
		want |= EPOLLOUT;
	else if (may_write(s) && s->next_write < next)
		next = s->next_write;
	if (s->resets && s->out == s->out_total)
		next = now + 1000 < next ? now + 1000 : next;
	/* an error is told whether wanted or not: without interest it is left alone */
	if (want != s->interest) {
		struct epoll_event ev = {.events = want, .data.ptr = s};

		epoll_ctl(epfd, !want ? EPOLL_CTL_DEL : s->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &ev);
		s->interest = want;
	}
	return next;
}

/* ---- beginning ---- */

static socklen_t address(const struct slot *slot, enum who who, struct sockaddr_storage *sa)
{
	struct sockaddr_in *in4 = (void *)sa;
	struct sockaddr_in6 *in6 = (void *)sa;
	struct sockaddr_un *un = (void *)sa;
	uint16_t port = htons(who == CLIENT ? slot->port : (uint16_t)atoi(slot->target));

	memset(sa, 0, sizeof(*sa));
	if (who == SERVER && slot->kind == UNIX) {
		un->sun_family = AF_UNIX;
		memcpy(un->sun_path, slot->target, sizeof(slot->target));
		return sizeof(*un);
	}
	if (slot->kind == TCP6) {
		*in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
		in6->sin6_addr = in6addr_loopback;
		return sizeof(*in6);
	}
	*in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
	in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*in4);
}

static void small_buffer(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
}

static void listen_for(struct slot *slot)
{
	struct sockaddr_storage sa;
	socklen_t len = address(slot, SERVER, &sa);

	if (slot->kind == EXEC)
		return;
	slot->listener = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(slot->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (slot->port % 3 == 0)
		small_buffer(slot->listener);
	if (bind(slot->listener, (struct sockaddr *)&sa, len) < 0 || listen(slot->listener, 64) < 0) {
		perror(slot->target);
		exit(2);
	}
	if (slot->kind == UNIX)
		chmod(slot->target, 0777);
	epoll_ctl(epfd, EPOLL_CTL_ADD, slot->listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = slot});
}

static void name_client(struct slot *slot)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char text[INET6_ADDRSTRLEN];

	getsockname(slot->side[CLIENT].fd, (struct sockaddr *)&sa, &len);
	if (sa.ss_family == AF_INET6)
		snprintf(slot->local, sizeof(slot->local), "[%s]:%u",
		         inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&sa)->sin6_addr, text, sizeof(text)),
		         ntohs(((struct sockaddr_in6 *)&sa)->sin6_port));
	else
		snprintf(slot->local, sizeof(slot->local), "%s:%u",
		         inet_ntop(AF_INET, &((struct sockaddr_in *)&sa)->sin_addr, text, sizeof(text)),
		         ntohs(((struct sockaddr_in *)&sa)->sin_port));
}

static void begin(struct slot *slot)
{
	struct side *c = &slot->side[CLIENT];
	struct sockaddr_storage sa;
	socklen_t len = address(slot, CLIENT, &sa);

	plan(slot);
	slot->busy = true;
	slot->active = now_us();
	c->fd = socket(sa.ss_family, SOCK_STREAM, 0);
	if (dice(4) == 0)
		small_buffer(c->fd);
	/* over loopback this waits for nobody: the listening socket is there, whoever holds it */
	if (connect(c->fd, (struct sockaddr *)&sa, len) < 0)
		fail(slot, CLIENT, errno == ECONNREFUSED ? "connecting: refused" : "connecting: reset");
	else
		name_client(slot);
	if (slot->kind == ACP && slot->busy)
		plan_verdict(slot, (unsigned)atoi(strrchr(slot->local, ':') + 1));
}

static void on_accept(struct slot *slot)
{
	int fd = accept4(slot->listener, NULL, NULL, SOCK_NONBLOCK);
	struct side *s = &slot->side[SERVER];

	if (fd < 0)
		return;
	if (!slot->busy) {
		close(fd);
		fail(slot, SERVER, "a connection that no client has made");
		return;
	}
	if (s->fd >= 0 || s->done) {
		/* connected twice for one client: only after a reload, and before a byte was passed */
		if (s->in > 0 || s->done || slot->side[CLIENT].in > 0) {
			close(fd);
			fail(slot, SERVER, "connected a second time");
			return;
		}
		drop(s);
		s->out = 0;
		s->ended = s->told = s->fin_sent = false;
		redials++;
	}
	s->fd = fd;
	slot->active = now_us();
}

/* ---- all of them ---- */

static int64_t look_at_all(int64_t now)
{
	int64_t next = now + 100000;

	for (int i = 0; i < n_slots; i++) {
		struct slot *slot = &slots[i];

		if (!slot->busy && !stopping && now >= slot->start_at)
			begin(slot);
		if (slot->busy && now - slot->active > PATIENCE_US)
			fail(slot, slot->side[SERVER].fd < 0 ? SERVER : CLIENT, "nothing moves any more");
		for (int w = 0; w < 2 && slot->busy; w++) {
			int64_t at = side_wants(&slot->side[w], now);

			next = at < next ? at : next;
		}
		if (!slot->busy && !stopping && slot->start_at < next)
			next = slot->start_at;
	}
	return next;
}

static bool all_over(void)
{
	for (int i = 0; i < n_slots; i++)
		if (slots[i].busy)
			return false;
	return true;
}

static void handle(struct epoll_event *ev)
{
	struct side *s = ev->data.ptr;

	if ((char *)s >= (char *)slots && ((char *)s - (char *)slots) % (long)sizeof(struct slot) == 0) {
		on_accept(ev->data.ptr);
		return;
	}
	if (s->fd >= 0 && s->interest & EPOLLOUT && ev->events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		on_write(s);
	if (s->fd >= 0 && s->interest & EPOLLIN && ev->events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		on_read(s);
}

static void on_term(int sig)
{
	(void)sig;
	stopping = 1;
}

static void parse_slot(struct slot *slot, char *word)
{
	char *kind = strtok(word, ":"), *port = strtok(NULL, ":"), *target = strtok(NULL, "");

	if (!kind || !port || !target || strlen(target) >= sizeof(slot->target)) {
		fprintf(stderr, "peers: what slot is %s?\n", word);
		exit(2);
	}
	slot->kind = !strcmp(kind, "unix")   ? UNIX
	             : !strcmp(kind, "tcp6") ? TCP6
	             : !strcmp(kind, "exec") ? EXEC
	             : !strcmp(kind, "acp")  ? ACP
	                                     : TCP4;
	slot->port = (uint16_t)atoi(port);
	strcpy(slot->target, target);
	slot->side[CLIENT].fd = slot->side[SERVER].fd = -1;
}

int main(int argc, char **argv)
{
	struct epoll_event events[128];

	if (argc < 3 || argc - 2 > MAX_SLOTS)
		return 2;
	seed = strtoull(argv[1], NULL, 10);
	signal(SIGTERM, on_term);
	epfd = epoll_create1(0);
	for (n_slots = 0; n_slots < argc - 2; n_slots++) {
		parse_slot(&slots[n_slots], argv[n_slots + 2]);
		listen_for(&slots[n_slots]);
	}
	while (!stopping || !all_over()) {
		int64_t now = now_us();
		int64_t wait = look_at_all(now) - now;
		struct timespec t = {wait / 1000000, wait % 1000000 * 1000};
		int n;

		if (wait < 0)
			t = (struct timespec){0, 0};
		n = epoll_pwait2(epfd, events, 128, &t, NULL);
		for (int i = 0; i < n; i++)
			handle(&events[i]);
	}
	printf("sum connections %llu octets %llu redials %llu failures %llu\n", (unsigned long long)finished,
	       (unsigned long long)octets, (unsigned long long)redials, (unsigned long long)failures);
	return failures > 0;
}
