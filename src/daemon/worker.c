#include "daemon/worker.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "daemon/doorman.h"
#include "daemon/facts.h"
#include "daemon/wire.h"
#include "os/proc.h"
#include "os/sandbox.h"
#include "os/shm.h"
#include "os/uring.h"
#include "takeover/keeper.h"

#define MEMBERS_AGAIN_MS 20 /* a keeper that is just being replaced cannot be watched yet */

static struct worker {
	struct engine engine;
	struct trio *trio;
	struct watch control;
	struct doorman doorman;
	struct facts facts;
	struct watch members[3]; /* keepers and supervisor */
	struct timer members_timer;
	bool quitting;
	bool renewing;
} worker;

/* ---- the log: through the ring, to the supervisor ---- */

static void wake_reader(void)
{
	if (atomic_exchange(&worker.trio->reader_waits, 0) &&
	    write(worker.trio->wake_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		errno = 0; /* an eventfd that is full has woken it already */
}

static void put_message(void *arg, enum message_type type, const void *data, size_t len)
{
	(void)arg;
	ring_put(trio_ring(worker.trio), type, data, len);
	wake_reader();
}

static void put_line(void *arg, enum log_level level, const char *line)
{
	struct line_message m = {.wall_us = clock_wall_us(), .level = level};
	size_t len = strnlen(line, sizeof(m.text));

	memcpy(m.text, line, len);
	put_message(arg, MESSAGE_LINE, &m, offsetof(struct line_message, text) + len);
}

/* ---- rules ---- */

static void load_rules(int fd, uint64_t generation)
{
	struct ruleset *rules = NULL;
	const void *block;
	size_t len;

	if (shm_map_sealed(fd, &block, &len) == 0) {
		rules = ruleset_load(block, len, generation, worker.engine.world);
		munmap((void *)block, len);
	}
	if (!rules) {
		log_error(
		    "worker %u: the configuration that came from the supervisor cannot be read",
		    worker.trio->number);
		return;
	}
	engine_set_rules(&worker.engine, rules);
}

static void take_rules(int fd, uint64_t generation)
{
	int old = worker.trio->config_fd;

	/* recorded first: a successor finds the one or the other */
	worker.trio->config_fd = fd;
	FAULT_POINT();
	worker.trio->config_generation = generation;
	FAULT_POINT();
	if (old >= 0)
		close(old);
	load_rules(fd, generation);
}

/* ---- listeners ---- */

static void take_listener(uint32_t id, int fd)
{
	int slot = -1;

	for (int i = TRIO_LISTENERS - 1; i >= 0; i--) {
		uint32_t had = atomic_load(&worker.trio->listeners[i].id);

		if (had == id) { /* said twice, because the one who was told first has died */
			close(fd);
			return;
		}
		if (had == 0)
			slot = i;
	}
	if (slot >= 0) {
		worker.trio->listeners[slot].fd = fd;
		FAULT_POINT();
		atomic_store(&worker.trio->listeners[slot].id, id);
		engine_add_listener(&worker.engine, (uint32_t)slot, id, fd);
		return;
	}
	close(fd);
	log_error("worker %u: more than %d listening addresses", worker.trio->number,
	          TRIO_LISTENERS);
}

/* ---- what the supervisor says ---- */

static void say(enum wire_type type, uint32_t n)
{
	struct wire w = {.type = type, .n = n};

	if (worker.control.fd >= 0)
		sock_send_message(worker.control.fd, &w, sizeof(w), NULL, 0);
}

static void tap(const struct wire *w, const int *fds)
{
	struct tap_filter filter;

	_Static_assert(sizeof(filter) <= sizeof(w->ids), "a filter fits into a message");
	memcpy(&filter, w->ids, sizeof(filter));
	tapping_add(&worker.engine, w->generation, &filter, fds[0], fds[1]);
}

static void facts_written(void *arg, uint64_t request)
{
	struct wire w = {.type = WIRE_FACTS_WRITTEN, .generation = request};

	(void)arg;
	if (worker.control.fd >= 0)
		sock_send_message(worker.control.fd, &w, sizeof(w), NULL, 0);
}

static void now_idle(void *arg)
{
	(void)arg;
	if (engine_live(&worker.engine) > 0)
		return;
	if (atomic_load(&worker.trio->retired))
		worker.engine.loop.stop = true; /* so ends the trio */
	else if (worker.quitting)
		say(WIRE_IDLE, 0);
}

static void quit(void)
{
	worker.quitting = true;
	atomic_store(&worker.trio->quitting, 1);
	engine_accept(&worker.engine, false);
	for (int i = 0; i < TRIO_LISTENERS; i++) {
		uint32_t id = atomic_load(&worker.trio->listeners[i].id);

		if (id != 0)
			engine_drop_listener(&worker.engine, id);
	}
	now_idle(NULL);
}

static void retire(void)
{
	atomic_store(&worker.trio->retired, 1);
	FAULT_POINT();
	doorman_stop(&worker.doorman);
	proc_title("tcpproxy: retired worker %u", worker.trio->number);
	quit();
}

static void members_changed(void *arg);

static void meet_supervisor(int pidfd, bool leaving)
{
	trio_set_supervisor(pidfd);
	atomic_store(&worker.trio->leaving, leaving);
	say(WIRE_ADOPTED, 0);
	members_changed(NULL);
}

/* Our end, once this message is dropped, lets the keeper become that program. */
static void take_program(int fd)
{
	int old = worker.trio->binary_fd;

	worker.trio->binary_fd = fd;
	if (old >= 0)
		close(old);
	worker.renewing = true;
	worker.engine.loop.stop = true;
}

static void connections_given(void *arg, uint32_t n, bool whole)
{
	struct wire w = {.type = WIRE_GIVEN, .n = n, .generation = whole};

	if (worker.control.fd >= 0)
		sock_send_message(worker.control.fd, &w, sizeof(w), NULL, 0);
}

static void lopsided(void *arg, bool busy)
{
	(void)arg;
	say(WIRE_LOPSIDED, busy);
}

static void obey(const struct wire *w, int *fds, size_t n_fds)
{
	size_t used = 0;

	switch (w->type) {
	case WIRE_RULES:
		if (n_fds == 1)
			take_rules(fds[used++], w->generation);
		break;
	case WIRE_LISTEN:
		for (; used < n_fds && used < w->n; used++)
			take_listener(w->ids[used], fds[used]);
		break;
	case WIRE_UNLISTEN:
		for (uint32_t i = 0; i < w->n && i < SOCK_MAX_FDS; i++)
			engine_drop_listener(&worker.engine, w->ids[i]);
		break;
	case WIRE_CHANNEL:
		if (n_fds == 1)
			engine_set_channel(&worker.engine, fds[used++]);
		break;
	case WIRE_TARGETS:
		engine_targets_changed(&worker.engine);
		break;
	case WIRE_QUIT:
		quit();
		break;
	case WIRE_RETIRE:
		retire();
		break;
	case WIRE_ADOPT:
		if (n_fds == 1)
			meet_supervisor(fds[used++], w->n == 1);
		break;
	case WIRE_RENEW:
		if (n_fds == 1)
			take_program(fds[used++]);
		break;
	case WIRE_GIVE:
	case WIRE_TAKE:
		if (n_fds != 2)
			break;
		moving_begin(&worker.engine, w->type == WIRE_GIVE ? LINK_GIVES : LINK_TAKES,
		             (enum link_which)w->ids[1], w->ids[0], fds[0], fds[1]);
		used = 2;
		break;
	case WIRE_KILL:
		for (uint32_t i = 0; i + 1 < w->n && i + 1 < SOCK_MAX_FDS; i += 2)
			engine_end_one(&worker.engine, w->ids[i], w->ids[i + 1], END_KILLED);
		break;
	case WIRE_TAP:
		if (n_fds != 2)
			break;
		tap(w, fds);
		used = 2;
		break;
	case WIRE_FACTS:
		facts_write(&worker.facts, &worker.engine.loop, worker.trio, w->generation,
			    facts_written, NULL);
		break;
	case WIRE_STOP:
		engine_accept(&worker.engine, false);
		engine_end_all(&worker.engine, END_STOPPED);
		worker.engine.loop.stop = true;
		break;
	default:
		break;
	}
	while (used < n_fds)
		close(fds[used++]);
}

static void control_event(void *arg, uint32_t events)
{
	(void)arg;
	for (int n = 0; n < 64 && !worker.engine.loop.stop; n++) {
		struct wire w;
		int fds[SOCK_MAX_FDS];
		size_t n_fds = SOCK_MAX_FDS;
		int len = sock_peek_message(worker.control.fd, &w, sizeof(w), fds, &n_fds);

		if (len == sizeof(w)) {
			/* looked at, obeyed, then dropped: a successor is told again what we die
			 * of. All of it may be done twice. */
			FAULT_POINT();
			obey(&w, fds, n_fds);
			FAULT_POINT();
			sock_drop_message(worker.control.fd);
			continue;
		}
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		if (len > 0)
			sock_drop_message(worker.control.fd);
		if (len == 0) {
			/* the supervisor is gone: relaying and accepting go on without it */
			watch_remove(&worker.engine.loop, &worker.control);
			return;
		}
		if (len < 0)
			return;
	}
}

/* The socket of a new supervisor, with its first word still in it: obeyed like any other. */
static void change_control(int fd)
{
	int old = worker.trio->control_fd;

	watch_remove(&worker.engine.loop, &worker.control);
	worker.trio->control_fd = fd;
	if (old >= 0)
		close(old);
	watch_add(&worker.engine.loop, &worker.control, fd, EPOLLIN, control_event, NULL);
}

/* ---- the other members ---- */

static void watch_members(void);

static void members_changed(void *arg)
{
	(void)arg;
	trio_worker_check();
	watch_members();
}

static void member_event(void *arg, uint32_t events)
{
	members_changed(arg);
}

static void watch_members(void)
{
	struct loop *loop = &worker.engine.loop;
	int fds[3];
	int n = trio_worker_pidfds(fds);

	for (int i = 0; i < 3; i++) {
		watch_remove(loop, &worker.members[i]);
		if (i < n)
			watch_add(loop, &worker.members[i], fds[i], EPOLLIN, member_event, NULL);
	}
	if (!trio_worker_watches_all())
		timer_set(loop, &worker.members_timer, loop->now_ms + MEMBERS_AGAIN_MS,
		          members_changed, NULL);
}

/* ---- birth ---- */

/* A worker that dies of its own fault, not of somebody's SIGKILL, says so to its successor. */
static void on_fault(int sig)
{
	if (worker.trio)
		atomic_store(&worker.trio->fault, sig);
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
			   t->rearm_fd, t->link_fd, t->supervisor_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			loop_remove(&worker.engine.loop, fds[i]);
}

static void start_engine(const struct worker_setup *setup)
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
	CHECK(engine_init(&worker.engine, &engine, t->epfd) == 0);
	t->epfd = worker.engine.loop.epfd;
	forget_watches(t);
	worker.engine.idle = now_idle;
	worker.engine.lopsided = lopsided;
	worker.engine.moving.ended = connections_given;
	if (t->config_fd >= 0)
		load_rules(t->config_fd, t->config_generation);
	engine_take_channels(&worker.engine);
	if (atomic_load(&t->starts) > 1)
		engine_take_over(&worker.engine);
	engine_accept(&worker.engine, !atomic_load(&t->quitting));
	for (int i = 0; i < TRIO_LISTENERS; i++)
		if (atomic_load(&t->listeners[i].id) != 0)
			engine_add_listener(&worker.engine, (uint32_t)i,
			                    atomic_load(&t->listeners[i].id), t->listeners[i].fd);
	worker.quitting = atomic_load(&t->quitting);
	if (atomic_load(&t->retired))
		proc_title("tcpproxy: retired worker %u", t->number);
}

void worker_forget(void)
{
	engine_forget(&worker.engine);
	malloc_trim(0);
}

/* The predecessor's goes with what else is nobody's. Who comes after a worker that died of a fault of its own does
 * without: so whose connection it was comes out. */
static struct uring *new_uring(void)
{
	struct uring *uring = atomic_load(&worker.trio->fault) ? NULL : uring_new();

	if (!uring && atomic_load(&worker.trio->starts) == 1 && worker.trio->number == 0)
		log_info("io_uring cannot be used here (%s): each message takes system calls of its own", strerror(errno));
	FAULT_POINT();
	worker.trio->uring_fd = uring ? uring_fd(uring) : -1;
	FAULT_POINT();
	return uring;
}

void worker_run(void *arg)
{
	const struct worker_setup *setup = arg;
	const char *missing;
	struct uring *uring;

	memset(&worker, 0, sizeof(worker));
	worker.trio = setup->trio;
	worker.control.fd = -1;
	log_set_sink(put_line, NULL);
	log_set_level_word(&setup->world->log_level);
	FAULT_ARM("TCPPROXY_FAULTS");
	uring = new_uring();
	missing = sandbox_worker();
	if (missing && atomic_load(&worker.trio->starts) == 1 && worker.trio->number == 0)
		log_warning("workers run without %s: this kernel or build does not have it", missing);
	mark_faults();
	start_engine(setup);
	if (uring)
		engine_batches(&worker.engine, uring);
	watch_members();
	if (worker.trio->control_fd >= 0)
		watch_add(&worker.engine.loop, &worker.control, worker.trio->control_fd, EPOLLIN,
		          control_event, NULL);
	doorman_start(&worker.doorman, &worker.engine.loop, worker.trio, worker.engine.world,
	              change_control);
	atomic_store(&worker.trio->ready, worker.trio->pid[MEMBER_WORKER]);
	now_idle(NULL);
	loop_run(&worker.engine.loop);
	if (worker.renewing)
		trio_want_renewal();
}
