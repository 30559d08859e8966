#include "worker/control.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/wire.h"
#include "os/proc.h"
#include "os/shm.h"
#include "proxy/tapping.h"
#include "takeover/keeper.h"
#include "worker/worker_parts.h"

/* NULL: that was logged. */
struct ruleset *control_load_rules(int fd, uint64_t generation, const struct world *world)
{
	struct ruleset *rules = NULL;
	const void *block;
	size_t len;

	if (shm_map_sealed(fd, &block, &len) == 0) {
		rules = ruleset_load(block, len, generation, world);
		munmap((void *)block, len);
	}
	if (!rules)
		log_error("worker %u: the configuration that came from the supervisor cannot be read",
		          self.trio->number);
	return rules;
}

enum unix_reach control_wanted_reach(const struct ruleset *rules)
{
	if (!rules || !config_has_unix_server(rules->config))
		return UNIX_REACH_NONE;
	return config_has_abstract_server(rules->config) ? UNIX_REACH_ALL : UNIX_REACH_FILES;
}

static void tell_no_unix(void)
{
	log_error(
	        "worker %u cannot connect to such servers \"unix:PATH\": both its keepers had died at once, and those "
	        "that a worker "
	        "starts let its successors do no more than it might itself: stop and start tcpproxy",
	        self.trio->number);
}

static void give_way(void)
{
	log_info("worker %u: it may not connect to such servers \"unix:PATH\" as the new "
	         "configuration has: a successor that may do so takes up its connections",
	         self.trio->number);
	self.succeeded = true;
	self.engine.loop.stop = true;
}

/* Nothing more is heard meanwhile: what comes is about the new rules, and for the next one. */
static void begin_succession(void)
{
	watch_remove(&self.engine.loop, &self.control);
	succession_begin(&self.succession, &self.engine.loop, self.trio, self.engine.setup.trios, give_way);
}

void control_set_rules(struct ruleset *rules)
{
	bool too_far = control_wanted_reach(rules) > self.reach;

	if (too_far && !atomic_load(&self.trio->confined)) {
		ruleset_free(rules);
		begin_succession();
		return;
	}
	if (too_far)
		tell_no_unix();
	if (rules)
		engine_set_rules(&self.engine, rules);
}

static void take_rules(int fd, uint64_t generation)
{
	int old = self.trio->config_fd;

	/* recorded first: a successor finds the one or the other */
	self.trio->config_fd = fd;
	FAULT_POINT();
	self.trio->config_generation = generation;
	FAULT_POINT();
	if (old >= 0)
		close(old);
	control_set_rules(control_load_rules(fd, generation, self.engine.world));
}

static void take_listener(uint32_t id, uint32_t place, int fd)
{
	const uint32_t known = self.engine.n_listeners;
	int slot = known < TRIO_LISTENERS ? (int)known : -1;

	for (int i = (int)known - 1; i >= 0; i--) {
		uint32_t had = atomic_load(&self.trio->listeners[i].id);

		if (had == id) { /* said twice, because the worker that was told first has died */
			close(fd);
			return;
		}
		if (had == 0)
			slot = i;
	}
	if (slot >= 0) {
		if ((uint32_t)slot >= self.trio->listeners_used)
			self.trio->listeners_used = (uint32_t)slot + 1;
		FAULT_POINT();
		self.trio->listeners[slot].fd = fd;
		self.trio->listeners[slot].place = place & ADDR_PLACE ? place : 0;
		FAULT_POINT();
		atomic_store(&self.trio->listeners[slot].id, id);
		engine_add_listener(&self.engine, (uint32_t)slot, id, place, fd);
		return;
	}
	close(fd);
	log_error("worker %u: more than %d listening addresses", self.trio->number, TRIO_LISTENERS);
}

static void tell(const struct wire *w)
{
	outbox_send(&self.outbox, w, NULL, 0);
}

static void say(enum wire_type type, uint32_t n)
{
	tell(&(struct wire){.type = type, .n = n});
}

static void synced(uint64_t number)
{
	self.trio->synced = number;
	FAULT_POINT();
	tell(&(struct wire){.type = WIRE_SYNCED, .number = number});
}

static void control_tcp_info_written(void *arg, uint64_t request)
{
	(void)arg;
	tell(&(struct wire){.type = WIRE_TCP_INFO_WRITTEN, .request = request});
}

void control_idle(void *arg)
{
	(void)arg;
	if (engine_live(&self.engine) > 0)
		return;
	if (atomic_load(&self.trio->retired))
		self.engine.loop.stop = true; /* so ends the trio */
	else if (self.quitting)
		say(WIRE_IDLE, 0);
}

static void quit(void)
{
	self.quitting = true;
	atomic_store(&self.trio->quitting, 1);
	engine_accept(&self.engine, false);
	for (uint32_t i = 0; i < trio_listeners_used(self.trio); i++) {
		uint32_t id = atomic_load(&self.trio->listeners[i].id);

		if (id != 0)
			engine_drop_listener(&self.engine, id);
	}
	control_idle(NULL);
}

static void retire(void)
{
	atomic_store(&self.trio->retired, 1);
	FAULT_POINT();
	greeter_stop(&self.greeter);
	proc_title("tcpproxy: retired worker %u", self.trio->number);
	quit();
}

/* Another one has more room. */
static void take_stick(int fd)
{
	int old = self.trio->stick_fd;
	struct stick now;

	if (!stick_map(fd, &now)) {
		close(fd);
		log_error("worker %u: the memory of clients that stick to their servers cannot be read",
		          self.trio->number);
		return;
	}
	stick_unmap(&self.engine.stick);
	self.engine.stick = now;
	self.trio->stick_fd = fd;
	FAULT_POINT();
	if (old >= 0)
		close(old);
}

/* The supervisor before this one had its own. A list that is being changed is none: what stands in none is closed by a successor, and the
 * supervisor tells that again. */
static void take_blank(const struct wire *w, const int *fds)
{
	struct blank_list *now = &self.trio->blanks, old = *now;

	now->n = 0;
	barrier();
	FAULT_POINT();
	memcpy(now->kinds, w->blanks, w->n * sizeof(now->kinds[0]));
	memcpy(now->fds, fds, w->n * sizeof(now->fds[0]));
	barrier();
	now->n = w->n;
	FAULT_POINT();
	for (uint32_t i = 0; i < old.n && i < BLANK_KINDS_MAX; i++)
		close(old.fds[i]);
}

/* It maps the same places, so what points there goes on pointing there. */
static void take_said(int fd)
{
	int old = self.trio->said_fd;

	if (world_listen(self.engine.world, fd) < 0) {
		close(fd);
		log_error("worker %u: what the supervisor says cannot be read", self.trio->number);
		return;
	}
	self.trio->said_fd = fd;
	FAULT_POINT();
	if (old >= 0)
		close(old);
}

/* What is watched leaves the epoll set before its number becomes another's: the set knows the open file, and if another
 * process still holds that, it would go on to tell of it for ever. */
static void meet_supervisor(int pidfd, bool leaving)
{
	pid_t pid;
	for (size_t i = 0; i < ARRAY_LEN(self.members); i++)
		watch_remove(&self.engine.loop, &self.members[i]);
	rendezvous_peer(self.control.fd, &pid);
	self.trio->supervisor_pid = 0;
	self.trio->synced = 0;
	FAULT_POINT();
	trio_set_supervisor(pidfd);
	self.trio->supervisor_pid = leaving ? 0 : (int32_t)pid;
	atomic_store(&self.trio->leaving, leaving);
	say(WIRE_ADOPTED, 0);
	worker_members_changed();
}

/* Our end, once this message is dropped, lets the keeper become that program. */
static void take_program(int fd)
{
	int old = self.trio->binary_fd;

	self.trio->binary_fd = fd;
	if (old >= 0)
		close(old);
	self.reexecing = true;
	self.engine.loop.stop = true;
}

void control_given(void *arg, uint32_t n, bool whole)
{
	tell(&(struct wire){.type = WIRE_GIVEN, .n = n, .whole = whole});
}

void control_imbalance(void *arg, bool busy)
{
	(void)arg;
	say(WIRE_IMBALANCE, busy);
}

void control_ejected(void *arg)
{
	(void)arg;
	say(WIRE_EJECTED, 0);
}

/* ---- what it is told ----
 *
 * All comes from the supervisor, and may come twice: the second time to a successor. Each function takes the descriptors.
 */

static void on_stop(const struct wire *w, const int *fds, size_t n_fds)
{
	engine_accept(&self.engine, false);
	engine_end_all(&self.engine, END_STOPPED);
	self.engine.loop.stop = true;
}

static void on_adopt(const struct wire *w, const int *fds, size_t n_fds)
{
	meet_supervisor(fds[0], w->leaves == 1);
}

static void on_listen(const struct wire *w, const int *fds, size_t n_fds)
{
	for (size_t i = 0; i < n_fds; i++)
		if (i < w->n)
			take_listener(w->ids[i], wire_place(w, (uint32_t)i), fds[i]);
		else
			close(fds[i]);
}

static void on_unlisten(const struct wire *w, const int *fds, size_t n_fds)
{
	for (uint32_t i = 0; i < w->n && i < SOCK_MAX_FDS; i++)
		engine_drop_listener(&self.engine, w->ids[i]);
}

static void on_retire(const struct wire *w, const int *fds, size_t n_fds)
{
	retire();
}

static void on_give(const struct wire *w, const int *fds, size_t n_fds)
{
	moving_begin(&self.engine, LINK_GIVES, (enum link_which)w->give.which, w->give.quota, fds[0], fds[1]);
}

static void on_take(const struct wire *w, const int *fds, size_t n_fds)
{
	moving_begin(&self.engine, LINK_TAKES, (enum link_which)w->give.which, w->give.quota, fds[0], fds[1]);
}

static void on_rules(const struct wire *w, const int *fds, size_t n_fds)
{
	take_rules(fds[0], w->generation);
}

static void on_channel(const struct wire *w, const int *fds, size_t n_fds)
{
	engine_set_channel(&self.engine, fds[0]);
}

static void on_targets(const struct wire *w, const int *fds, size_t n_fds)
{
	engine_targets_changed(&self.engine);
}

static void on_quit(const struct wire *w, const int *fds, size_t n_fds)
{
	quit();
}

static void on_reexec(const struct wire *w, const int *fds, size_t n_fds)
{
	take_program(fds[0]);
}

static void on_kill(const struct wire *w, const int *fds, size_t n_fds)
{
	for (uint32_t i = 0; i < w->n / 2 && i < SOCK_MAX_FDS / 2; i++)
		engine_end_one(&self.engine, w->kill[i].row, w->kill[i].serial,
		               w->end == END_SERVER_DOWN ? END_SERVER_DOWN : END_KILLED);
}

static void on_tcp_info(const struct wire *w, const int *fds, size_t n_fds)
{
	tcp_info_write(&self.tcp_info, &self.engine.loop, self.trio, w->request, control_tcp_info_written, NULL);
}

static void on_tap(const struct wire *w, const int *fds, size_t n_fds)
{
	tapping_add(&self.engine, w->number, &w->filter, fds[0], fds[1]);
}

static void on_said(const struct wire *w, const int *fds, size_t n_fds)
{
	take_said(fds[0]);
}

/* Of all three members: they share one table. */
static void on_stderr(const struct wire *w, const int *fds, size_t n_fds)
{
	dup3(fds[0], STDERR_FILENO, 0);
	close(fds[0]);
}

static void on_sync(const struct wire *w, const int *fds, size_t n_fds)
{
	synced(w->number);
}

static void on_stick(const struct wire *w, const int *fds, size_t n_fds)
{
	take_stick(fds[0]);
}

static void on_blank(const struct wire *w, const int *fds, size_t n_fds)
{
	if (w->n == n_fds && w->n <= BLANK_KINDS_MAX) {
		take_blank(w, fds);
		return;
	}
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

#define ANY_FDS SOCK_MAX_FDS

/* With as many descriptors as are said here, or it is not obeyed; where none are taken, any that come are closed. */
static const struct order {
	void (*fn)(const struct wire *w, const int *fds, size_t n_fds);
	size_t n_fds;
} orders[] = {
        [WIRE_STOP] = {on_stop, 0},       [WIRE_ADOPT] = {on_adopt, 1},       [WIRE_LISTEN] = {on_listen, ANY_FDS},
        [WIRE_RETIRE] = {on_retire, 0},   [WIRE_GIVE] = {on_give, 2},         [WIRE_TAKE] = {on_take, 2},
        [WIRE_RULES] = {on_rules, 1},     [WIRE_UNLISTEN] = {on_unlisten, 0}, [WIRE_CHANNEL] = {on_channel, 1},
        [WIRE_TARGETS] = {on_targets, 0}, [WIRE_QUIT] = {on_quit, 0},         [WIRE_REEXEC] = {on_reexec, 1},
        [WIRE_KILL] = {on_kill, 0},       [WIRE_TCP_INFO] = {on_tcp_info, 0}, [WIRE_TAP] = {on_tap, 2},
        [WIRE_SAID] = {on_said, 1},       [WIRE_STDERR_IS] = {on_stderr, 1},  [WIRE_SYNC] = {on_sync, 0},
        [WIRE_STICK] = {on_stick, 1},     [WIRE_BLANK] = {on_blank, ANY_FDS},
};

static void dispatch(const struct wire *w, const int *fds, size_t n_fds)
{
	const struct order *o = w->type < ARRAY_LEN(orders) && orders[w->type].fn ? &orders[w->type] : NULL;
	size_t taken = 0;

	if (!o)
		log_debug("worker %u: a message of type %u is not understood", self.trio->number, w->type);
	else if (o->n_fds == 0 || o->n_fds == ANY_FDS || o->n_fds == n_fds)
		o->fn(w, fds, taken = o->n_fds == 0 ? 0 : n_fds);
	while (taken < n_fds)
		close(fds[taken++]);
}

static void control_control_event(void *arg, uint32_t events)
{
	(void)arg;
	if (events & EPOLLOUT)
		outbox_flush(&self.outbox);
	for (int n = 0; n < 64 && !self.engine.loop.stop && self.control.fd >= 0; n++) {
		struct wire w;
		int fd = self.control.fd; /* obeying may take it out of the loop */
		int fds[SOCK_MAX_FDS];
		size_t n_fds = SOCK_MAX_FDS;
		int len = sock_peek_message(fd, &w, sizeof(w), fds, &n_fds);

		if (len == sizeof(w)) {
			/* looked at, obeyed, then dropped: a successor is told again what we die
			 * of. All of it may be done twice. */
			FAULT_POINT();
			dispatch(&w, fds, n_fds);
			FAULT_POINT();
			sock_drop_message(fd);
			continue;
		}
		for (size_t i = 0; i < n_fds; i++)
			close(fds[i]);
		if (len > 0)
			sock_drop_message(fd);
		if (len == 0) {
			/* the supervisor is gone: relaying and accepting go on without it */
			watch_remove(&self.engine.loop, &self.control);
			return;
		}
		if (len < 0)
			return;
	}
}

/* The socket of a new supervisor, with its first word still in it: obeyed like any other. */
static void change_control(int fd)
{
	int old = self.trio->control_fd;

	watch_remove(&self.engine.loop, &self.control);
	outbox_clear(&self.outbox);
	self.trio->control_fd = fd;
	if (old >= 0)
		close(old);
	if (!self.succession.waits)
		watch_keep(&self.engine.loop, &self.control, fd, EPOLLIN, control_control_event, NULL);
}

/* What a predecessor has obeyed, but perhaps not said any more. */
static void say_again(void)
{
	const struct trio *t = self.trio;

	if (trio_supervised() && !atomic_load(&t->leaving))
		say(WIRE_ADOPTED, 0);
	if (t->synced)
		tell(&(struct wire){.type = WIRE_SYNCED, .generation = t->synced});
	if (atomic_load(&t->starts) > 1 && self.engine.rules && config_ejects(self.engine.rules->config))
		control_ejected(NULL);
}

void control_start(void)
{
	outbox_init(&self.outbox, &self.engine.loop, &self.control, NULL, NULL);
	if (self.trio->control_fd >= 0)
		watch_keep(&self.engine.loop, &self.control, self.trio->control_fd, EPOLLIN, control_control_event,
		           NULL);
	say_again();
	greeter_start(&self.greeter, &self.engine.loop, self.trio, self.engine.world, change_control);
}
