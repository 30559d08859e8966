/* engine.h - a worker's data plane for the targets: rules, clients, and its end. */
#ifndef FUZZ_ENGINE_H
#define FUZZ_ENGINE_H

#include <signal.h>
#include "base/clock.h"
#include "input.h"
#include "proxy/engine.h"
#include "proxy/session.h"

#define ENGINE_ROWS 8

static struct engine engine;
static struct world *engine_world;

static inline void engine_message(void *arg, enum message_type type, const void *data, size_t len)
{
	char texts[sizeof(((struct record_message *)0)->texts) + RECORD_TEXTS];
	struct record r;
	uint32_t label;

	CHECK(type != MESSAGE_RECORD || accesslog_read(data, len, engine_world, texts, &r, &label));
}

static inline void engine_begin(struct trio *const *trios, uint32_t n, const struct config *c)
{
	struct engine_setup setup = {.n_trios = n,
	                             .trios = trios,
	                             .world = engine_world,
	                             .trio = trios[0],
	                             .n_events = 16,
	                             .message = engine_message};
	uint32_t labels[8] = {0};
	struct buf block = BUF_INIT;

	signal(SIGPIPE, SIG_IGN); /* as a worker does */
	CHECK(engine_init(&engine, &setup, -1) == 0);
	packed_make(c, labels, NULL, 0, &block);
	engine_set_rules(&engine, ruleset_load(block.s, block.len, 1, engine_world));
	CHECK(engine.rules);
	buf_release(&block);
}

static inline void engine_turn(int n)
{
	while (n-- > 0)
		CHECK(loop_turn(&engine.loop, 0) == 0);
}

/* A client at this port. Returns its own end. */
static inline int engine_client(uint16_t port)
{
	struct addr local = {.family = AF_INET, .port = port, .ip = {127, 0, 0, 1}}, client = {.family = AF_UNIX};
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	engine.loop.now_ms = clock_mono_ms();
	engine_serve(&engine, pair[0], &local, &client, NULL);
	return pair[1];
}

/* All that it has goes with it. */
static inline void engine_over(void)
{
	struct trio *t = engine.env.trio;

	engine_end_all(&engine, END_STOPPED);
	engine_turn(3);
	CHECK(engine_live(&engine) == 0);
	engine_set_channel(&engine, -1);
	if (t->old_spawner_fd >= 0)
		close(t->old_spawner_fd);
	close(engine.loop.epfd);
	pipepool_discard(&t->step.pipe_read, &t->step.pipe_write);
	pipepool_release(&engine.env.pool);
	free(engine.loop.events);
	engine_forget(&engine);
}

#endif
