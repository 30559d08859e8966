#include "restart/retire.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "takeover/handover.h"

#define RETIRE_RECONNECT_MS 20
#define RECONNECTS          100
#define LINK_AGAIN_MS       200  /* a taker has one link at a time */
#define RETIRE_LOOK_MS      1000 /* the last reader is woken for what it reads, but not by a death */

void retire_take(struct retirees *r, const struct orphan *o)
{
	r->list = mem_resize(r->list, r->n + 1, sizeof(*r->list));
	r->list[r->n] = (struct retired){.all = r, .orphan = *o};
	r->list[r->n++].control.fd = -1;
	if (o->next_id > r->first_id)
		r->first_id = o->next_id;
}

static void say(struct retired *r, enum wire_type type)
{
	struct wire w = {.type = type};

	outbox_send(&r->outbox, &w, NULL, 0);
}

/* One of ours takes what can move. */
static void retire_link_up(void *arg)
{
	struct retired *r = arg;
	struct workers *ws = r->all->workers;
	struct worker *to = &ws->list[r->orphan.number % ws->n];
	struct wire give = {.type = WIRE_GIVE, .n = 2, .give = {UINT32_MAX, LINK_ALL}};
	struct wire take = {.type = WIRE_TAKE, .n = 2};
	int pair[2];

	if (r->control.fd < 0)
		return;
	if (sock_message_pair(pair) < 0) {
		timer_set(ws->loop, &r->timer, ws->loop->now_ms + LINK_AGAIN_MS, retire_link_up, r);
		return;
	}
	outbox_send(&r->outbox, &give, (int[]){pair[0], to->memfd}, 2);
	worker_send_link(to, &take, pair[1], r->orphan.fds[GREETING_TRIO]);
	close(pair[0]);
	close(pair[1]);
}

static void get_hold_of(void *arg);

static bool anybody_alive(const struct retired *r)
{
	struct peer p;
	bool alive = false;

	if (peer_map(&p, r->orphan.fds[GREETING_TRIO]) < 0)
		return false;
	for (int m = 0; m < MEMBERS; m++) {
		int32_t pid = ((const struct trio *)p.map)->pid[m];

		alive = alive || (pid > 0 && kill(pid, 0) == 0);
	}
	peer_unmap(&p);
	return alive;
}

/* Its memory goes with it. The door stays: by that name we may be looked for ourselves. */
static void close_all(struct retired *r)
{
	for (int i = 0; i < GREETING_FDS; i++) {
		if (i == GREETING_DOOR || r->orphan.fds[i] < 0)
			continue;
		close(r->orphan.fds[i]);
		r->orphan.fds[i] = -1;
	}
}

static void gone(struct retired *r)
{
	struct workers *ws = r->all->workers;

	r->gone = true;
	timer_clear(r->all->workers->loop, &r->timer);
	close_all(r);
	if (retire_gone(r->all))
		log_info("upgrade: the last worker of the old program has ended");
	ws->events->idle(ws->arg);
	ws->events->gone(ws->arg);
}

static void retire_control_event(void *arg, uint32_t events)
{
	struct retired *r = arg;

	if (events & EPOLLOUT)
		outbox_flush(&r->outbox);
	for (int n = 0; n < HEAR_AT_ONCE; n++) {
		struct wire w;
		int len = sock_recv_message(r->control.fd, &w, sizeof(w), NULL, NULL);

		if (len == -EAGAIN)
			return;
		if (len <= 0) {
			int fd = r->control.fd;

			watch_remove(r->all->workers->loop, &r->control);
			close(fd);
			outbox_clear(&r->outbox);
			if (r->adopted)
				gone(r);
			else
				get_hold_of(r);
			return;
		}
		if (len != sizeof(w))
			continue;
		if (w.type == WIRE_ADOPTED)
			r->adopted = true;
		if (w.type == WIRE_GIVEN && !w.whole) /* it was refused, or interrupted */
			timer_set(r->all->workers->loop, &r->timer, r->all->workers->loop->now_ms + LINK_AGAIN_MS,
			          retire_link_up, r);
		if (w.type == WIRE_GIVEN && w.n > 0)
			log_info("upgrade: %u connections were handed over from worker %u of the "
			         "old program",
			         w.n, r->orphan.number);
	}
}

static void tell(struct retired *r, int control_fd)
{
	struct loop *loop = r->all->workers->loop;

	if (adopt_take_one(control_fd) < 0) {
		close(control_fd);
		timer_set(loop, &r->timer, loop->now_ms + RETIRE_RECONNECT_MS, get_hold_of, r);
		return;
	}
	outbox_init(&r->outbox, loop, &r->control, NULL, NULL);
	watch_keep(loop, &r->control, control_fd, EPOLLIN, retire_control_event, r);
	r->session = rendezvous_session(control_fd);
	say(r, WIRE_RETIRE);
	retire_link_up(r);
}

/* Its worker died before it knew us; its successor opens the door again. So do ours, which send us
 * away. */
static void get_hold_of(void *arg)
{
	struct retired *r = arg;
	struct workers *ws = r->all->workers;
	int fd;

	if (!anybody_alive(r) || r->tries++ == RECONNECTS) {
		gone(r);
		return;
	}
	fd = adopt_again(ws->what, ws->key, r->orphan.number);
	if (fd >= 0)
		tell(r, fd);
	else
		timer_set(ws->loop, &r->timer, ws->loop->now_ms + RETIRE_RECONNECT_MS, get_hold_of, r);
}

void retire_begin(struct retirees *all, bool read)
{
	log_info("%s: the %u workers of before accept nothing more, hand over the connections that can "
	         "move, and end with the others%s",
	         all->why ? all->why : "the shared memory of the program that runs has another layout", all->n,
	         read ? "" : ", whose records are lost");
	for (uint32_t i = 0; i < all->n; i++)
		tell(&all->list[i], all->list[i].orphan.control_fd);
}

void retire_stop(struct retirees *all)
{
	for (uint32_t i = 0; i < all->n; i++)
		say(&all->list[i], WIRE_STOP);
}

void retire_kill(struct retirees *all)
{
	for (uint32_t i = 0; i < all->n; i++) {
		struct retired *r = &all->list[i];
		struct peer p;

		if (r->gone || peer_map(&p, r->orphan.fds[GREETING_TRIO]) < 0)
			continue;
		for (int m = 0; m < MEMBERS; m++) {
			pid_t pid = ((const volatile struct trio *)p.map)->pid[m];

			if (strangers_has(&all->workers->strangers, pid))
				kill(pid, SIGKILL);
		}
		peer_unmap(&p);
	}
}

bool retire_gone(const struct retirees *all)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (!all->list[i].gone)
			return false;
	return true;
}

bool retire_have_session(const struct retirees *all, pid_t session)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (all->list[i].session == session)
			return true;
	return false;
}
