/*
 * answers.c - the channel to the spawner. When another spawner takes over while the old one lives (an upgrade), the old
 * one's channel stays until it has answered what it was asked: no client is denied for that.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/session.h"

#define ANSWERS_LOOK_MS 1000 /* does a row still wait for the old one? */

static void take_answer(struct engine *e, const struct answer *a, int fd)
{
	struct row *row = a->row < e->env.trio->rows_used ? trio_row(e->env.trio, a->row) : NULL;
	struct session *s;

	if (!row || row->state == ROW_FREE || a->serial == 0 || trio_cold(e->env.trio, a->row)->question != a->serial) {
		if (fd >= 0)
			close(fd);
		return;
	}
	s = engine_session(e, a->row);
	if (s)
		session_answer(s, a->kind, fd);
	else if (fd >= 0)
		close(fd);
}

/* false: the spawner at the other end is dead. */
static bool hear(struct engine *e, const struct watch *w)
{
	int channel = w->fd;

	for (int n = 0; n < 64 && w->fd == channel; n++) {
		struct answer a;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_peek_message(channel, &a, sizeof(a), &fd, &n_fds);

		FAULT_POINT();
		if (len == -EAGAIN || len == -EINTR)
			return true;
		if (len <= 0)
			return false;
		/* dropped only when it was acted on: a worker that dies in between leaves it there */
		if (len == sizeof(a))
			take_answer(e, &a, n_fds == 1 ? fd : -1);
		else if (n_fds == 1)
			close(fd);
		FAULT_POINT();
		sock_drop_message(channel);
	}
	return true;
}

static bool waits(const struct row *row, const struct row_cold *cold)
{
	return (row->state == ROW_VERDICT || row->state == ROW_STARTING) && cold->question != 0;
}

/* before: for the old one, else for the present one. */
static bool anybody_waits(struct engine *e, bool before)
{
	struct trio *t = e->env.trio;

	for (uint32_t i = 0; i < t->rows_used; i++)
		if (waits(trio_row(t, i), trio_cold(t, i)) && trio_cold(t, i)->asked_before == before)
			return true;
	return false;
}

/* ---- the old one ---- */

static void lost_before(struct session *s)
{
	if (!waits(s->row, s->cold) || !s->cold->asked_before)
		return;
	s->cold->asked_before = 0;
	session_spawner_lost(s);
}

static void drop_old(struct engine *e)
{
	int fd = e->env.trio->old_spawner_fd;

	if (fd < 0)
		return;
	timer_clear(&e->loop, &e->old_timer);
	watch_remove(&e->loop, &e->old_channel);
	e->env.trio->old_spawner_fd = -1;
	FAULT_POINT();
	close(fd);
	engine_for_each(e, lost_before);
}

static void answers_old_event(void *arg, uint32_t events)
{
	struct engine *e = arg;

	if (!hear(e, &e->old_channel))
		drop_old(e);
}

/* When no row waits any more, the old one may end. */
static void answers_look_again(void *arg)
{
	struct engine *e = arg;

	if (anybody_waits(e, true))
		timer_set(&e->loop, &e->old_timer, e->loop.now_ms + ANSWERS_LOOK_MS, answers_look_again, e);
	else
		drop_old(e);
}

static void watch_old(struct engine *e)
{
	watch_keep(&e->loop, &e->old_channel, e->env.trio->old_spawner_fd, EPOLLIN, answers_old_event, e);
	timer_set(&e->loop, &e->old_timer, e->loop.now_ms + ANSWERS_LOOK_MS, answers_look_again, e);
}

static void keep_old(struct engine *e, int fd)
{
	struct trio *t = e->env.trio;

	drop_old(e);
	for (uint32_t i = 0; i < t->rows_used; i++)
		if (waits(trio_row(t, i), trio_cold(t, i)))
			trio_cold(t, i)->asked_before = 1;
	FAULT_POINT();
	t->old_spawner_fd = fd;
	FAULT_POINT();
}

/* ---- the present one ---- */

static void lost(struct session *s)
{
	if (!s->cold->asked_before)
		session_spawner_lost(s);
}

static void channel_event(void *arg, uint32_t events)
{
	struct engine *e = arg;

	if (!hear(e, &e->channel))
		engine_set_channel(e, -1); /* the supervisor will send another */
}

static bool lives(int channel)
{
	struct pollfd p = {.fd = channel};

	return poll(&p, 1, 0) == 0;
}

void engine_set_channel(struct engine *e, int fd)
{
	int old = e->channel.fd;
	bool keep = fd >= 0 && old >= 0 && old != fd && lives(old) && anybody_waits(e, false);

	watch_remove(&e->loop, &e->channel);
	if (keep)
		keep_old(e, old);
	e->env.trio->spawner_fd = fd;
	FAULT_POINT();
	if (keep)
		watch_old(e);
	else if (old >= 0)
		close(old);
	e->channel.fd = -1;
	if (fd >= 0)
		watch_keep(&e->loop, &e->channel, fd, EPOLLIN, channel_event, e);
	if (fd < 0 || (old >= 0 && !keep)) /* what was asked is not answered there any more */
		engine_for_each(e, lost);
}

void engine_take_channels(struct engine *e)
{
	struct trio *t = e->env.trio;

	/* our predecessor may have died in the middle of the change, which we are told of again */
	if (t->old_spawner_fd >= 0 && t->old_spawner_fd == t->spawner_fd)
		t->old_spawner_fd = -1;
	for (uint32_t i = 0; i < t->rows_used && t->old_spawner_fd < 0; i++)
		if (waits(trio_row(t, i), trio_cold(t, i)))
			trio_cold(t, i)->asked_before = 0;
	if (t->old_spawner_fd >= 0)
		watch_old(e);
	if (t->spawner_fd >= 0)
		engine_set_channel(e, t->spawner_fd);
}
