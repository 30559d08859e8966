#include "children/checker_child.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "checker/checkerd.h"
#include "children/hearing.h"
#include "os/oom.h"
#include "os/sock.h"

/* ---- the child ---- */

static void checker_child_become(void *arg, int control_fd, int err)
{
	struct checker_child *c = arg;
	struct world *world = c->workers->world;
	struct checkerd_setup setup = {.control_fd = control_fd,
	                               .world = world,
	                               .config = c->workers->rules->config,
	                               .generation = c->workers->rules->generation,
	                               .again = c->child.started_ms > 0};
	int keep[] = {control_fd};

	/* it outlives the supervisor; but one that has died before this has no next one to fear */
	if (getppid() != c->supervisor_pid || world_listen(world, c->workers->world_fds.said) < 0)
		_exit(1);
	for (uint32_t i = 0; i < c->workers->n; i++)
		if (c->workers->list[i].trio)
			trio_unmap(c->workers->list[i].trio);
	child_settle("tcpproxy: checker", err, keep, 1);
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

static void checker_child_heard(struct checker_child *c, struct said *m, size_t len)
{
	const char *text;

	if (m->wire.type == WIRE_NAMED && len == sizeof(m->wire))
		hear_named(c, &m->wire);
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

/* ---- its life ---- */

static bool wanted(const struct checker_child *c)
{
	const struct config *config = c->workers->rules->config;

	if (*c->workers->phase == PHASE_STOPPING)
		return false;
	for (size_t i = 0; i < config->n_sections; i++)
		if (config->sections[i].n_checks > 0 && config->sections[i].n_servers > 0 &&
		    config->sections[i].servers[0].kind != SERVER_PROGRAM)
			return true;
	return names_wanted(config);
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
	rc = child_start(&c->child, oom_fork, "checker", checker_child_become, checker_child_control_event, c);
	if (rc == 0)
		checker_child_join(c);
	return rc;
}

void checker_child_init(struct checker_child *c)
{
	child_init(&c->child, c->workers->loop, "the checker", checker_child_start_now, NULL, c);
}

void checker_child_start(struct checker_child *c)
{
	/* one that has outlived the supervisor before leaves, also where nothing is checked any more */
	atomic_fetch_add(&c->workers->world->checker.serial, 1);
	again_start(&c->child.again);
}

static void send_rules(struct checker_child *c)
{
	struct wire rules = {.type = WIRE_RULES, .generation = c->workers->rules->generation};

	outbox_send(&c->child.outbox, &rules, &c->workers->rules->fd, 1);
}

void checker_child_refresh(struct checker_child *c)
{
	if (c->child.control.fd >= 0)
		send_rules(c);
}

void checker_child_reload(struct checker_child *c)
{
	if (!wanted(c))
		checker_child_stop(c);
	else if (c->child.pid > 0 && c->child.control.fd >= 0)
		send_rules(c);
	else if (c->child.pid == 0)
		checker_child_start(c);
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
}
