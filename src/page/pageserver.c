#include "page/pageserver.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "page/http_library.h"
#include "page/pages.h"
#include "base/clock.h"
#include "base/log.h"
#include "ipc/collect.h"
#include "ipc/saying.h"
#include "os/host.h"
#include "os/sandbox.h"
#include "os/sock.h"
#include "ipc/packed.h"

#define SAMPLE_MS   1000
#define TCP_INFO_MS 500  /* they are not asked for more often */
#define LEAVE_MS    3000 /* for what was begun, when another process serves already */

static struct pageserver {
	const struct pageserver_setup *setup;
	struct config *config;
	uint64_t generation;
	struct loop loop;
	struct watch control;
	struct saying saying;
	struct timer sampling, leaving;
	struct collector *collector;
	struct pages_ops pages;
	struct http_server *http;
	char **names;        /* of this machine; NULL-terminated */
	int64_t tcp_info_ms; /* when they were asked for last */
} self;

/* ---- to the supervisor ---- */

static int command_channel(void *arg, const struct addr *client)
{
	struct wire w = {.type = WIRE_COMMAND, .client = *client};
	int pair[2], rc;

	(void)arg;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	rc = self.control.fd < 0 ? -ENOTCONN : sock_send_message(self.control.fd, &w, sizeof(w), &pair[1], 1);
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	return pair[0];
}

/* ---- looking ---- */

/* Mapped for reading only. */
static const struct trio *trio_of(uint32_t i)
{
	return self.setup->trios[i];
}

static struct snapshot *pageserver_look(void *arg, bool connections, bool tcp)
{
	const struct pageserver_setup *setup = self.setup;
	struct snapshot *s = collect_take(self.collector, self.config, self.generation, connections);

	(void)arg;
	s->pid = setup->supervisor_pid;
	s->config_path = setup->config_path;
	s->log_level = log_level_name((enum log_level)atomic_load(&setup->world->log_level));
	for (uint32_t i = 0; i < setup->n_trios; i++)
		s->stopping |= atomic_load(&trio_of(i)->quitting) || atomic_load(&trio_of(i)->stopping);
	if (tcp && self.control.fd >= 0 && self.loop.now_ms - self.tcp_info_ms >= TCP_INFO_MS) {
		self.tcp_info_ms = self.loop.now_ms;
		sock_send_message(self.control.fd, &(struct wire){.type = WIRE_WANT_TCP_INFO}, sizeof(struct wire),
		                  NULL, 0);
	}
	return s;
}

static void config_text(void *arg, bool secrets, struct buf *out)
{
	(void)arg;
	if (secrets)
		config_print(self.config, out);
	else
		config_print_public(self.config, out);
}

/* Calls fn for the numbers of each service, of each worker. */
static void each_service(void (*fn)(void *arg, const struct counted *c), void *arg)
{
	unsigned n = atomic_load(&self.setup->world->services.n);

	for (uint32_t i = 0; i < self.setup->n_trios; i++)
		for (uint32_t k = 0; k < n; k++)
			fn(arg, counters_service(trio_counters(trio_of(i)), k));
}

static void add_ends(void *arg, const struct counted *c)
{
	uint64_t *ends = arg;

	for (int i = 0; i < COUNTED_ENDS; i++)
		ends[i] += c->ends[i];
}

static void count_ends(void *arg, uint64_t *ret)
{
	(void)arg;
	memset(ret, 0, COUNTED_ENDS * sizeof(*ret));
	each_service(add_ends, ret);
}

static void add_sample(void *arg, const struct counted *c)
{
	struct history_sample *s = arg;

	s->accepted += c->values[COUNT_connections];
	s->client_bytes += c->values[COUNT_client_bytes];
	s->server_bytes += c->values[COUNT_server_bytes];
}

/* A little after each full second. */
static void pageserver_sample(void *arg)
{
	int64_t wall_us = clock_wall_us();
	struct history_sample s = {.wall_s = wall_us / 1000000};
	uint64_t ends[COUNTED_ENDS];

	(void)arg;
	for (uint32_t i = 0; i < self.setup->n_trios; i++)
		s.active += atomic_load(&trio_of(i)->live);
	each_service(add_sample, &s);
	count_ends(NULL, ends);
	history_add_sample(self.setup->history, &s, ends);
	timer_set(&self.loop, &self.sampling, self.loop.now_ms + SAMPLE_MS - wall_us / 1000 % SAMPLE_MS + 5,
	          pageserver_sample, NULL);
}

/* ---- from the supervisor ---- */

static void pageserver_stop(void *arg)
{
	(void)arg;
	self.loop.stop = true;
}

static void leave(void)
{
	int fd = self.control.fd;

	watch_remove(&self.loop, &self.control);
	close(fd);
	timer_clear(&self.loop, &self.sampling); /* the next one does it */
	timer_set(&self.loop, &self.leaving, self.loop.now_ms + LEAVE_MS, pageserver_stop, NULL);
	http_server_leave(self.http);
}

static void take_rules(int fd, uint64_t generation)
{
	struct config *c = packed_config_of(fd, NULL, NULL);

	if (!c) {
		log_error("the admin process cannot read the configuration that came from the "
		          "supervisor");
		return;
	}
	config_free(self.config);
	self.config = c;
	self.generation = generation;
}

static void pageserver_control_event(void *arg, uint32_t events)
{
	(void)arg;
	for (;;) {
		struct wire w;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(self.control.fd, &w, sizeof(w), &fd, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return;
		if (len <= 0) {
			leave();
			return;
		}
		if (len == sizeof(w) && w.type == WIRE_RULES && n_fds == 1)
			take_rules(fd, w.generation);
		else if (n_fds == 1)
			close(fd);
	}
}

/* ---- the life ---- */

static bool is_our_name(void *arg, const char *name)
{
	(void)arg;
	for (char **n = self.names; *n; n++)
		if (strcasecmp(*n, name) == 0)
			return true;
	for (size_t i = 0; i < self.config->n_admins; i++)
		if (self.config->admins[i].name && strcasecmp(self.config->admins[i].name, name) == 0)
			return true;
	return false;
}

static void listen_all(void)
{
	for (size_t i = 0; i < self.setup->sockets->n; i++) {
		const struct admin_socket *socket = &self.setup->sockets->list[i];
		int rc;

		if (!socket->page)
			continue;
		rc = http_server_listen(self.http, socket->fd, socket->token);
		if (rc < 0)
			log_error("admin %s: %s", socket->path + strlen("tcp:"), strerror(-rc));
	}
}

int pageserver_run(const struct pageserver_setup *setup)
{
	const struct collect_source source = {.world = setup->world, .trios = setup->trios, .n_trios = setup->n_trios};
	const char *why, *missing;

	self = (struct pageserver){.setup = setup, .config = setup->config, .generation = setup->generation};
	self.saying.fd = setup->control_fd;
	log_set_sink(saying_line, &self.saying);
	self.names = host_names();
	why = http_library_load();
	if (why) {
		log_error("the page is not served: %s (Debian: libmicrohttpd12)", why);
		return PAGE_NO_LIBRARY;
	}
	missing = sandbox_page();
	if (missing && !setup->again)
		log_warning("the page is served without %s", missing);
	if (loop_init(&self.loop, -1, NULL, 64) < 0 ||
	    watch_add(&self.loop, &self.control, setup->control_fd, EPOLLIN, pageserver_control_event, NULL) < 0)
		return 1;
	self.saying.loop = &self.loop;
	self.collector = collect_new(&source);
	self.pages = (struct pages_ops){.loop = &self.loop,
	                                .history = setup->history,
	                                .look = pageserver_look,
	                                .count_ends = count_ends,
	                                .config_text = config_text,
	                                .command_channel = command_channel};
	self.http = http_server_new(&(struct http_setup){.loop = &self.loop,
	                                                 .request = pages_dispatch,
	                                                 .arg = &self.pages,
	                                                 .idle = pageserver_stop,
	                                                 .is_our_name = is_our_name});
	listen_all();
	pageserver_sample(NULL);
	loop_run(&self.loop);
	return 0;
}
