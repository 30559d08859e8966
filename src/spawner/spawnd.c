#include "spawner/spawnd.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "ipc/packed.h"
#include "ipc/saying.h"
#include "os/shm.h"
#include "spawner/spawner.h"

#define ALONE_LOOK_MS 250

static struct spawnd {
	const struct spawnd_setup *setup;
	struct loop loop;
	struct watch control;
	struct saying saying;
	struct resolver *resolver;
	struct spawner *spawner;
	unsigned channels;
	struct timer alone;
	bool stopping, none_left;
} self;

/* The supervisor keeps a copy: no single death costs a program a SIGPIPE. */
static void keep_stderr(void *arg, int fd, const char *label)
{
	(void)arg;
	saying_with(&self.saying, WIRE_STDERR, label, fd);
}

/* Its line and the list itself in a memfd: it may be long. */
static bool tell_list(void *arg, const char *line, const char *text, size_t len)
{
	const struct wire w = {.type = WIRE_LIST};
	struct buf both = BUF_INIT;
	int fd, rc;

	(void)arg;
	buf_addf(&both, "%s\n", line);
	buf_add(&both, text, len);
	fd = shm_new_sealed("tcpproxy-list", both.s, both.len);
	buf_release(&both);
	if (fd < 0)
		return false;
	rc = sock_send_message(self.setup->control_fd, &w, sizeof(w), &fd, 1);
	close(fd);
	return rc != -EAGAIN && rc != -ENOBUFS && rc != -ENOMEM;
}

/* No program is left, as far as we know. Workers that end may still name some that others have started. */
static void stopped(void *arg)
{
	(void)arg;
	self.none_left = true;
	if (self.channels == 0)
		self.loop.stop = true;
}

static void stop_programs(void)
{
	self.stopping = true;
	if (self.spawner)
		spawner_stop(self.spawner, stopped, NULL);
	else
		stopped(NULL);
}

/* A supervisor that came after ours says so to its trios, and cannot say it to us. */
static bool all_stop(void)
{
	for (uint32_t i = 0; i < self.setup->n_trios; i++)
		if (!atomic_load(&self.setup->trios[i]->stopping))
			return false;
	return true;
}

/* No process is left that could ask or tell. Programs that run have their clients themselves, but their stderr is
 * ours to read: without us they would die of SIGPIPE, and so would what they have left behind. */
static void end_if_alone(void *arg)
{
	(void)arg;
	if (self.channels > 0 || self.control.fd >= 0)
		return;
	if (!self.spawner || spawner_is_idle(self.spawner))
		self.loop.stop = true;
	else if (all_stop() && !self.stopping)
		stop_programs();
	else
		timer_set(&self.loop, &self.alone, self.loop.now_ms + ALONE_LOOK_MS, end_if_alone, NULL);
}

static void spawnd_channel_gone(void *arg)
{
	(void)arg;
	self.channels--;
	if (self.none_left && self.channels == 0 && spawner_running(self.spawner) == 0)
		self.loop.stop = true;
	end_if_alone(NULL);
}

/* Resolvers are asked as the configuration says; it may say so anew at each reload. */
static void set_resolver(const struct config *c)
{
	const struct resolver_setup setup = {.loop = &self.loop, .purpose = "names of clients"};
	int rc = self.resolver ? resolver_set_servers(self.resolver, c->resolvers, c->n_resolvers)
	                       : resolver_new(&setup, c->resolvers, c->n_resolvers, &self.resolver);

	if (rc < 0)
		log_error("the spawner cannot look up names of clients: %s", strerror(-rc));
}

static void take_rules(int fd, uint64_t generation)
{
	struct config *c = packed_config_of(fd, NULL, NULL);

	if (!c) {
		log_error("the spawner cannot read the configuration that came from the supervisor");
		return;
	}
	set_resolver(c);
	if (!self.spawner) {
		struct spawner_setup s = {.loop = &self.loop,
		                          .resolver = self.resolver,
		                          .programs = self.setup->programs,
		                          .nofile = self.setup->nofile,
		                          .umask = self.setup->umask,
		                          .keep_stderr = keep_stderr,
		                          .list = tell_list};

		if (spawner_new(&s, &self.spawner) < 0)
			_exit(1);
	}
	spawner_set_config(self.spawner, c, generation);
}

/* Programs that a spawner before us has started; it may be dead. */
static void take_programs(struct trio *t, int fd)
{
	for (uint32_t i = 0; i < trio_rows_used(t); i++) {
		uint8_t state = trio_row(t, i)->state;

		spawner_take_program(self.spawner, fd, i, state == ROW_STARTING || state == ROW_HANDLER);
	}
}

static void take_channel(int fd, uint64_t number)
{
	struct trio *t;

	if (number == WIRE_TRIO_CHECKER && self.spawner) {
		spawner_set_checker(self.spawner, fd);
		return;
	}
	if (number == WIRE_TRIO_SUPERVISOR && self.spawner) {
		spawner_set_notices(self.spawner, fd);
		return;
	}
	if (number >= self.setup->n_trios || !self.spawner) {
		close(fd);
		return;
	}
	t = self.setup->trios[number];
	if (spawner_add_channel(self.spawner, fd, trio_slots(t), t, trio_n_rows(t), spawnd_channel_gone, NULL) < 0)
		return;
	self.channels++;
	take_programs(t, fd);
}

static void spawnd_control_event(void *arg, uint32_t events)
{
	(void)arg;
	for (;;) {
		struct wire w;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(self.control.fd, &w, sizeof(w), &fd, &n_fds);

		if (len == 0) {
			watch_remove(&self.loop, &self.control);
			if (self.spawner)
				spawner_stop_lists(self.spawner);
			end_if_alone(NULL);
			return;
		}
		if (len < 0)
			return;
		if (len == sizeof(w) && w.type == WIRE_RULES && n_fds == 1)
			take_rules(fd, w.generation);
		else if (len == sizeof(w) && w.type == WIRE_CHANNEL && n_fds == 1)
			take_channel(fd, w.trio);
		else if (n_fds == 1)
			close(fd);
		if (len == sizeof(w) && w.type == WIRE_STOP)
			stop_programs();
	}
}

int spawnd_run(const struct spawnd_setup *setup)
{
	memset(&self, 0, sizeof(self));
	self.setup = setup;
	if (loop_init(&self.loop, -1, NULL, 64) < 0)
		return 1;
	self.saying = (struct saying){.loop = &self.loop, .fd = setup->control_fd};
	log_set_sink(saying_line, &self.saying);
	if (watch_add(&self.loop, &self.control, setup->control_fd, EPOLLIN, spawnd_control_event, NULL) < 0)
		return 1;
	loop_run(&self.loop);
	return 0;
}
