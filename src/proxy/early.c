#include "proxy/early.h"

#include <stddef.h>

void early_room_init(struct early_room *room, uint32_t n_rows)
{
	room->most = n_rows / 8 ? n_rows / 8 : 1;
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

	if (!room)
		return;
	*(e->newer ? &e->newer->older : &room->newest) = e->older;
	*(e->older ? &e->older->newer : &room->oldest) = e->newer;
	room->n--;
	e->room = NULL;
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
