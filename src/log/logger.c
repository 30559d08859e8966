#include "log/logger.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/format.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "log/logfile.h"
#include "os/journal.h"
#include "os/syslog.h"

#define LINE_MAX_BYTES 2048

struct target {
	struct log_target spec; /* its path is owned */
	struct logfile file;    /* LOG_TO_FILE, LOG_TO_STDERR */
	struct syslog syslog;
	struct journal journal;
	uint64_t lost; /* lines since the last one that went through */
	int why_lost;  /* errno of the last of them */
	bool kept;     /* while targets are replaced */
};

struct logger {
	struct logger_ops world;
	struct target **targets;
	size_t n;
	struct buf scratch;      /* the line as one target wants it */
	struct history *history; /* NULL: there is no page */
	atomic_ullong *lost;     /* of all targets, ever; NULL: not wanted */
};

/* ---- what is to be written ---- */

/* A line or a record, for all targets. */
struct message {
	enum log_level level;
	int64_t wall_us;
	const char *line; /* NULL: it is a record */
	const struct record *record;
	const struct server_change *change; /* which is what the line says; NULL: it is another */
};

static int severity(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	case LOG_LEVEL_DEBUG:
		return LOG_DEBUG;
	case LOG_LEVEL_ERROR:
		break;
	}
	return LOG_ERR;
}

/* Renders m without a newline, in the words of the target's kind. */
static void render(const struct target *t, const struct message *m, struct buf *out)
{
	const char *level = log_level_name(m->level);
	bool has_clock = t->spec.kind == LOG_TO_SYSLOG || t->spec.kind == LOG_TO_JOURNAL;

	if (t->spec.kind == LOG_TO_STDERR && t->file.is_journal)
		buf_addf(out, "<%d>", severity(m->level));
	if (t->spec.json && m->change)
		record_render_change_json(m->change, m->wall_us, level, out);
	else if (t->spec.json && m->line)
		record_render_line_json(m->wall_us, level, m->line, out);
	else if (t->spec.json)
		record_render_json(m->record, out);
	else if (!m->line && m->record->format)
		format_render(m->record->format, m->record, out);
	else if (!m->line && has_clock)
		record_render_plain(m->record, out);
	else if (!m->line)
		record_render_text(m->record, out);
	else if (t->spec.kind == LOG_TO_FILE)
		record_render_line_text(m->wall_us, level, m->line, out);
	else
		buf_addf(out, "%s%s", has_clock ? "" : "tcpproxy: ", m->line);
}

static void journal_record_field(void *arg, const char *key, const char *value, bool number)
{
	char name[32] = "TCPPROXY_";
	size_t at = strlen(name);

	if (!value)
		return;
	for (; *key && at < sizeof(name) - 1; key++)
		name[at++] = (char)toupper((unsigned char)*key);
	journal_add(arg, name, value);
}

static int send_journal(struct target *t, const struct message *m, const char *text)
{
	struct buf *entry = &t->journal.entry;
	char priority[] = {(char)('0' + severity(m->level)), '\0'};

	buf_clear(entry);
	journal_add(entry, "MESSAGE", text);
	journal_add(entry, "PRIORITY", priority);
	journal_add(entry, "SYSLOG_IDENTIFIER", "tcpproxy");
	if (m->record) {
		journal_add(entry, "TCPPROXY_EVENT", record_event_name(m->record->event));
		record_fields(m->record, journal_record_field, entry);
	}
	return journal_send(&t->journal, entry);
}

/* Returns 0 or -errno. */
static int deliver_once(struct target *t, const struct message *m, struct buf *scratch)
{
	buf_clear(scratch);
	render(t, m, scratch);
	switch (t->spec.kind) {
	case LOG_TO_SYSLOG:
		return syslog_send(&t->syslog, severity(m->level), m->wall_us, scratch->s);
	case LOG_TO_JOURNAL:
		return send_journal(t, m, scratch->s);
	case LOG_TO_STDERR:
	case LOG_TO_FILE:
		break;
	}
	buf_addc(scratch, '\n');
	return logfile_write(&t->file, scratch->s, scratch->len);
}

/* ---- losses ---- */

static const char *reason(int why_lost)
{
	switch (why_lost) {
	case EAGAIN:
		return "its reader did not take them in time";
	case EPIPE:
		return "nobody read it";
	default:
		return strerror(why_lost);
	}
}

/* Says what was lost, if anything was. Returns 0 or -errno. */
static int confess(struct target *t, int64_t wall_us, struct buf *scratch)
{
	char line[160];
	struct message m = {.level = LOG_LEVEL_WARNING, .wall_us = wall_us, .line = line};
	int err;

	if (t->lost == 0)
		return 0;
	snprintf(line, sizeof(line), "lines of this log that could not be written and are lost: %llu (%s)",
	         (unsigned long long)t->lost, reason(t->why_lost));
	err = deliver_once(t, &m, scratch);
	if (err == 0)
		t->lost = 0;
	return err;
}

static void deliver(struct logger *l, struct target *t, const struct message *m)
{
	int err = confess(t, m->wall_us, &l->scratch);

	if (err == 0)
		err = deliver_once(t, m, &l->scratch);
	if (err < 0) {
		t->lost++;
		t->why_lost = -err;
		if (l->lost)
			atomic_fetch_add(l->lost, 1);
	}
}

/* ---- targets ---- */

static void target_free(struct target *t)
{
	if (!t)
		return;
	logfile_close(&t->file);
	syslog_release(&t->syslog);
	journal_release(&t->journal);
	free(t->spec.path);
	free(t);
}

static int open_path(const struct logger *l, const char *path)
{
	return l->world.open_file(l->world.arg, path);
}

static void cannot_open(const struct logger *l, const char *path, int err, struct buf *error)
{
	buf_addf(error, "the log file %s cannot be opened for writing: %s", path,
	         l->world.error ? l->world.error(-err) : strerror(-err));
}

/* Returns NULL with *error filled if its file cannot be opened. */
static struct target *target_new(const struct logger *l, const struct log_target *spec, struct buf *error)
{
	struct target *t = mem_alloc(sizeof(*t));
	int fd;

	t->spec = *spec;
	t->spec.path = NULL;
	t->file.fd = -1;
	switch (spec->kind) {
	case LOG_TO_STDERR:
		logfile_open_stream(&t->file, STDERR_FILENO);
		break;
	case LOG_TO_SYSLOG:
		syslog_init(&t->syslog, l->world.syslog_path, spec->facility);
		break;
	case LOG_TO_JOURNAL:
		journal_init(&t->journal, l->world.journal_path);
		break;
	case LOG_TO_FILE:
		t->spec.path = mem_strdup(spec->path);
		if (logfile_stream_of(spec->path) >= 0) {
			logfile_open_stream(&t->file, logfile_stream_of(spec->path));
			break;
		}
		fd = open_path(l, spec->path);
		if (fd < 0) {
			cannot_open(l, spec->path, fd, error);
			target_free(t);
			return NULL;
		}
		logfile_take(&t->file, fd);
		break;
	}
	return t;
}

static bool same_spec(const struct log_target *a, const struct log_target *b)
{
	if (a->kind != b->kind || a->json != b->json)
		return false;
	if (a->kind == LOG_TO_SYSLOG)
		return a->facility == b->facility;
	return a->kind != LOG_TO_FILE || strcmp(a->path, b->path) == 0;
}

static struct target *take_old(struct logger *l, const struct log_target *spec)
{
	for (size_t i = 0; i < l->n; i++) {
		struct target *t = l->targets[i];

		if (!t->kept && same_spec(&t->spec, spec)) {
			t->kept = true;
			return t;
		}
	}
	return NULL;
}

/* Frees the targets that are not kept, with a last try to say what they lost, and the array. */
static void drop_targets(struct target **targets, size_t n, struct buf *scratch)
{
	for (size_t i = 0; i < n; i++) {
		if (targets[i]->kept)
			continue;
		confess(targets[i], clock_wall_us(), scratch);
		target_free(targets[i]);
	}
	free(targets);
}

static void forget_kept(struct logger *l)
{
	for (size_t i = 0; i < l->n; i++)
		l->targets[i]->kept = false;
}

/* ---- the door ---- */

struct logger *logger_new(const struct log_target *targets, size_t n, const struct logger_ops *world, struct buf *error)
{
	struct logger *l = mem_alloc(sizeof(*l));

	l->world = *world;
	if (!l->world.open_file)
		l->world.open_file = logger_open_file;
	buf_reserve(&l->scratch, LOGSOCK_ROOM);
	if (!logger_reconfigure(l, targets, n, error)) {
		logger_free(l);
		return NULL;
	}
	return l;
}

void logger_free(struct logger *l)
{
	if (!l)
		return;
	drop_targets(l->targets, l->n, &l->scratch);
	buf_release(&l->scratch);
	free(l);
}

void logger_remember(struct logger *l, struct history *h)
{
	l->history = h;
}

void logger_count_lost(struct logger *l, atomic_ullong *lost)
{
	l->lost = lost;
}

int logger_open_file(void *arg, const char *path)
{
	return logfile_open(path);
}

bool logger_reconfigure(struct logger *l, const struct log_target *targets, size_t n, struct buf *error)
{
	struct target **fresh = mem_alloc((n + 1) * sizeof(struct target *));

	for (size_t i = 0; i < n; i++) {
		fresh[i] = take_old(l, &targets[i]);
		if (!fresh[i])
			fresh[i] = target_new(l, &targets[i], error);
		if (!fresh[i]) {
			drop_targets(fresh, i, &l->scratch);
			forget_kept(l);
			return false;
		}
	}
	drop_targets(l->targets, l->n, &l->scratch);
	l->targets = fresh;
	l->n = n;
	forget_kept(l);
	return true;
}

void logger_reopen(struct logger *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct target *t = l->targets[i];
		struct buf error = BUF_INIT;
		int fd;

		if (t->spec.kind != LOG_TO_FILE || logfile_stream_of(t->spec.path) >= 0)
			continue;
		fd = open_path(l, t->spec.path);
		if (fd >= 0) {
			logfile_close(&t->file);
			logfile_take(&t->file, fd);
			continue;
		}
		cannot_open(l, t->spec.path, fd, &error);
		buf_adds(&error, "; writing goes on to the file that was open before");
		logger_line(l, LOG_LEVEL_ERROR, error.s, clock_wall_us());
		buf_release(&error);
	}
}

static void deliver_to_all(struct logger *l, const struct message *m)
{
	for (size_t i = 0; i < l->n; i++)
		deliver(l, l->targets[i], m);
}

void logger_line(struct logger *l, enum log_level level, const char *line, int64_t wall_us)
{
	char clean[LINE_MAX_BYTES];
	size_t len = utf8_whole(line, strnlen(line, sizeof(clean) - 1));
	struct message m = {.level = level, .wall_us = wall_us, .line = clean};

	if (!log_wants(level))
		return;
	memcpy(clean, line, len);
	clean[utf8_clean_line(clean, len)] = '\0'; /* it may have come from a program */
	history_add_line(l->history, level, clean, wall_us);
	deliver_to_all(l, &m);
}

void logger_sink(void *logger, enum log_level level, const char *line)
{
	logger_line(logger, level, line, clock_wall_us());
}

void logger_change(struct logger *l, enum log_level level, const struct server_change *c)
{
	struct message m = {.level = level, .wall_us = clock_wall_us(), .change = c};
	struct buf line = BUF_INIT;

	if (!log_wants(level))
		return;
	/* those who look at the last hour want no keys, and an address there is a client's */
	buf_addf(&line, "server %s of service %s is %s, %u of %u are usable%s%s", c->server, c->service, c->state,
	         c->up, c->of, c->why ? ": " : "", c->why ? c->why : "");
	history_add_line(l->history, level, line.s, m.wall_us);
	buf_clear(&line);
	record_render_change_text(c, &line);
	m.line = line.s;
	deliver_to_all(l, &m);
	buf_release(&line);
}

void logger_record(struct logger *l, const struct record *r)
{
	struct message m = {.level = LOG_LEVEL_INFO, .wall_us = r->wall_us, .record = r};

	history_add_record(l->history, r);
	deliver_to_all(l, &m);
}

size_t logger_fds(const struct logger *l, int *fds, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct target *t = l->targets[i];
		int of[] = {t->file.fd, t->syslog.sock.fd, t->journal.sock.fd};

		for (size_t k = 0; k < sizeof(of) / sizeof(of[0]) && n < max; k++)
			if (of[k] > 2)
				fds[n++] = of[k];
	}
	return n;
}
