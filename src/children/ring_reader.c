/*
 * ring_reader.c - what a trio puts into its ring, and which of its members have died: to the log.
 */
#include "children/ring_reader.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/progress.h"
#include "children/workers.h"
#include "ipc/accesslog.h"

#define DRAIN_MS      20 /* while records come, look so often instead of being woken for each */
#define DRAIN_AT_ONCE 2000

void ring_reader_take(struct worker *w, uint32_t type, const void *data, size_t len)
{
	struct workers *ws = w->workers;
	static struct line_message line;

	if (type == MESSAGE_RECORD) {
		char texts[sizeof(((struct record_message *)0)->texts) + RECORD_TEXTS];
		struct record r;
		uint32_t label;

		if (!accesslog_read(data, len, ws->world, texts, &r, &label) || r.unwanted)
			return;
		r.format = label < WORLD_LABELS ? ws->rules->formats[label] : NULL;
		logger_record(ws->logger, &r);
	} else if (type == MESSAGE_LINE && len > offsetof(struct line_message, text) &&
	           len - offsetof(struct line_message, text) < sizeof(line.text)) {
		memcpy(&line, data, len);
		line.text[len - offsetof(struct line_message, text)] = '\0';
		logger_line(ws->logger, line.level > LOG_LEVEL_DEBUG ? LOG_LEVEL_ERROR : line.level, line.text,
		            line.wall_us);
	}
}

void worker_drain(struct worker *w)
{
	const void *data;
	uint32_t type;
	size_t len;
	uint64_t lost;

	for (int n = 0; n < DRAIN_AT_ONCE && ring_peek(w->ring, TRIO_RING, &type, &data, &len); n++) {
		ring_reader_take(w, type, data, len);
		ring_drop(w->ring, TRIO_RING);
	}
	lost = ring_take_lost(w->ring);
	if (lost)
		atomic_fetch_add(&w->workers->world->totals.lines_lost, lost);
	if (lost)
		log_error("worker %u: %llu log lines are lost: they came faster than they could be "
		          "written",
		          w->number, (unsigned long long)lost);
}

static void log_deaths(struct worker *w)
{
	static const char *const names[] = {"keeper", "keeper", "worker"};
	unsigned n = atomic_load(&w->trio->n_deaths);

	if (n != w->deaths_seen)
		lastwords_hear(&w->child.words);
	if (n - w->deaths_seen > TRIO_DEATHS)
		w->deaths_seen = n - TRIO_DEATHS;
	for (; w->deaths_seen != n; w->deaths_seen++) {
		struct trio_death d = w->trio->deaths[w->deaths_seen % TRIO_DEATHS];
		const char *who = d.member < MEMBERS ? names[d.member] : "member";

		if (*w->workers->phase == PHASE_STOPPING)
			continue;
		if (d.status >= 0 && WIFSIGNALED(d.status))
			log_error("%s %u (pid %d) was killed by signal %d (%s) and is replaced", who, w->number, d.pid,
			          WTERMSIG(d.status), strsignal(WTERMSIG(d.status)));
		else
			log_error("%s %u (pid %d) has died and is replaced", who, w->number, d.pid);
	}
}

static void drain_tick(void *arg)
{
	struct worker *w = arg;
	bool more = !ring_empty(w->ring);

	worker_drain(w);
	log_deaths(w);
	if (more) {
		timer_set(w->workers->loop, &w->drain_timer, w->workers->loop->now_ms + DRAIN_MS, drain_tick, w);
		return;
	}
	/* from here on wake us; what came between the look and this is looked at once more */
	atomic_store(&w->trio->reader_waits, 1);
	if (!ring_empty(w->ring))
		worker_drain(w);
}

void ring_reader_woken(void *arg, uint32_t events)
{
	struct worker *w = arg;
	uint64_t count;

	if (read(w->wake_fd, &count, sizeof(count)) < 0)
		return;
	progress();
	drain_tick(w);
}
