#include "relay_stage.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/sock.h"
#include "proxy/flow_batch.h"

const struct sides *sides; /* of the test at hand */
struct stage stage;
struct relay relay;
struct peer client, server;
bool again, over;
enum relay_outcome outcome;
uint32_t turns;
char pattern[LARGE];

/* As a session does it: one door out. */
static void on_done(struct relay *r, enum relay_outcome result)
{
	struct row *row = stage.row;

	assert_false(over);
	over = true;
	outcome = result;
	for (enum side s = CLIENT; s <= SERVER; s++) {
		struct flow_row *flow = &row->flow[s];

		if (result == RELAY_CLOSE)
			assert_int_equal(flow->pipe_read, -1);
		else
			sock_reset_on_close(row->fd[s]);
		close(row->fd[s]);
		row->fd[s] = -1;
		pipepool_discard(&flow->pipe_read, &flow->pipe_write);
	}
	row->state = ROW_FREE;
}

static void on_again(struct relay *r)
{
	again = true;
}

static const struct relay_owner owner = {.env = &stage.env, .done = on_done, .again = on_again};

/* As one who dies between sending and taking: the bytes are in both sockets. */
static void send_without_taking(enum side from, enum side to)
{
	const struct flow_row *flow = &stage.row->flow[from];
	char buf[3000];
	ssize_t n;

	if (stage.row->state != ROW_RELAY || flow->flags || flow->pipe_read >= 0)
		return;
	n = recv(stage.row->fd[from], buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	if (n > 0)
		send(stage.row->fd[to], buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* As one who dies while he copies: some bytes are in the scratch only, some were sent, some parked. */
static void leave_a_step_open(enum side from, enum side to)
{
	struct flow_row *flow = &stage.row->flow[from];
	struct copy_step *step = &stage.trio->step;
	char *scratch = stage.env.scratch;
	static unsigned nth;
	ssize_t n, sent;

	if (stage.row->state != ROW_RELAY || flow->flags || flow->pipe_read >= 0 ||
	    stage.row->flags & (ROWFLAG_CLIENT_RESET | ROWFLAG_SERVER_RESET) || !pipepool_spare(&stage.env.pool, step))
		return;
	nth++;
	step->row = (int32_t)row_index(stage.trio, stage.row);
	step->side = (uint8_t)from;
	n = recv(stage.row->fd[from], scratch, nth % 3 ? 3000 : SCRATCH_SIZE, MSG_DONTWAIT);
	if (n <= 0) /* dies before he has noted it */
		return;
	sent = send(stage.row->fd[to], scratch, (size_t)n / (1 + nth % 4), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 || nth % 7 > 3)
		return;
	if (nth % 7 == 0) {
		assert_true(write(step->pipe_write, scratch + sent, (size_t)(n - sent) / 2) >= 0);
		return;
	}
	/* all is parked, and the pipe is about to become the row's */
	if (n == sent)
		return;
	assert_int_equal(write(step->pipe_write, scratch + sent, (size_t)(n - sent)), n - sent);
	flow->pipe_write = step->pipe_write;
	if (nth % 7 > 1)
		flow->pipe_read = step->pipe_read;
	if (nth % 7 > 2)
		step->pipe_read = -1;
}

/* As one who dies with a small message in a slot; or his successor, who was about to finish that. */
static void leave_a_slot_open(enum side from, enum side to)
{
	struct flow_row *flow = &stage.row->flow[from];
	static unsigned nth;
	unsigned slot = ++nth % BATCH_SLOTS;
	ssize_t n;

	if (stage.row->state != ROW_RELAY || flow->flags || flow->pipe_read >= 0 ||
	    stage.row->flags & (ROWFLAG_CLIENT_RESET | ROWFLAG_SERVER_RESET) ||
	    !pipepool_spare(&stage.env.pool, &stage.trio->step))
		return;
	stage.trio->batch[slot].side = (uint8_t)from;
	stage.trio->batch[slot].row = (int32_t)row_index(stage.trio, stage.row);
	n = recv(stage.row->fd[from], trio_batch(stage.trio, slot), nth % 3 ? 300 : BATCH_ROOM, MSG_DONTWAIT);
	if (nth % 5 == 0) /* the slot before this one has used it */
		pipepool_discard(&stage.trio->step.pipe_read, &stage.trio->step.pipe_write);
	if (n > 0 && nth % 4)
		send(stage.row->fd[to], trio_batch(stage.trio, slot), (size_t)n / (nth % 4),
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	for (unsigned i = 0; i < BATCH_SLOTS; i++)
		assert_int_equal(flow_batch_hand_over(stage.trio, i), i == slot);
	assert_int_equal(stage.trio->batch[slot].row, -1);
	if (nth % 2)
		return;
	/* it was the step already, the slot not closed yet */
	stage.trio->batch[slot].row = stage.trio->step.row;
	stage.trio->step.row = -1;
	assert_true(flow_batch_hand_over(stage.trio, slot));
}

/* A worker's death at a step's edge or in the middle of one; the next has the row, and nothing
 * else. */
static void die(void)
{
	static unsigned nth; /* death */
	enum side from = ++nth % 2 ? CLIENT : SERVER;

	relay_cancel(&relay);
	if (sides->client == PAIR_TCP && sides->server == PAIR_TCP && nth % 8 < 3) {
		leave_a_slot_open(from, from == CLIENT ? SERVER : CLIENT);
	} else if (sides->client == PAIR_TCP && sides->server == PAIR_TCP && nth % 8 < 6) {
		leave_a_step_open(from, from == CLIENT ? SERVER : CLIENT);
	} else if (sides->client == PAIR_TCP && sides->server == PAIR_TCP) {
		send_without_taking(CLIENT, SERVER);
		send_without_taking(SERVER, CLIENT);
	}
	memset(&relay, 0x5a, sizeof(relay));
	relay_resume(&relay, &owner, stage.row);
}

static void run_again(void *arg)
{
	turns++;
	if (!over && sides->deaths && turns % sides->deaths == 0)
		die();
	if (again && !over) {
		again = false;
		relay_run(&relay);
	}
	stage.loop.busy = again && !over;
}

static void row_event(void *arg, uint64_t number, uint32_t events)
{
	assert_int_equal(number >> 32, stage.row->serial);
	assert_int_equal((number >> 2) & 0xffffff, row_index(stage.trio, stage.row));
	if (!over)
		relay_event(&relay, (enum side)(number & 3), events);
}

void open_sides(int size)
{
	struct row *row = stage.row;
	int far;

	make_pair(sides->client, size, &row->fd[CLIENT], &far);
	peer_init(&client, far, pattern, 0);
	make_pair(sides->server, size, &far, &row->fd[SERVER]); /* ours is the caller */
	peer_init(&server, far, pattern, 0);
	row->flags = (uint8_t)((sides->client == PAIR_UNIX ? ROWFLAG_CLIENT_UNIX : 0) |
	                       (sides->server == PAIR_UNIX ? ROWFLAG_SERVER_UNIX : 0));
	stage.loop.after = run_again;
	loop_handle(&stage.loop, LOOP_KIND_ROW, row_event, NULL);
	for (enum side s = CLIENT; s <= SERVER; s++)
		assert_int_equal(loop_add(&stage.loop, row->fd[s], ROW_EVENTS | (s == SERVER ? (uint32_t)EPOLLOUT : 0),
		                          row_token(stage.trio, row, s)),
		                 0);
}

/* What epoll would have told by now. */
static uint32_t events_of(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP};

	assert_true(poll(&p, 1, 0) >= 0);
	return (uint32_t)p.revents; /* the same numbers */
}

void start(void)
{
	uint32_t seen[2] = {events_of(stage.row->fd[CLIENT]), events_of(stage.row->fd[SERVER])};

	stage.loop.now_ms = clock_mono_ms();
	stage.cold->connected_us = clock_mono_us();
	relay_start(&relay, &owner, stage.row, seen);
}

int relay_setup(void **state)
{
	sides = *state;
	again = over = false;
	turns = 0;
	stage_init(&stage);
	fill_pattern(pattern, sizeof(pattern));
	return 0;
}

int relay_teardown(void **state)
{
	if (!over) {
		relay_cancel(&relay);
		over = true;
		for (enum side s = CLIENT; s <= SERVER; s++) {
			struct flow_row *flow = &stage.row->flow[s];

			close(stage.row->fd[s]);
			pipepool_discard(&flow->pipe_read, &flow->pipe_write);
		}
	}
	peer_release(&client);
	peer_release(&server);
	stage_release(&stage);
	return 0;
}

void step_peers(void *arg)
{
	peer_step(&client);
	peer_step(&server);
}

bool ended(const struct peer *p)
{
	return p->eof || p->error;
}

void finish(enum relay_outcome wanted, enum end end)
{
	GO_ON_UNTIL(over && (client.fd < 0 || ended(&client)) && (server.fd < 0 || ended(&server)));
	assert_int_equal(outcome, wanted);
	assert_string_equal(end_name(stage.row->end), end_name(end));
}

void nothing_more_happens(void)
{
	for (int i = 0; i < 20; i++) {
		step_peers(NULL);
		loop_turn(&stage.loop, 1);
	}
	assert_false(over);
}
