/*
 * fuzz_handover.c - connections that move between workers: before the one who takes, from a trio that may offer anything; and before
 * the one who gives, to a trio that may say anything of what it has taken.
 *
 * The first byte says who lies; the rest is a list of messages with descriptors, of words in the other's memory, and of turns.
 */
#include <errno.h>

#include "engine.h"
#include "takeover/handover.h"

#define PEER_ROWS 16

static const char text[] =
        "port 80 as a\n\tserver unix:/nonexistent/x as one\n\tmax-connections 100\nport 81\n\tserver 127.0.0.1:80\n";

static struct config *config;
static struct trio *peer;
static int peer_memory;

static void begin(void)
{
	struct config_errors errors = {NULL, 0};

	log_set_sink(check_line, NULL);
	config = config_parse("/fuzz", text, &(struct config_ops){0}, &errors);
	engine_world = world_new_private();
	CHECK(config && engine_world);
	world_take(engine_world, config);
	labels_add(&engine_world->labels, "/fuzz:1");
	peer_memory = trio_new(1, PEER_ROWS, &peer);
	CHECK(peer_memory >= 0);
}

/* ---- what both may do ---- */

struct scene {
	int link;                    /* our end */
	int far[4 * HANDOVER_BATCH]; /* what is at the other ends of connections */
	size_t n_far;
};

static void keep_far(struct scene *s, int fd)
{
	if (s->n_far < ARRAY_LEN(s->far))
		s->far[s->n_far++] = fd;
	else
		close(fd);
}

static void tcp_pair(int pair[2])
{
	static struct addr at = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	static int listener = -1;

	if (listener < 0) {
		listener = sock_listen(&at, 5, false);
		CHECK(listener >= 0 && sock_local(listener, &at) == 0);
	}
	pair[1] = sock_new_tcp(AF_INET);
	sock_connect(pair[1], &at);
	while ((pair[0] = sock_accept(listener, NULL)) < 0)
		CHECK(pair[0] == -EAGAIN);
	sock_reset_on_close(pair[1]); /* ports are not to be used up */
}

/* One end of a connection, and its cookie. */
static int stream(struct scene *s, bool tcp, uint64_t *cookie)
{
	int pair[2];

	if (tcp)
		tcp_pair(pair);
	else
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	*cookie = sock_cookie(pair[0]);
	keep_far(s, pair[1]);
	return pair[0];
}

static void write_far(struct input *in, struct scene *s)
{
	char bytes[64];
	size_t n = input_u8(in) % sizeof(bytes);
	uint8_t which = input_u8(in);

	input_bytes(in, bytes, n);
	if (s->n_far > 0 && which < 200)
		sock_send(s->far[which % s->n_far], bytes, n, 0);
	else if (s->n_far > 0)
		shutdown(s->far[which % s->n_far], SHUT_WR);
}

static void read_far(struct scene *s)
{
	char bytes[4096];

	for (size_t i = 0; i < s->n_far; i++)
		while (sock_recv(s->far[i], bytes, sizeof(bytes), 0) > 0)
			;
}

/* What we are told; of a giver's offer the descriptors go. */
static void hear(struct scene *s, struct handover_message *ret)
{
	static struct handover_message m;
	int fds[HANDOVER_BATCH * HANDOVER_FDS];
	size_t n;

	while (handover_recv(s->link, &m, fds, &n) == 1) {
		while (n > 0)
			close(fds[--n]);
		*ret = m;
	}
}

static void spoil_peer(struct input *in, struct spoilt **list)
{
	switch (input_u8(in) % 3) {
	case 0:
		input_spoil(in, list, trio_moves(peer), sizeof(struct moves) + PEER_ROWS * sizeof(struct move), 0);
		break;
	case 1:
		input_spoil(in, list, peer, TRIO_HEAD_SIZE, 0);
		break;
	case 2:
		input_spoil(in, list, &peer->moves_offset, sizeof(peer->moves_offset), sizeof(peer->moves_offset));
		break;
	}
}

static void send_any(struct input *in, struct scene *s)
{
	static char message[sizeof(struct handover_message)];
	struct handover_head head;
	size_t len;

	head.type = input_u8(in) % 8;
	head.n = input_u8(in) % 20;
	head.entry_size = input_u16(in);
	head.serial = input_u8(in);
	len = input_u8(in) % 2 ? head.n * (size_t)head.entry_size : input_u16(in);
	memset(message, input_u8(in), sizeof(message));
	memcpy(message, &head, sizeof(head));
	input_bytes(in, message + sizeof(head), input_u8(in));
	len = sizeof(head) + len;
	input_send(in, s->link, message, len < sizeof(message) ? len : sizeof(message), input_u8(in) % 4);
}

/* ---- the giver lies ---- */

static size_t make_entry(struct input *in, struct scene *s, struct handover_entry *e, int *fds)
{
	uint8_t how = input_u8(in);
	size_t n = 0;
	int pair[2];

	*e = (struct handover_entry){.id = 7};
	e->source = input_u8(in) % PEER_ROWS;
	e->number = input_u8(in) % 4 + 1;
	e->flags = how & 32 ? 0 : ROWFLAG_CLIENT_UNIX | ROWFLAG_SERVER_UNIX;
	strcpy(e->target, "unix:/nonexistent/x");
	atomic_store(&trio_moves(peer)->rows[e->source].given, move_word(e->number, MOVE_MOVING));
	for (enum side side = CLIENT; side <= SERVER; side++)
		fds[n++] = stream(s, how & 32, &e->cookie[side]);
	for (enum side side = CLIENT; side <= SERVER; side++) {
		if (!(how & 1 << side))
			continue;
		CHECK(pipe2(pair, O_CLOEXEC | (how & 4 ? O_NONBLOCK : 0)) == 0 && write(pair[1], "parked", 6) == 6);
		e->flow[side].parked = 1;
		fds[n++] = pair[0];
		fds[n++] = pair[1];
	}
	if (how & 8) {
		size_t at = input_u16(in) % sizeof(*e), len = input_u8(in);

		input_bytes(in, (char *)e + at, len < sizeof(*e) - at ? len : sizeof(*e) - at);
	}
	if (how & 16) {
		size_t which = input_u8(in) % n;

		close(fds[which]);
		fds[which] = input_fd(in);
	}
	return n;
}

static void offer(struct input *in, struct scene *s)
{
	static struct handover_message m;
	uint32_t n = input_u8(in) % 4;
	int fds[4 * HANDOVER_FDS];
	size_t n_fds = 0, sent;

	for (uint32_t i = 0; i < n; i++)
		n_fds += make_entry(in, s, &m.entries[i], fds + n_fds);
	sent = input_u8(in);
	handover_send(s->link, HANDOVER_ROWS, input_u8(in), &m, n, fds, sent < 250 ? n_fds : sent % (n_fds + 1));
	while (n_fds > 0)
		close(fds[--n_fds]);
}

/* MOVED, MOVING, or nothing. */
static void say_word(struct input *in)
{
	struct move *m = &trio_moves(peer)->rows[input_u8(in) % PEER_ROWS];
	uint8_t how = input_u8(in);

	if (how & 1)
		atomic_store(&m->given, atomic_load(&m->given) >> 2 << 2 | (how >> 1 & 3));
	else
		atomic_store(&m->given, move_word(input_u8(in) % 4 + 1, (enum move_state)(how >> 1 & 3)));
}

/* ---- the taker lies ---- */

static void taken(struct input *in, struct scene *s, const struct handover_message *offered)
{
	static struct handover_message m;
	uint32_t n = input_u8(in) % 4, have = offered->head.n < HANDOVER_BATCH ? offered->head.n : HANDOVER_BATCH;

	for (uint32_t i = 0; i < n; i++) {
		const struct handover_entry *of = &offered->entries[have ? input_u8(in) % have : 0];
		uint8_t how = input_u8(in);

		m.entries[i] = (struct handover_entry){.source = of->source, .number = of->number, .destination = i};
		if (how & 1)
			m.entries[i].source = input_u32(in);
		if (how & 2)
			m.entries[i].destination = input_u32(in);
		if (how & 4)
			m.entries[i].number = input_u64(in);
		if (how & 8)
			continue;
		trio_moves(peer)->rows[i].source = of->source;
		atomic_store(&trio_moves(peer)->rows[i].taken, of->number);
	}
	handover_send(s->link, HANDOVER_TAKEN, input_u8(in) % 4 ? offered->head.serial : input_u8(in), &m, n, NULL, 0);
}

static void let_go(struct input *in)
{
	atomic_store(&trio_moves(peer)->rows[input_u8(in) % PEER_ROWS].taken, 0);
}

/* Connections that may be given away. */
static void add_relay(struct scene *s)
{
	struct trio *t = engine.env.trio;
	struct row *row;
	uint32_t i;

	if (!engine_take_row(&engine, &i))
		return;
	row = trio_row(t, i);
	row->fd[CLIENT] = stream(s, false, &row->cookie[CLIENT]);
	row->fd[SERVER] = stream(s, false, &row->cookie[SERVER]);
	row->flags = ROWFLAG_CLIENT_UNIX | ROWFLAG_SERVER_UNIX;
	row->service = row->server = 0;
	row->state = ROW_RELAY;
	trio_cold(t, i)->label = LABEL_NONE;
	trio_cold(t, i)->connected_us = trio_cold(t, i)->accepted_us = 1;
	engine_take_up(&engine, i);
}

/* ---- both ---- */

static void play(struct input *in, enum link_role role)
{
	static struct handover_message heard;
	struct trio *trios[2] = {trio_new_private(ENGINE_ROWS), peer};
	struct spoilt *spoilt = NULL;
	struct scene s = {.n_far = 0};
	enum link_which which;
	int pair[2];

	CHECK(trios[0] && sock_message_pair(pair) == 0);
	heard = (struct handover_message){.head.n = 0};
	s.link = pair[1];
	engine_begin(trios, 2, config);
	engine.loop.now_ms = clock_mono_ms();
	if (role == LINK_GIVES)
		for (int i = input_u8(in) % ENGINE_ROWS; i >= 0; i--)
			add_relay(&s);
	if (input_u8(in) % 4 == 0)
		spoil_peer(in, &spoilt);
	which = (enum link_which)(input_u8(in) % 4);
	moving_begin(&engine, role, which, input_u8(in) % 8 ? UINT32_MAX : 2, pair[0],
	             fcntl(peer_memory, F_DUPFD_CLOEXEC, 3));
	while (in->left > 0) {
		uint8_t step = input_u8(in);

		if (step < 70 && role == LINK_TAKES)
			offer(in, &s);
		else if (step < 70)
			taken(in, &s, &heard);
		else if (step < 100 && role == LINK_TAKES)
			say_word(in);
		else if (step < 100)
			let_go(in);
		else if (step < 120)
			handover_send(s.link, step % 7, step & 8 ? 0 : heard.head.serial, &heard, 0, NULL, 0);
		else if (step < 135)
			send_any(in, &s);
		else if (step < 145)
			spoil_peer(in, &spoilt);
		else if (step < 165)
			write_far(in, &s);
		else if (step < 170)
			read_far(&s);
		else if (step < 190)
			hear(&s, &heard);
		else
			engine_turn(1);
	}
	engine_turn(2);
	hear(&s, &heard);
	engine_over();
	close(s.link);
	while (s.n_far > 0)
		close(s.far[--s.n_far]);
	trio_unmap(trios[0]);
	input_repair(&spoilt);
	memset(trio_moves(peer), 0, sizeof(struct moves) + PEER_ROWS * sizeof(struct move));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	int fds;

	if (!peer)
		begin();
	close(stream(&(struct scene){.n_far = SIZE_MAX}, true, &(uint64_t){0})); /* the listener is there */
	fds = fds_open();
	play(&in, input_u8(&in) % 2 ? LINK_GIVES : LINK_TAKES);
	CHECK(fds_open() == fds);
	return 0;
}
