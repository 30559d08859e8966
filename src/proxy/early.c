#include "proxy/early.h"

#include <stddef.h>
#include "os/sock.h"
#include "takeover/table.h"

#define FIRST_LOOK_MS 20
#define LAST_LOOK_MS  1000

void early_room_init(struct early_room *room, uint32_t n_rows)
{
	room->most = early_most(n_rows);
}

static void enlist(struct early_room *room, struct early *e)
{
	struct early *before = room->newest;

	/* those of a predecessor come in any order */
	while (before && before->since_us > e->since_us)
		before = before->older;
	e->room = room;
	e->older = before;
	e->newer = before ? before->newer : room->oldest;
	*(e->newer ? &e->newer->older : &room->newest) = e;
	*(before ? &before->newer : &room->oldest) = e;
	room->n++;
}

void early_leave(struct early *e)
{
	struct early_room *room = e->room;

	if (e->loop)
		timer_clear(e->loop, &e->widen);
	e->loop = NULL;
	if (!room)
		return;
	*(e->newer ? &e->newer->older : &room->newest) = e->older;
	*(e->older ? &e->older->newer : &room->oldest) = e->newer;
	room->n--;
	e->room = NULL;
}

static void look(void *arg)
{
	struct early *e = arg;

	sock_widen(e->fd);
	e->pause_ms = 2 * e->pause_ms < LAST_LOOK_MS ? 2 * e->pause_ms : LAST_LOOK_MS;
	timer_set(e->loop, &e->widen, e->loop->now_ms + e->pause_ms, look, e);
}

void early_widen(struct early *e, struct loop *loop, int fd)
{
	if (e->loop)
		return;
	e->loop = loop;
	e->fd = fd;
	e->pause_ms = FIRST_LOOK_MS;
	timer_set(loop, &e->widen, loop->now_ms + e->pause_ms, look, e);
}

bool early_enter(struct early *e, struct early_room *room, int64_t since_us, void (*too_many)(void *arg), void *arg)
{
	struct early *oldest;

	e->since_us = since_us;
	e->too_many = too_many;
	e->arg = arg;
	enlist(room, e);
	if (room->n <= room->most)
		return true;
	oldest = room->oldest;
	oldest->too_many(oldest->arg);
	return oldest != e;
}
