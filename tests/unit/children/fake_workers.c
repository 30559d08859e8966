#include "fake_workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/buf.h"
#include "os/sock.h"

enum phase phase;
struct rules rules;
struct workers workers;
int theirs[FAKE_WORKERS_MAX];

static struct orphan orphans[FAKE_WORKERS_MAX];
static struct buf reports, read_text;
static char last_reports[1000];
static int log_fd;

/* ---- what is reported ---- */

void report(const char *format, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	buf_addf(&reports, "%s%s", reports.len ? " " : "", text);
}

const char *reported(void)
{
	snprintf(last_reports, sizeof(last_reports), "%s", reports.len ? reports.s : "");
	buf_release(&reports);
	return last_reports;
}

static void on_begun(void *arg, struct worker *w)
{
	report("begun:%u", w->number);
}

static void on_mute(void *arg)
{
	report("mute");
}

static void on_imbalance(void *arg, bool busy)
{
	report("imbalance:%d", busy);
}

static void on_ejected(void *arg)
{
	report("ejected");
}

static void on_moved(void *arg, uint32_t worker, uint32_t n)
{
	report("moved:%u,%u", worker, n);
}

static void on_adopted(void *arg)
{
	report("adopted");
}

static void on_idle(void *arg)
{
	report("idle");
}

static void on_gone(void *arg)
{
	report("gone");
}

static void on_tcp_info(void *arg, uint32_t worker, uint64_t request)
{
	report("tcp_info:%u,%llu", worker, (unsigned long long)request);
}

static const struct workers_events events = {on_begun,   on_mute, on_imbalance, on_ejected, on_moved,
                                             on_adopted, on_idle, on_gone,      on_tcp_info};

/* ---- the log ---- */

static int open_log(void *arg, const char *path)
{
	return dup(log_fd);
}

static struct logger *new_logger(void)
{
	static const struct log_target target = {.kind = LOG_TO_FILE, .path = (char *)"/log"};
	struct buf error = BUF_INIT;

	log_fd = memfd_create("log", MFD_CLOEXEC);
	return logger_new(&target, 1, &(struct logger_ops){.open_file = open_log}, &error);
}

unsigned written(const char *part)
{
	static char text[65536];
	ssize_t len = pread(log_fd, text, sizeof(text) - 1, 0);
	unsigned n = 0;

	assert_true(len >= 0);
	text[len] = '\0';
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		n += strstr(line, part) != NULL;
	}
	return n;
}

/* ---- their lives ---- */

void fake_workers_begin(void)
{
	phase = PHASE_SERVING;
	rules = (struct rules){.fd = memfd_create("rules", MFD_CLOEXEC), .generation = 5};
	workers = (struct workers){.loop = &loop,
	                           .phase = &phase,
	                           .logger = new_logger(),
	                           .rules = &rules,
	                           .what = "/test",
	                           .key = 4711,
	                           .events = &events,
	                           .told_number = 1};
	assert_non_null(workers.logger);
	assert_int_equal(world_new(&workers.world, &workers.world_fds), 0);
	for (uint32_t i = 0; i < WORLD_WORKERS; i++)
		workers.doors[i] = -1;
	for (uint32_t i = 0; i < FAKE_WORKERS_MAX; i++)
		theirs[i] = -1;
}

static void add_orphan(uint32_t number)
{
	struct orphan *o = &orphans[workers.orphans.n++];
	int pair[2];

	*o = (struct orphan){.number = number};
	o->fds[GREETING_TRIO] = trio_new(number, 8, &o->trio);
	o->fds[GREETING_WAKE] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	o->fds[GREETING_REARM] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(o->fds[GREETING_TRIO] >= 0);
	assert_int_equal(sock_message_pair(pair), 0);
	o->control_fd = pair[0];
	theirs[number] = pair[1];
}

int fake_workers_find(uint32_t n, unsigned which)
{
	workers.n = n;
	workers.orphans.list = orphans;
	for (uint32_t i = 0; i < n; i++)
		if (which >> i & 1)
			add_orphan(i);
	return workers_start(&workers);
}

void fake_workers_serve(uint32_t n)
{
	assert_int_equal(fake_workers_find(n, (1u << n) - 1), 0);
	for (uint32_t i = 0; i < n; i++) {
		read_all(theirs[i]);
		say(i, &(struct wire){.type = WIRE_ADOPTED});
		say(i, &(struct wire){.type = WIRE_SYNCED, .number = workers.told_number});
	}
	assert_string_equal(reported(), "adopted");
}

static void end_one(struct worker *w)
{
	if (w->child.control.fd >= 0)
		child_stop_hearing(&w->child);
	lastwords_close(&w->child.words);
	again_cancel(&w->child.again);
	timer_clear(&loop, &w->reconnect_timer);
	timer_clear(&loop, &w->drain_timer);
	told_end(w);
	watch_remove(&loop, &w->wake);
	close(w->wake_fd);
	close(w->memfd);
	close(workers.rearm_fds[w->number]);
	trio_unmap(w->trio);
}

void fake_workers_end(void)
{
	for (uint32_t i = 0; i < workers.n; i++)
		end_one(&workers.list[i]);
	told_check(&workers);
	for (uint32_t i = 0; i < FAKE_WORKERS_MAX; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	free(workers.list);
	logger_free(workers.logger);
	world_unmap(workers.world);
	close(workers.world_fds.said);
	close(workers.world_fds.shared);
	close(rules.fd);
	close(log_fd);
	buf_release(&reports);
	buf_release(&read_text);
	assert_int_equal(loop.n_timers, 0);
}

/* ---- what they say and hear ---- */

void say_with(uint32_t i, const void *data, size_t len, const int *fds, size_t n_fds)
{
	assert_int_equal(sock_send_message(theirs[i], data, len, fds, n_fds), 0);
	turn();
}

void say(uint32_t i, const struct wire *w)
{
	say_with(i, w, sizeof(*w), NULL, 0);
}

void hang_up(uint32_t i)
{
	close(theirs[i]);
	theirs[i] = -1;
	turn();
}

bool read_one(int fd, struct wire *w, int *fds, size_t *n_fds)
{
	int rc;

	*n_fds = SOCK_MAX_FDS;
	rc = sock_recv_message(fd, w, sizeof(*w), fds, n_fds);
	if (rc == -EAGAIN || rc == 0)
		return false;
	assert_int_equal(rc, sizeof(*w));
	return true;
}

static const char *name(uint32_t type)
{
	static const char *const names[] = {
	        [WIRE_STOP] = "STOP",       [WIRE_ADOPT] = "ADOPT",         [WIRE_LISTEN] = "LISTEN",
	        [WIRE_RULES] = "RULES",     [WIRE_UNLISTEN] = "UNLISTEN",   [WIRE_CHANNEL] = "CHANNEL",
	        [WIRE_TARGETS] = "TARGETS", [WIRE_QUIT] = "QUIT",           [WIRE_KILL] = "KILL",
	        [WIRE_TAP] = "TAP",         [WIRE_SAID] = "SAID",           [WIRE_SYNC] = "SYNC",
	        [WIRE_GIVE] = "GIVE",       [WIRE_STDERR_IS] = "STDERR_IS",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}

const char *read_all(int fd)
{
	int fds[SOCK_MAX_FDS];
	struct wire w;
	size_t n;

	buf_clear(&read_text);
	while (read_one(fd, &w, fds, &n)) {
		buf_addf(&read_text, "%s%s", read_text.len ? " " : "", name(w.type));
		if (n > 0)
			buf_addf(&read_text, "+%zu", n);
		while (n > 0)
			close(fds[--n]);
	}
	return read_text.len ? read_text.s : "";
}
