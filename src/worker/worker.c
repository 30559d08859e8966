#include "worker/worker.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/control.h"
#include "worker/worker_parts.h"
#include "os/proc.h"
#include "os/host.h"
#include "os/sandbox.h"
#include "os/uring.h"
#include "takeover/keeper.h"

#define SPIN_AGAIN_MS 10000

/* ---- the log: through the ring, to the supervisor ---- */

static void wake_reader(void)
{
	if (atomic_exchange(&self.trio->reader_waits, 0) &&
	    write(self.trio->wake_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		errno = 0; /* an eventfd that is full has woken it already */
}

static void put_message(void *arg, enum message_type type, const void *data, size_t len)
{
	(void)arg;
	ring_put(trio_ring(self.trio), TRIO_RING, type, data, len);
	wake_reader();
}

static void put_line(void *arg, enum log_level level, const char *line)
{
	struct line_message m = {.wall_us = clock_wall_us(), .level = level};
	size_t len = strnlen(line, sizeof(m.text));

	memcpy(m.text, line, len);
	put_message(arg, MESSAGE_LINE, &m, offsetof(struct line_message, text) + len);
}

/* ---- what spins ---- */

/* What cannot be removed from the epoll instance stays in it. The successor registers everything anew in its own. */
static bool leave_epoll(uint64_t token, uint32_t events)
{
	struct trio *t = self.trio;
	int64_t now_ms = self.engine.loop.now_ms;
	int old = t->epfd, fd = engine_watched(&self.engine, token);

	if (atomic_load(&t->spun_ms) && now_ms - atomic_load(&t->spun_ms) < SPIN_AGAIN_MS)
		return false; /* it does not help */
	atomic_store(&t->spun_ms, now_ms);
	spin_tell("something that was watched", fd >= 0 ? fd : loop_watched(&self.engine.loop, token), events,
	          "a successor takes up the connections, with another epoll instance");
	t->epfd = -1;
	FAULT_POINT();
	close(old);
	self.succeeded = true;
	self.engine.loop.stop = true;
	return true;
}

static bool spins(void *arg, uint64_t token, uint32_t events)
{
	struct engine *e = arg;
	int fd = engine_watched(e, token), watched = loop_watched(&e->loop, token);

	if (!spin_drop(&e->loop, fd >= 0 ? fd : watched, token))
		return leave_epoll(token, events);
	if (fd >= 0)
		engine_end_spin(e, token, events);
	else
		spin_tell("something that is watched", watched, events, "it is not watched any more");
	return true;
}

/* ---- birth ---- */

/* A worker that dies of its own fault, not of a SIGKILL from outside, says so to its successor. */
static void on_fault(int sig)
{
	if (self.trio)
		atomic_store(&self.trio->fault, sig);
	raise(sig); /* the default is in force again (SA_RESETHAND) */
}

static void mark_faults(void)
{
	static const int faults[] = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE};
	struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_RESETHAND | SA_NODEFER};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &sa, NULL);
}

/* What a predecessor watched and we may not: left registered it would wake us for ever. */
static void forget_watches(const struct trio *t)
{
	const int fds[] = {t->control_fd, t->spawner_fd, t->old_spawner_fd, t->door_fd,
	                   t->rearm_fd,   t->link_fd,    t->supervisor_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			loop_remove(&self.engine.loop, fds[i]);
}

static void start_engine(const struct worker_setup *setup, struct ruleset *rules)
{
	struct engine_setup engine = {
	        .trio = setup->trio,
	        .world = setup->world,
	        .trios = setup->trios,
	        .n_trios = setup->n_trios,
	        .rearm_fds = setup->rearm_fds,
	        .events = setup->trio->events,
	        .n_events = TRIO_EVENTS,
	        .message = put_message,
	};
	struct trio *t = setup->trio;

	/* the epoll instance outlives its workers: nothing has to be registered again */
	CHECK(engine_init(&self.engine, &engine, t->epfd) == 0);
	t->epfd = self.engine.loop.epfd;
	if (t->stick_fd >= 0 && !stick_map(t->stick_fd, &self.engine.stick))
		log_error("worker %u: the memory of clients that stick to their servers cannot be read", t->number);
	forget_watches(t);
	self.engine.loop.spins = spins;
	self.engine.loop.spins_arg = &self.engine;
	if (atomic_load(&t->starts) == 1)
		SPIN_PLANT(&self.engine.loop, "TCPPROXY_WORKER_SPINS");
	self.engine.idle = control_idle;
	self.engine.imbalance = control_imbalance;
	self.engine.ejected = control_ejected;
	self.engine.moving.ended = control_given;
	control_set_rules(rules);
	engine_take_channels(&self.engine);
	if (atomic_load(&t->starts) > 1)
		engine_take_over(&self.engine);
	engine_accept(&self.engine, !atomic_load(&t->quitting));
	for (uint32_t i = 0; i < trio_listeners_used(t); i++)
		if (atomic_load(&t->listeners[i].id) != 0)
			engine_add_listener(&self.engine, i, atomic_load(&t->listeners[i].id), t->listeners[i].place,
			                    t->listeners[i].fd);
	self.quitting = atomic_load(&t->quitting);
	if (atomic_load(&t->retired))
		proc_title("tcpproxy: retired worker %u", t->number);
}

void worker_forget(void)
{
	engine_forget(&self.engine);
	malloc_trim(0);
}

/* The predecessor's goes with what else is recorded nowhere. The successor of a worker that died of a fault of its own
 * does without: so whose connection it was comes out. */
static struct uring *new_uring(void)
{
	struct uring *uring = atomic_load(&self.trio->fault) ? NULL : uring_new();

	if (!uring && atomic_load(&self.trio->starts) == 1 && self.trio->number == 0)
		log_info("io_uring cannot be used here (%s): each message takes system calls of its own",
		         strerror(errno));
	FAULT_POINT();
	self.trio->uring_fd = uring ? uring_fd(uring) : -1;
	FAULT_POINT();
	return uring;
}

/* For good; for a server "unix:PATH" as far as these rules have one, and the process that this was cloned from
 * might. */
static void confine(const struct ruleset *rules)
{
	const char *missing;

	host_name(); /* what it is cannot be asked any more then */
	self.reach = control_wanted_reach(rules);
	if (!atomic_load(&self.trio->confined))
		atomic_store(&self.trio->reach, self.reach);
	else if ((int)self.reach > atomic_load(&self.trio->reach))
		self.reach = (enum unix_reach)atomic_load(&self.trio->reach);
	missing = sandbox_worker(self.reach);
	if (missing && atomic_load(&self.trio->starts) == 1 && self.trio->number == 0)
		log_warning("workers run without %s", missing);
}

void worker_run(void *arg)
{
	const struct worker_setup *setup = arg;
	struct ruleset *rules = NULL;
	struct uring *uring;

	memset(&self, 0, sizeof(self));
	self.trio = setup->trio;
	self.control.fd = -1;
	/* the process that cloned us may have it from a supervisor of before */
	CHECK(world_listen(setup->world, setup->trio->said_fd) == 0);
	log_set_sink(put_line, NULL);
	log_set_level_word(&setup->world->log_level);
	FAULT_ARM("TCPPROXY_FAULTS");
	uring = new_uring();
	if (setup->trio->config_fd >= 0)
		rules = control_load_rules(setup->trio->config_fd, setup->trio->config_generation, setup->world);
	confine(rules);
	mark_faults();
	start_engine(setup, rules);
	if (uring)
		engine_batches(&self.engine, uring);
	worker_watch_members();
	control_start();
	atomic_store(&self.trio->ready, self.trio->pid[MEMBER_WORKER]);
	control_idle(NULL);
	loop_run(&self.engine.loop);
	if (self.succeeded)
		trio_want_successor();
	else if (self.reexecing)
		trio_want_reexec();
}
