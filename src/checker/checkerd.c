#include "checker/checkerd.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "checker/agent.h"
#include "checker/asking.h"
#include "checker/checks.h"
#include "checker/naming.h"
#include "checker/ports.h"
#include "checker/programs.h"
#include "checker/telling.h"
#include "ipc/outbox.h"
#include "ipc/packed.h"
#include "ipc/saying.h"
#include "os/sandbox.h"
#include "os/sock.h"

#define BEAT_MS       100
#define ORPHAN_MS     60000 /* without a supervisor */
#define LATE_SLACK_US 5000  /* timers go by milliseconds that began earlier */
#define AT_ONCE       1024  /* checks under way */
#define MEMORY_MAX    (64 << 20)
#define DESCRIPTORS \
	(2 * AT_ONCE + WORLD_WORKERS + 64 + TRIO_LISTENERS) /* who leaves politely has his a second longer */

_Static_assert(PULSE_UNKNOWN == (int)HEALTH_UNKNOWN && PULSE_UP == (int)HEALTH_UP && PULSE_DOWN == (int)HEALTH_DOWN,
               "the state of a check and that of a seat are the same words");

static struct checkerd {
	struct world *world;
	struct loop loop;
	struct watch control;
	struct saying saying;
	struct telling telling;
	struct timer beat;
	struct checks *checks;
	struct asking *asking;
	struct programs *programs;
	uint64_t generation; /* of what asking has */
	struct naming naming;
	struct outbox outbox;
	struct pools *pools;
	struct ports *ports;
	struct interface_address *ifs;
	int rearm_fds[WORLD_WORKERS];
	uint32_t n_rearm;
	uint64_t late;               /* so many checks ... */
	struct resolve_counts names; /* ... and questions are among those that the world counts */
	uint32_t serial;             /* of this process */
	int64_t orphan_ms;           /* since then there is no supervisor; 0: there is one */
} self;

static struct health *health_of(const struct place *p)
{
	return &self.world->health[p->seat];
}

/* ---- what is found out ---- */

/* One no is enough; all must have said yes. An agent's word stands beside: it may say no, and its silence says nothing. */
static enum health_state state_of(const struct place *p)
{
	enum health_state state = HEALTH_UP;

	if (agent_read(health_of(p), p->asks).down)
		return HEALTH_DOWN;
	for (size_t i = 0; i < p->section->n_checks; i++) {
		unsigned pulse = atomic_load(&health_of(p)->pulses[i]) & 0xff;

		if (check_is_agent(&p->section->checks[i]))
			continue;
		if (pulse == PULSE_DOWN)
			return HEALTH_DOWN;
		if (pulse != PULSE_UP)
			state = HEALTH_UNKNOWN;
	}
	return state;
}

/* "check pgsql: connection refused": as a part of a sentence. */
static void reason(const struct asked *k, const char *words, char *ret, size_t size)
{
	static const char *const steps[] = {[CHECK_SEND] = "send",
	                                    [CHECK_EXPECT] = "expect",
	                                    [CHECK_EXPECT_BEGIN] = "expect-begin",
	                                    [CHECK_EXPECT_NOT] = "expect-not"};
	char first = words[0];

	if (islower((unsigned char)words[1])) /* no acronym */
		first = (char)tolower((unsigned char)first);
	snprintf(ret, size, "check %s: %c%s", k->line->n_steps ? steps[k->line->steps[0].word] : k->line->kind, first,
	         words + 1);
}

/* A server that has taken a connection works: whoever could not connect to it before may try again. */
static void note_connected(const struct asked *k, const struct place *p)
{
	if (k->port == p->port || k->server->kind == SERVER_UNIX)
		target_worked(&self.world->experience[p->target], self.loop.now_ms);
}

/* Whoever had ejected it before the check began may try again, too. */
static void note_well(const struct asked *k, const struct place *p, const struct check_answer *a)
{
	if (!check_is_agent(k->line))
		ejection_well(&self.world->ejections[p->target], a->began_ms, a->heard, self.loop.now_ms);
}

/* ---- agents ---- */

static void agent_is_silent(const struct asked *k, const struct place *p, const char *words)
{
	const struct agent_view silent = AGENT_SILENT;

	if (atomic_load(&health_of(p)->agent) != 0)
		log_warning("the agent of %s, port %u, does not answer: what it has said is forgotten (%s)",
		            k->server->key, k->port, words);
	agent_set(health_of(p), &silent);
}

static void agent_has_said(const struct asked *k, const struct place *p, const char *line)
{
	struct agent_view v = agent_read(health_of(p), p->asks);
	uint64_t before = atomic_load(&health_of(p)->agent);

	if (!agent_hears(&v, line))
		return;
	agent_set(health_of(p), &v);
	if (atomic_load(&health_of(p)->agent) != before)
		log_info("%s of %s says: %s", k->line->program ? "the check program" : "the agent", k->server->key,
		         line);
}

static void hear_agent_of(const struct asked *k, const struct place *p, const struct check_answer *a)
{
	if (a->yes || k->line->program)
		agent_has_said(k, p, a->words);
	else if (k->pulse.state == PULSE_DOWN)
		agent_is_silent(k, p, a->words);
}

/* ---- answers ---- */

/* The address is the server's, also where its neighbour was asked: as it is spelt in the rest of the log. */
static void say_changed(const struct place *p, enum health_state state, enum health_state was,
                        const struct check_answer *a, const char *why)
{
	struct addr at = {.family = AF_UNSPEC};

	if (a->at)
		at = *a->at;
	if (p->port)
		at.port = p->port;
	telling_change(&self.telling, &(struct telling_change){p->seat, state, was, &at, why});
}

static void heard(const struct asked *k, const struct want *want, const struct check_answer *a, const char *why)
{
	const struct place *p = &self.asking->places[want->place];
	struct health *h = health_of(p);
	enum health_state was = health_read(h, p->asks).state, now;
	bool late = !a->yes && a->took_us >= k->line->timeout_ms * 1000 - LATE_SLACK_US;

	atomic_store(&h->pulses[want->line], (unsigned)k->pulse.state | (unsigned)k->pulse.row << 8);
	atomic_fetch_add(&h->answers[a->yes ? 0 : late ? 2 : 1], 1);
	atomic_store(&h->took_us, a->took_us);
	atomic_store(&h->answered_ms, self.loop.now_ms);
	if (a->yes) {
		note_connected(k, p);
		note_well(k, p, a);
	}
	if (check_is_agent(k->line) || k->line->program)
		hear_agent_of(k, p, a);
	now = state_of(p);
	if (now != HEALTH_UP || was != HEALTH_UP)
		health_say(h, now == HEALTH_UP ? "" : why);
	health_asked(h, want->line, a->began_ms, a->yes);
	if (now == was)
		return;
	health_set(h, now, self.loop.now_ms);
	say_changed(p, now, was, a, why);
	ports_look(self.ports, self.loop.now_ms);
}

static void checkerd_answered(void *arg, void *owner, const struct check_answer *a)
{
	const struct asked *k = owner;
	char why[512] = "";

	(void)arg;
	if (!a->yes || check_is_agent(k->line) || (k->line->program && *a->words))
		reason(k, a->words, why, sizeof(why));
	for (uint32_t i = k->first; i < k->first + k->n; i++)
		heard(k, &self.asking->wants[i], a, why);
}

static size_t checkerd_addresses(void *arg, void *owner, struct addr *ret)
{
	const struct asked *k = owner;
	size_t n = target_addrs(&self.world->targets.list[k->target], ret);

	(void)arg;
	for (size_t i = 0; i < n; i++)
		ret[i].port = k->port;
	return n;
}
static uint64_t checkerd_run_program(void *arg, void *owner, const struct addr *at, uint32_t timeout_ms)
{
	(void)arg;
	return programs_run(self.programs, owner, self.generation, at, timeout_ms);
}

/* The first line of its output says more than its status. */
static void checkerd_program_answered(void *arg, uint64_t number, bool ran, int status, const char *line)
{
	char words[HEALTH_WORDS * 4];

	(void)arg;
	if (status == 0)
		snprintf(words, sizeof(words), "%s", line);
	else if (status == -1)
		snprintf(words, sizeof(words), "time is over");
	else if (*line)
		snprintf(words, sizeof(words), "%s", line);
	else if (WIFSIGNALED(status))
		snprintf(words, sizeof(words), "signal %d", WTERMSIG(status));
	else
		snprintf(words, sizeof(words), "exit status %d", WEXITSTATUS(status));
	checks_program_answered(self.checks, number,
	                        !ran          ? CHECK_PROGRAM_UNDONE
	                        : status == 0 ? CHECK_PROGRAM_YES
	                                      : CHECK_PROGRAM_NO,
	                        words);
}

_Static_assert(CHECK_ADDRS >= TARGET_ADDRS, "room for all addresses of a server");

static void checkerd_outbox_emptied(void *arg)
{
	(void)arg;
	naming_go_on(&self.naming);
}

/* ---- the ports that may refuse ---- */

static bool checkerd_may_act(void *arg)
{
	(void)arg;
	return atomic_load(&self.world->checker.serial) == self.serial;
}

static void checkerd_resumed(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < self.n_rearm; i++)
		if (write(self.rearm_fds[i], &(uint64_t){1}, sizeof(uint64_t)) < 0)
			errno = 0; /* it looks by itself soon */
}

static void take_listeners(const struct wire *w, int *fds, size_t n)
{
	if (w->type != WIRE_LISTEN ||
	    w->n != n) { /* some were lost: the supervisor sees that a socket does not listen */
		while (n > 0)
			close(fds[--n]);
		return;
	}
	for (size_t i = 0; i < n; i++)
		ports_add(self.ports, w->ids[i], wire_place(w, (uint32_t)i), fds[i]);
}

/* ---- what is wanted ---- */

static void take_ports(struct config *c, struct interface_address *ifs, size_t n_ifs)
{
	struct pools *before = self.pools;

	self.pools = pools_new(c, self.world);
	ports_use(self.ports, self.pools, ifs, n_ifs);
	pools_free(before);
	free(self.ifs);
	self.ifs = ifs;
}

static uint32_t interface_index(void *arg, const char *name)
{
	int index = sock_interface_index(*(const int *)arg, name);

	return index < 0 ? 0 : (uint32_t)index;
}

/* The text of a configuration has names after a %. */
static void look_at_zones(struct config *c)
{
	int fd = c->n_zones ? sock_new_tcp(AF_INET6) : -1;

	if (fd < 0)
		return;
	config_look_at_zones(c, interface_index, &fd);
	close(fd);
}

static void take(struct config *c, uint64_t generation, struct interface_address *ifs, size_t n_ifs)
{
	struct asking *before = self.asking;
	struct check *list;

	look_at_zones(c);
	self.asking = asking_new(c, self.world);
	self.generation = generation;
	for (size_t i = 0; i < self.asking->n_places; i++) {
		struct place *p = &self.asking->places[i];

		health_begin(health_of(p), p->asks);
		if (health_read(health_of(p), p->asks).state == HEALTH_UNKNOWN && state_of(p) == HEALTH_UP)
			health_set(health_of(p), HEALTH_UP, self.loop.now_ms); /* an agent is all it has */
		p->failed_ms = self.loop.now_ms;                               /* only what comes from now on */
	}
	naming_take(&self.naming, c);
	list = asking_checks(self.asking);
	checks_take(self.checks, list, self.asking->n_asked);
	free(list);
	take_ports(c, ifs, n_ifs);
	asking_free(before); /* and its configuration */
}

/* A client could not connect since we looked last. */
static void hurry(struct place *p)
{
	int64_t failed_ms = atomic_load_explicit(&self.world->experience[p->target].failed_ms, memory_order_relaxed);

	if (failed_ms <= p->failed_ms)
		return;
	p->failed_ms = failed_ms;
	for (uint32_t i = 0; i < p->section->n_checks; i++)
		checks_hurry(self.checks, asking_key(p, i));
}

/* An administrator wants to know now. */
static void ask_now(uint32_t seat)
{
	for (size_t i = 0; i < self.asking->n_places; i++) {
		const struct place *p = &self.asking->places[i];

		for (uint32_t k = 0; p->seat == seat && k < p->section->n_checks; k++)
			checks_now(self.checks, asking_key(p, k));
	}
}

/* What this process has counted since it did so last is added to what others before it have. */
static void count_up(struct world *w)
{
	uint64_t late = checks_late(self.checks);
	struct resolve_counts names = naming_counts(&self.naming);

	atomic_fetch_add(&w->checker.late, late - self.late);
	for (int i = 0; i < NAME_ANSWERS; i++)
		atomic_fetch_add(&w->checker.names[i], names.n[i] - self.names.n[i]);
	self.late = late;
	self.names = names;
}

static void checkerd_beat(void *arg)
{
	struct world *w = self.world;

	(void)arg;
	if (atomic_load(&w->checker.serial) != self.serial ||
	    (self.orphan_ms && self.loop.now_ms - self.orphan_ms > ORPHAN_MS)) {
		self.loop.stop = true;
		return;
	}
	atomic_store(&w->checker.beat_ms, self.loop.now_ms);
	count_up(w);
	telling_go_on(&self.telling);
	for (size_t i = 0; i < self.asking->n_places; i++)
		hurry(&self.asking->places[i]);
	ports_look(self.ports, self.loop.now_ms);
	timer_set(&self.loop, &self.beat, self.loop.now_ms + BEAT_MS, checkerd_beat, NULL);
}

static void orphaned(void)
{
	int fd = self.control.fd;

	watch_remove(&self.loop, &self.control);
	close(fd);
	telling_stop(&self.telling);
	self.control.fd = self.saying.fd = -1;
	outbox_clear(&self.outbox);
	self.orphan_ms = self.loop.now_ms;
	ports_give_back(self.ports);
}

static void take_rules(int fd, uint64_t generation)
{
	struct interface_address *ifs = NULL;
	size_t n_ifs = 0;
	struct config *c = packed_config_of(fd, &ifs, &n_ifs);

	if (c)
		take(c, generation, ifs, n_ifs);
	else
		log_error("the checker cannot read the configuration that came from the supervisor");
}

static void obey(const struct wire *w, int *fds, size_t n_fds)
{
	if (w->type == WIRE_RULES && n_fds == 1) {
		ports_begin(self.ports);
		take_rules(fds[0], w->generation);
		return;
	}
	if (w->type == WIRE_CHANNEL && n_fds == 1) {
		programs_channel(self.programs, fds[0]);
		return;
	}
	take_listeners(w, fds, n_fds);
	for (uint32_t i = 0; w->type == WIRE_CHECK && i < w->n && i < SOCK_MAX_FDS; i++)
		ask_now(w->ids[i]);
	if (w->type == WIRE_SYNC)
		ports_end(self.ports);
	else if (w->type == WIRE_QUIT)
		ports_drop(self.ports);
	ports_look(self.ports, self.loop.now_ms);
}

static void checkerd_control_event(void *arg, uint32_t events)
{
	(void)arg;
	if (events & EPOLLOUT)
		outbox_flush(&self.outbox);
	for (;;) {
		struct wire w;
		int fds[SOCK_MAX_FDS];
		size_t n_fds = SOCK_MAX_FDS;
		int len = sock_recv_message(self.control.fd, &w, sizeof(w), fds, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return;
		if (len <= 0) {
			orphaned();
			return;
		}
		if (len != sizeof(w))
			w.type = 0;
		obey(&w, fds, n_fds);
	}
}

/* ---- the life ---- */

/* Whoever answers a check may send what he likes: this process, and no other, feels it. */
static void limit(void)
{
	struct rlimit descriptors, memory = {MEMORY_MAX, MEMORY_MAX};

	if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
		if (descriptors.rlim_max > DESCRIPTORS || descriptors.rlim_max == RLIM_INFINITY)
			descriptors.rlim_max = DESCRIPTORS;
		descriptors.rlim_cur = descriptors.rlim_max;
		setrlimit(RLIMIT_NOFILE, &descriptors);
	}
#ifndef __SANITIZE_ADDRESS__
	setrlimit(RLIMIT_DATA, &memory);
#else
	(void)memory;
#endif
}

static struct interface_address *copy_ifs(const struct checkerd_setup *setup)
{
	struct interface_address *ifs = mem_alloc(setup->n_ifs * sizeof(*ifs) + 1);

	if (setup->n_ifs)
		memcpy(ifs, setup->ifs, setup->n_ifs * sizeof(*ifs));
	return ifs;
}

int checkerd_run(const struct checkerd_setup *setup)
{
	const struct checks_ops ops = {.blanks = setup->blanks,
	                               .addresses = checkerd_addresses,
	                               .answered = checkerd_answered,
	                               .run = checkerd_run_program};
	const char *missing;

	self = (struct checkerd){.world = setup->world,
	                         .saying.fd = setup->control_fd,
	                         .telling.fd = setup->control_fd,
	                         .n_rearm = setup->n_rearm};
	memcpy(self.rearm_fds, setup->rearm_fds, sizeof(self.rearm_fds));
	log_set_sink(saying_line, &self.saying);
	limit();
	if (loop_init(&self.loop, -1, NULL, 64) < 0 ||
	    watch_add(&self.loop, &self.control, setup->control_fd, EPOLLIN, checkerd_control_event, NULL) < 0)
		return 1;
	self.saying.loop = &self.loop;
	outbox_init(&self.outbox, &self.loop, &self.control, checkerd_outbox_emptied, NULL);
	self.naming = (struct naming){
	        .loop = &self.loop, .world = self.world, .outbox = &self.outbox, .control = &self.control};
	self.serial = atomic_fetch_add(&self.world->checker.serial, 1) + 1;
	self.programs = programs_new(&self.loop, checkerd_program_answered, NULL);
	self.checks = checks_new(&self.loop, &ops, AT_ONCE);
	self.ports =
	        ports_new(&(struct ports_ops){.may_act = checkerd_may_act, .resumed = checkerd_resumed}, self.world);
	take(setup->config, setup->generation, copy_ifs(setup), setup->n_ifs);
	missing = sandbox_checker(config_has_abstract_server(setup->config));
	if (missing && !setup->again)
		log_warning("servers are checked without %s", missing);
	checkerd_beat(NULL);
	loop_run(&self.loop);
	return 0;
}
