#include "checker/telling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "ipc/saying.h"
#include "os/sock.h"

struct untold {
	size_t len;       /* of the message */
	struct said said; /* as far as that goes */
};

static struct untold *untold_new(const struct telling_change *change)
{
	size_t len = strnlen(change->why, sizeof(((struct said *)0)->line.text) - 1);
	struct untold *u = mem_alloc(offsetof(struct untold, said) + SAYING_HEAD + len);

	memset(u, 0, offsetof(struct untold, said) + SAYING_HEAD);
	u->len = SAYING_HEAD + len;
	u->said.wire.type = WIRE_HEALTH;
	u->said.wire.health.seat = change->seat;
	u->said.wire.health.state = (uint8_t)change->state;
	u->said.wire.health.was = (uint8_t)change->was;
	u->said.wire.health.at = *change->at;
	u->said.line.wall_us = clock_wall_us();
	memcpy(u->said.line.text, change->why, len);
	return u;
}

static void drop_first(struct telling *t)
{
	uint32_t seat = t->queue[t->first];

	free(t->of_seat[seat]);
	t->of_seat[seat] = NULL;
	t->first = (t->first + 1) % SEATS_MAX;
	t->n--;
}

void telling_go_on(struct telling *t)
{
	for (; t->n > 0; drop_first(t)) {
		const struct untold *u = t->of_seat[t->queue[t->first]];
		int rc;

		if (u->said.wire.health.state == u->said.wire.health.was)
			continue; /* it is again what it was */
		rc = sock_send_message(t->fd, &u->said, u->len, NULL, 0);
		if (rc == -EAGAIN || rc == -ENOBUFS || rc == -ENOMEM)
			return;
	}
}

void telling_change(struct telling *t, const struct telling_change *change)
{
	struct untold *before, *u;

	if (t->fd < 0)
		return;
	before = t->of_seat[change->seat];
	u = untold_new(change);
	if (before)
		u->said.wire.health.was = before->said.wire.health.was;
	else
		t->queue[(t->first + t->n++) % SEATS_MAX] = change->seat;
	t->of_seat[change->seat] = u;
	free(before);
	telling_go_on(t);
}

void telling_stop(struct telling *t)
{
	t->fd = -1;
	while (t->n > 0)
		drop_first(t);
}
