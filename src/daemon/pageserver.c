#include "daemon/pageserver.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "admin/http_library.h"
#include "admin/pages.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/survey.h"
#include "daemon/wire.h"
#include "os/sandbox.h"
#include "os/sock.h"
#include "proxy/accesslog.h"
#include "proxy/ruleset.h"

#define SAMPLE_MS 1000
#define FACTS_MS  500  /* they are not asked for more often */
#define LEAVE_MS  3000 /* for what was begun, when somebody else serves already */

static struct pageserver {
	const struct pageserver_setup *setup;
	struct config *config;
	uint64_t generation;
	struct loop loop;
	struct watch control;
	struct timer sampling, leaving;
	struct survey *survey;
	struct pages_world pages;
	struct http_server *http;
	int64_t facts_ms; /* when they were asked for last */
} self;

/* ---- to the supervisor ---- */

/* Nobody waits for it. */
static void put_line(void *arg, enum log_level level, const char *line)
{
	struct {
		struct wire wire;
		struct line_message line;
	} m = {.wire.type = WIRE_LINE};
	size_t len = strnlen(line, sizeof(m.line.text) - 1);

	(void)arg;
	m.line.wall_us = clock_wall_us();
	m.line.level = level;
	memcpy(m.line.text, line, len);
	sock_send_message(self.setup->control_fd, &m, offsetof(__typeof__(m), line.text) + len,
	                  NULL, 0);
}

static int command_channel(void *arg)
{
	struct wire w = {.type = WIRE_COMMAND};
	int pair[2], rc;

	(void)arg;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	rc = self.control.fd < 0 ? -ENOTCONN
	                         : sock_send_message(self.control.fd, &w, sizeof(w), &pair[1], 1);
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	return pair[0];
}

/* ---- looking ---- */

static struct snapshot *look(void *arg, bool connections, bool tcp)
{
	const struct pageserver_setup *setup = self.setup;
	struct snapshot *s = survey_take(self.survey, self.config, self.generation, connections);

	(void)arg;
	s->pid = setup->supervisor_pid;
	s->config_path = setup->config_path;
	s->log_level = log_level_name((enum log_level)atomic_load(&setup->world->log_level));
	for (uint32_t i = 0; i < setup->n_trios; i++)
		s->stopping |= atomic_load(&setup->trios[i]->quitting) ||
		               atomic_load(&setup->trios[i]->stopping);
	if (tcp && self.control.fd >= 0 && self.loop.now_ms - self.facts_ms >= FACTS_MS) {
		self.facts_ms = self.loop.now_ms;
		sock_send_message(self.control.fd, &(struct wire){.type = WIRE_WANT_FACTS},
		                  sizeof(struct wire), NULL, 0);
	}
	return s;
}

static void config_text(void *arg, struct buf *out)
{
	(void)arg;
	config_print(self.config, out);
}

/* Calls fn for the numbers of each service, of each worker. */
static void each_service(void (*fn)(void *arg, const struct counted *c), void *arg)
{
	unsigned n = atomic_load(&self.setup->world->services.n);

	for (uint32_t i = 0; i < self.setup->n_trios; i++)
		for (uint32_t k = 0; k < n; k++)
			fn(arg, counters_service(trio_counters(self.setup->trios[i]), k));
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
static void sample(void *arg)
{
	int64_t wall_us = clock_wall_us();
	struct history_sample s = {.wall_s = wall_us / 1000000};
	uint64_t ends[COUNTED_ENDS];

	(void)arg;
	for (uint32_t i = 0; i < self.setup->n_trios; i++)
		s.active += atomic_load(&self.setup->trios[i]->live);
	each_service(add_sample, &s);
	count_ends(NULL, ends);
	history_add_sample(self.setup->history, &s, ends);
	timer_set(&self.loop, &self.sampling,
	          self.loop.now_ms + SAMPLE_MS - wall_us / 1000 % SAMPLE_MS + 5, sample, NULL);
}

/* ---- from the supervisor ---- */

static void stop(void *arg)
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
	timer_set(&self.loop, &self.leaving, self.loop.now_ms + LEAVE_MS, stop, NULL);
	http_server_leave(self.http);
}

static void take_rules(int fd, uint64_t generation)
{
	struct config *c = ruleset_config_of(fd);

	if (!c) {
		log_error("the admin process cannot read the configuration that came from the "
		          "supervisor");
		return;
	}
	config_free(self.config);
	self.config = c;
	self.generation = generation;
}

static void control_event(void *arg, uint32_t events)
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

static bool is_loopback(const struct addr *a)
{
	struct cidr four, six;

	return (cidr_parse("127.0.0.0/8", &four) && cidr_contains(&four, a)) ||
	       (cidr_parse("::1", &six) && cidr_contains(&six, a));
}

static void listen_all(void)
{
	for (size_t i = 0; i < self.setup->sockets->n; i++) {
		const struct admin_socket *socket = &self.setup->sockets->list[i];
		struct addr a;
		int rc;

		if (!socket->page)
			continue;
		rc = sock_local(socket->fd, &a);
		if (rc == 0)
			rc = http_server_listen(self.http, socket->fd, socket->token,
			                        is_loopback(&a));
		if (rc < 0)
			log_error("admin %s: %s", socket->path + strlen("tcp:"), strerror(-rc));
	}
}

int pageserver_run(const struct pageserver_setup *setup)
{
	const struct survey_source source = {
	    .world = setup->world, .trios = setup->trios, .n_trios = setup->n_trios};
	const char *why, *missing;

	self = (struct pageserver){
	    .setup = setup, .config = setup->config, .generation = setup->generation};
	log_set_sink(put_line, NULL);
	why = http_library_load();
	if (why) {
		log_error("the page is not served: %s (Debian: libmicrohttpd12)", why);
		return PAGE_NO_LIBRARY;
	}
	missing = sandbox_page();
	if (missing)
		log_warning("the page is served without %s: this kernel or build does not have it",
		            missing);
	if (loop_init(&self.loop, -1, NULL, 64) < 0 ||
	    watch_add(&self.loop, &self.control, setup->control_fd, EPOLLIN, control_event, NULL) <
	        0)
		return 1;
	self.survey = survey_new(&source);
	self.pages = (struct pages_world){.loop = &self.loop,
	                                  .history = setup->history,
	                                  .look = look,
	                                  .count_ends = count_ends,
	                                  .config_text = config_text,
	                                  .command_channel = command_channel};
	self.http = http_server_new(&(struct http_setup){
	    .loop = &self.loop, .request = pages_obey, .arg = &self.pages, .idle = stop});
	listen_all();
	sample(NULL);
	loop_run(&self.loop);
	return 0;
}
