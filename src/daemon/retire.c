#include "daemon/retire.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "daemon/supervisor.h"
#include "os/proc.h"
#include "takeover/handover.h"

#define KNOCK_MS 20
#define KNOCKS   100
#define LINK_AGAIN_MS 200 /* a taker has one link at a time */
#define LOOK_MS  1000 /* the last reader is woken for what it reads, but not by a death */

void retire_take(struct supervisor *s, const struct orphan *o)
{
	struct retirees *r = &s->retirees;

	r->list = mem_resize(r->list, r->n + 1, sizeof(*r->list));
	r->list[r->n] = (struct retired){.supervisor = s, .orphan = *o};
	r->list[r->n++].control.fd = -1;
	if (o->next_id > s->first_id)
		s->first_id = o->next_id;
}

static void say(struct retired *r, enum wire_type type)
{
	struct wire w = {.type = type};

	if (r->control.fd >= 0)
		sock_send_message(r->control.fd, &w, sizeof(w), NULL, 0);
}

/* One of ours takes what can move. */
static void link_up(void *arg)
{
	struct retired *r = arg;
	struct supervisor *s = r->supervisor;
	struct crew *to = &s->crews[r->orphan.number % s->n_crews];
	struct wire give = {.type = WIRE_GIVE, .n = 2, .ids = {UINT32_MAX, LINK_ALL}};
	struct wire take = {.type = WIRE_TAKE, .n = 2};
	int pair[2];

	if (r->control.fd < 0 || sock_message_pair(pair) < 0)
		return; /* they stay where they are */
	sock_send_message(r->control.fd, &give, sizeof(give), (int[]){pair[0], to->memfd}, 2);
	crew_send(to, &take, (int[]){pair[1], r->orphan.fds[GREETING_TRIO]}, 2);
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

static void gone(struct retired *r)
{
	r->gone = true;
	timer_clear(&r->supervisor->loop, &r->timer);
	if (retire_gone(r->supervisor))
		log_info("upgrade: the last worker of the old program has ended");
	supervisor_check_idle(r->supervisor);
	supervisor_check_stopped(r->supervisor);
}

static void control_event(void *arg, uint32_t events)
{
	struct retired *r = arg;

	for (;;) {
		struct wire w;
		int len = sock_recv_message(r->control.fd, &w, sizeof(w), NULL, NULL);

		if (len == -EAGAIN)
			return;
		if (len <= 0) {
			int fd = r->control.fd;

			watch_remove(&r->supervisor->loop, &r->control);
			close(fd);
			if (r->adopted)
				gone(r);
			else
				get_hold_of(r);
			return;
		}
		if (w.type == WIRE_ADOPTED)
			r->adopted = true;
		if (w.type == WIRE_GIVEN && w.generation == 0) /* it was refused, or interrupted */
			timer_set(&r->supervisor->loop, &r->timer,
			          r->supervisor->loop.now_ms + LINK_AGAIN_MS, link_up, r);
		if (w.type == WIRE_GIVEN && w.n > 0)
			log_info("upgrade: %u connections were handed over from worker %u of the "
			         "old program",
			         w.n, r->orphan.number);
	}
}

static void tell(struct retired *r, int control_fd)
{
	watch_add(&r->supervisor->loop, &r->control, control_fd, EPOLLIN, control_event, r);
	adopt_take_one(control_fd);
	say(r, WIRE_RETIRE);
	link_up(r);
}

/* Its worker died before it knew us; its successor opens the door again. So do ours, which send us
 * away. */
static void get_hold_of(void *arg)
{
	struct retired *r = arg;
	struct supervisor *s = r->supervisor;
	int fd;

	if (!anybody_alive(r) || r->tries++ == KNOCKS) {
		gone(r);
		return;
	}
	fd = adopt_again(s->setup->what, r->orphan.number);
	if (fd >= 0)
		tell(r, fd);
	else
		timer_set(&s->loop, &r->timer, s->loop.now_ms + KNOCK_MS, get_hold_of, r);
}

void retire_begin(struct supervisor *s, bool read)
{
	log_info("%s: the %u workers of before accept nothing more, hand over the connections that can "
	         "move, and end with the others%s",
	         s->retire_why ? s->retire_why
	                       : "the shared memory of the program that runs has another layout",
	         s->retirees.n, read ? "" : ", whose records are lost");
	for (uint32_t i = 0; i < s->retirees.n; i++)
		tell(&s->retirees.list[i], s->retirees.list[i].orphan.control_fd);
}

void retire_stop(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->retirees.n; i++)
		say(&s->retirees.list[i], WIRE_STOP);
}

void retire_kill(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->retirees.n; i++) {
		struct retired *r = &s->retirees.list[i];
		struct peer p;

		if (r->gone || peer_map(&p, r->orphan.fds[GREETING_TRIO]) < 0)
			continue;
		for (int m = 0; m < MEMBERS; m++)
			if (((const struct trio *)p.map)->pid[m] > 0)
				kill(((const struct trio *)p.map)->pid[m], SIGKILL);
		peer_unmap(&p);
	}
}

bool retire_gone(const struct supervisor *s)
{
	for (uint32_t i = 0; i < s->retirees.n; i++)
		if (!s->retirees.list[i].gone)
			return false;
	return true;
}

/* ---- the last reader ---- */

static bool read_all(struct supervisor *s)
{
	bool alive = false;

	for (uint32_t i = 0; i < s->n_crews; i++) {
		struct crew *c = &s->crews[i];
		uint64_t count;

		alive = alive || crew_alive(c); /* before the last look */
		if (read(c->wake_fd, &count, sizeof(count)) < 0)
			count = 0;
		atomic_store(&c->trio->reader_waits, 1);
		crew_drain(c);
	}
	return alive;
}

_Noreturn void retire_read_last(struct supervisor *s)
{
	struct pollfd p[WORLD_WORKERS];

	proc_title("tcpproxy: last reader");
	for (uint32_t i = 0; i < s->n_crews; i++)
		p[i] = (struct pollfd){.fd = s->crews[i].wake_fd, .events = POLLIN};
	while (read_all(s)) {
		if (s->spawner_control.fd >= 0 && !spawner_hear(s))
			s->spawner_control.fd = -1;
		poll(p, s->n_crews, LOOK_MS);
	}
	_exit(0);
}
