#include "children/checker_child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "checker/checkerd.h"
#include "checker/naming.h"
#include "children/hearing.h"
#include "children/refusing.h"
#include "os/oom.h"
#include "os/sock.h"

#define LOOK_MS      1000
#define LOOK_SOON_MS 100
#define LOOK_FOR_MS  1000

/* ---- the child ---- */

static void checker_child_become(void *arg, int control_fd, int err)
{
	struct checker_child *c = arg;
	struct world *world = c->workers->world;
	struct checkerd_setup setup = {.control_fd = control_fd,
	                               .world = world,
	                               .config = c->workers->rules->config,
	                               .generation = c->workers->rules->generation,
	                               .ifs = c->workers->rules->ifs,
	                               .n_ifs = c->workers->rules->n_ifs,
	                               .n_rearm = c->workers->n,
	                               .again = c->child.started_ms > 0};
	int keep[1 + WORLD_WORKERS + BLANK_KINDS_MAX] = {control_fd};
	size_t n = 1 + c->workers->n;

	/* it outlives the supervisor; but one that has died before this has no next one to fear */
	if (getppid() != c->supervisor_pid || world_listen(world, c->workers->world_fds.said) < 0)
		_exit(1);
	for (uint32_t i = 0; i < c->workers->n; i++) {
		if (c->workers->list[i].trio)
			trio_unmap(c->workers->list[i].trio);
		keep[1 + i] = setup.rearm_fds[i] = c->workers->rearm_fds[i];
	}
	setup.blanks = c->workers->blanks;
	for (uint32_t i = 0; setup.blanks && i < setup.blanks->n; i++)
		keep[n++] = setup.blanks->fds[i];
	child_settle("tcpproxy: checker", err, keep, n);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	_exit(checkerd_run(&setup));
}

/* ---- what it says ---- */

static void hear_named(struct checker_child *c, const struct wire *w)
{
	struct named answer = {.target = w->named.target,
	                       .addrs = w->addrs,
	                       .n = w->n,
	                       .more = w->named.more,
	                       .forget = w->named.forget};

	if (w->n > TARGET_ADDRS || answer.target >= TARGETS_MAX)
		return;
	for (uint32_t i = 0; i < w->n; i++)
		if (w->addrs[i].family != AF_INET && w->addrs[i].family != AF_INET6)
			return;
	c->events->named(c->arg, &answer);
}

/* Parts, which must fit together; whether the configuration has such a line is for whoever hears of the whole. */
static void hear_crowd(struct checker_child *c, const struct wire *w)
{
	struct gathering *g = &c->gathering;

	if (gathering_take(g, w->crowd, w->n, &w->part) == GATHERED_ALL)
		c->events->crowd(c->arg, g->id, g->list, g->n);
}

static void checker_child_heard(struct checker_child *c, struct said *m, size_t len)
{
	const char *text;

	if (m->wire.type == WIRE_NAMED && len == sizeof(m->wire))
		hear_named(c, &m->wire);
	if (m->wire.type == WIRE_CROWD && len == sizeof(m->wire))
		hear_crowd(c, &m->wire);
	text = said_text(m, len);
	if (!text)
		return;
	if (m->wire.type == WIRE_LINE)
		hearing_line(m, c->workers->logger, "checker", &c->workers->world->totals.lines_lost);
	else if (m->wire.type == WIRE_HEALTH && m->wire.health.seat < SEATS_MAX &&
	         m->wire.health.state <= HEALTH_DOWN && m->wire.health.was <= HEALTH_DOWN)
		c->events->health(c->arg, m->wire.health.seat, m->wire.health.state, m->wire.health.was,
		                  &m->wire.health.at, text);
}

static void checker_child_control_event(void *arg, uint32_t events)
{
	struct checker_child *c = arg;

	if (events & EPOLLOUT)
		outbox_flush(&c->child.outbox);
	for (int n = 0; n < HEAR_AT_ONCE; n++) {
		struct said m;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(c->child.control.fd, &m, sizeof(m) - 1, &fd, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return;
		if (n_fds == 1)
			close(fd); /* it has none to give */
		if (len < (int)sizeof(m.wire)) {
			child_stop_hearing(&c->child);
			return;
		}
		checker_child_heard(c, &m, (size_t)len);
	}
}

/* ---- what it is told ---- */

static const struct socket_entry *next_that_may_refuse(struct checker_child *c)
{
	const struct rules *r = c->workers->rules;

	while (c->next_listener < r->listeners.n) {
		const struct socket_entry *e = &r->listeners.list[c->next_listener++];

		if (refusing_may(r, e))
			return e;
	}
	return NULL;
}

static void send_listeners(struct checker_child *c)
{
	struct wire m = {.type = WIRE_LISTEN};
	const struct socket_entry *e = NULL;
	int fds[WIRE_LISTENERS];

	while (m.n < WIRE_LISTENERS && (e = next_that_may_refuse(c))) {
		m.listen.id[m.n] = e->id;
		m.listen.place[m.n] = addr_place(&e->addr);
		fds[m.n++] = e->fd;
	}
	if (m.n > 0)
		outbox_send(&c->child.outbox, &m, fds, m.n);
	if (!e) {
		outbox_send(&c->child.outbox, &(struct wire){.type = WIRE_SYNC}, NULL, 0);
		c->telling = false;
	}
}

/* As much as can be sent now; the rest when that has gone. New rules come first: they begin a list of sockets, which WIRE_SYNC ends. */
static void checker_child_tell(void *arg)
{
	struct checker_child *c = arg;
	const struct rules *r = c->workers->rules;

	while (c->telling && c->child.control.fd >= 0 && outbox_is_empty(&c->child.outbox)) {
		if (c->rules_told) {
			send_listeners(c);
			continue;
		}
		outbox_send(&c->child.outbox, &(struct wire){.type = WIRE_RULES, .generation = r->generation}, &r->fd,
		            1);
		c->rules_told = true;
	}
}

/* rules: also them, which a new process has got with its birth. */
static void tell_all(struct checker_child *c, bool rules)
{
	const struct rules *r = c->workers->rules;

	c->telling = true;
	c->rules_told = !rules;
	c->next_listener = refusing_is_wanted(r->config) ? 0 : r->listeners.n;
	checker_child_tell(c);
}

/* ---- sockets that do not listen ---- */

/* Workers look for themselves only once a second. */
static void end_refusing(struct checker_child *c, bool all, bool again)
{
	bool listen;

	c->n_deaf = refusing_end(c->workers->rules, c->workers->world, all, again, &listen);
	for (uint32_t i = 0; i < c->workers->n && listen; i++)
		if (write(c->workers->rearm_fds[i], &(uint64_t){1}, sizeof(uint64_t)) < 0)
			errno = 0; /* it looks by itself soon */
}

/* Nobody decides any more: there is no checker, or it is not heard of. */
static bool nobody_decides(const struct checker_child *c)
{
	return (c->child.pid == 0 && !again_is_pending(&c->child.again)) ||
	       world_checks_stale(c->workers->world, c->workers->loop->now_ms);
}

static void look_after_sockets(void *arg)
{
	struct checker_child *c = arg;
	const struct rules *r = c->workers->rules;
	int64_t now_ms = c->workers->loop->now_ms;
	bool soon, all = nobody_decides(c);

	if (*c->workers->phase == PHASE_STOPPING)
		return;
	if (all || c->n_deaf > 0 || now_ms < c->look_until_ms)
		end_refusing(c, all, c->n_deaf > 0);
	soon = c->n_deaf > 0 || now_ms < c->look_until_ms;
	if (soon || refusing_is_wanted(r->config))
		timer_set(c->workers->loop, &c->timer, now_ms + (soon ? LOOK_SOON_MS : LOOK_MS), look_after_sockets, c);
}

/* For a moment: a checker that has not heard of the new rules yet may do what the old ones wanted. */
static void look_now(struct checker_child *c)
{
	c->look_until_ms = c->workers->loop->now_ms + LOOK_FOR_MS;
	look_after_sockets(c);
}

/* ---- its life ---- */

static bool wanted(const struct checker_child *c)
{
	const struct config *config = c->workers->rules->config;

	if (*c->workers->phase == PHASE_STOPPING)
		return false;
	for (size_t i = 0; i < config->n_sections; i++)
		if (config->sections[i].n_checks > 0 && config->sections[i].has_pool &&
		    !section_is_program(&config->sections[i]))
			return true;
	return naming_wanted(config);
}

void checker_child_join(struct checker_child *c)
{
	const struct wire w = {.type = WIRE_CHANNEL};
	int pair[2];

	if (c->child.control.fd < 0 || c->spawner->child.control.fd < 0)
		return; /* it is joined when both are there */
	if (sock_message_pair(pair) < 0) {
		log_error("there is no descriptor for checks by programs: they wait");
		return;
	}
	spawner_child_give_checker(c->spawner, pair[0]);
	outbox_send(&c->child.outbox, &w, &pair[1], 1);
	close(pair[0]);
	close(pair[1]);
}

static int checker_child_start_now(void *arg)
{
	struct checker_child *c = arg;
	int rc;

	if (!wanted(c))
		return 0;
	c->supervisor_pid = getpid();
	c->abstract = config_has_abstract_server(c->workers->rules->config);
	rc = child_start(&c->child, oom_fork, "checker", checker_child_become, checker_child_control_event, c);
	if (rc == 0)
		checker_child_join(c);
	tell_all(c, false);
	return rc;
}

void checker_child_init(struct checker_child *c)
{
	child_init(&c->child, c->workers->loop, "the checker", checker_child_start_now, checker_child_tell, c);
}

void checker_child_start(struct checker_child *c)
{
	/* one that has outlived the supervisor before leaves, also where nothing is checked any more */
	atomic_fetch_add(&c->workers->world->checker.serial, 1);
	refusing_tell(c->workers->rules);
	again_start(&c->child.again);
	look_now(c);
}

void checker_child_refresh(struct checker_child *c)
{
	if (c->child.control.fd >= 0)
		tell_all(c, true);
}

void checker_child_reload(struct checker_child *c)
{
	refusing_tell(c->workers->rules);
	/* what it has been forbidden it is so for good */
	if (!wanted(c) || (!c->abstract && config_has_abstract_server(c->workers->rules->config)))
		checker_child_stop(c);
	if (!wanted(c))
		return look_now(c);
	if (c->child.pid > 0)
		tell_all(c, true);
	else
		again_start(&c->child.again);
	look_now(c);
}

void checker_child_drain(struct checker_child *c)
{
	c->telling = false;
	if (c->child.control.fd >= 0)
		outbox_send(&c->child.outbox, &(struct wire){.type = WIRE_QUIT}, NULL, 0);
}

bool checker_child_ask(struct checker_child *c, const uint32_t *seats, size_t n)
{
	if (c->child.pid == 0 || c->child.control.fd < 0)
		return false;
	while (n > 0) {
		struct wire ask = {.type = WIRE_CHECK, .n = n < SOCK_MAX_FDS ? (uint32_t)n : SOCK_MAX_FDS};

		memcpy(ask.ids, seats, ask.n * sizeof(*seats));
		outbox_send(&c->child.outbox, &ask, NULL, 0);
		seats += ask.n;
		n -= ask.n;
	}
	return true;
}

void checker_child_died(struct checker_child *c, int status)
{
	if (c->child.control.fd >= 0)
		checker_child_control_event(c, 0); /* what it has said so far */
	lastwords_hear(&c->child.words);
	c->child.pid = 0;
	if (c->child.control.fd >= 0)
		child_stop_hearing(&c->child);
	if (wanted(c))
		child_replace(&c->child, status);
}

void checker_child_stop(struct checker_child *c)
{
	pid_t pid = c->child.pid;

	again_cancel(&c->child.again);
	c->child.pid = 0;
	if (c->child.control.fd >= 0)
		child_stop_hearing(&c->child);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	timer_clear(c->workers->loop, &c->timer);
	if (c->workers->world && *c->workers->phase != PHASE_STOPPING)
		end_refusing(c, true, false);
}
