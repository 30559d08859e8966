#include "sources/etcd.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sources/etcd_said.h"

#define ANSWER_MS    30000 /* for a list, which may be long */
#define PROBE_MS     5000
#define TICK_MS      10000
#define ANEW_MS      300000
#define LOOK_MS      100  /* changes that come together are one list */
#define SOON_MS      1000 /* between two beginnings */
#define LOGIN_OLD_MS 30000

static void begin(void *arg);
static void ask_list(void *arg);

static const char *url_of(const struct etcd *e)
{
	return e->options->urls[e->url];
}

/* ---- ends and beginnings ---- */

static void let_go(struct etcd *e)
{
	call_cancel(&e->login);
	call_cancel(&e->list);
	call_cancel(&e->watch);
	call_cancel(&e->probe);
	timer_clear(e->loop, &e->begin);
	timer_clear(e->loop, &e->look);
	timer_clear(e->loop, &e->tick);
	e->stale = false;
}

/* All of it once more, with nothing wrong; but never in a circle. */
static void begin_again(struct etcd *e)
{
	let_go(e);
	timer_set(e->loop, &e->begin, e->begun_ms + SOON_MS, begin, e);
}

/* The next URL has its turn at once; after the last one there is a pause. */
static void failed(struct etcd *e, const char *why)
{
	int64_t pause_ms = 0;

	retry_say(&e->retry, url_of(e), why);
	let_go(e);
	e->url = (e->url + 1) % e->options->n_urls;
	if (++e->tried >= e->options->n_urls) {
		e->tried = 0;
		pause_ms = retry_failed(&e->retry);
	}
	timer_set(e->loop, &e->begin, e->loop->now_ms + pause_ms, begin, e);
}

/* True: it is an answer. Else it has been dealt with. */
static bool is_well(struct etcd *e, const struct call *c, const char *error, long status)
{
	if (error) {
		failed(e, error);
		return false;
	}
	if (status == 200)
		return true;
	/* A token that has been good is out of date: who we are is said anew. */
	if (status == 401 && e->options->user_file && e->loop->now_ms > e->logged_in_ms + LOGIN_OLD_MS) {
		begin_again(e);
		return false;
	}
	etcd_read_complaint(c->answer.s, c->answer.len, status, &e->why);
	failed(e, e->why.s);
	return false;
}

static void post(struct etcd *e, struct call *c, const char *path, const char *body, int64_t timeout_ms,
                 void (*done)(void *arg, const char *error, long status))
{
	char *url = mem_printf("%s/v3/%s", url_of(e), path);
	struct request r = {.url = url, .body = body, .timeout_ms = timeout_ms};

	if (e->header.len)
		r.headers[0] = e->header.s;
	call_start(c, e->http, &r, done, e);
	free(url);
}

/* ---- is it still there, with a leader, and is the watch alive? ---- */

static void probe_done(void *arg, const char *error, long status)
{
	struct etcd *e = arg;
	struct etcd_range range;

	if (!is_well(e, &e->probe, error, status))
		return;
	if (!etcd_read_range(e->probe.answer.s, e->probe.answer.len, &range, NULL, &e->why)) {
		failed(e, e->why.s);
		return;
	}
	e->retry.failures = e->tried = 0;
	if (call_goes_on(&e->list) || e->look.place)
		return; /* what has changed is being asked for */
	if (range.cluster != e->cluster || range.count != e->count || (e->whole && range.newest != e->newest))
		begin_again(e); /* the watch has not told */
}

static void tick(void *arg)
{
	struct etcd *e = arg;
	char *body;

	if (e->loop->now_ms >= e->begun_ms + ANEW_MS) {
		begin_again(e);
		return;
	}
	timer_set(e->loop, &e->tick, e->loop->now_ms + TICK_MS, tick, e);
	body = mem_printf("{%s,\"limit\":\"1\",\"sort_order\":\"DESCEND\",\"sort_target\":\"MOD\",\"keys_only\":true}",
	                  e->range.s);
	post(e, &e->probe, "kv/range", body, PROBE_MS, probe_done);
	free(body);
}

/* ---- the watch ---- */

static void look_soon(struct etcd *e)
{
	if (call_goes_on(&e->list))
		e->stale = true;
	else if (!e->look.place)
		timer_set(e->loop, &e->look, e->loop->now_ms + LOOK_MS, ask_list, e);
}

/* False: there is no watch any more. */
static bool take_event(struct etcd *e, const char *line, size_t len)
{
	struct etcd_event event;

	if (!etcd_read_event(line, len, &event, &e->why)) {
		failed(e, e->why.s);
		return false;
	}
	if (event.canceled && event.compacted) {
		begin_again(e); /* what has happened in between is forgotten there */
		return false;
	}
	if (event.canceled) {
		failed(e, e->why.len ? e->why.s : "it has ended the watch");
		return false;
	}
	if (event.changed)
		look_soon(e);
	return true;
}

static void watch_heard(void *arg)
{
	struct etcd *e = arg;
	struct buf *b = &e->watch.answer;
	size_t used = 0;

	for (const char *end; used < b->len && (end = memchr(b->s + used, '\n', b->len - used));) {
		size_t len = (size_t)(end - (b->s + used));

		if (len && !take_event(e, b->s + used, len))
			return;
		used += len + 1;
	}
	memmove(b->s, b->s + used, b->len - used);
	b->len -= used;
}

static void watch_done(void *arg, const char *error, long status)
{
	struct etcd *e = arg;

	if (is_well(e, &e->watch, error, status))
		failed(e, "it has ended the watch");
}

static void start_watch(struct etcd *e)
{
	char *body = mem_printf("{\"create_request\":{%s,\"start_revision\":\"%llu\"}}", e->range.s,
	                        (unsigned long long)e->revision + 1);

	e->watch.heard = watch_heard;
	post(e, &e->watch, "watch", body, 0, watch_done);
	free(body);
	timer_set(e->loop, &e->tick, e->loop->now_ms + TICK_MS, tick, e);
}

/* ---- the list ---- */

/* No keys where there were some: true, if it is the same store, and later. One that was made anew, or is an older copy, knows nothing
 * of them, and is no reason to let all servers go. */
static bool is_lost(const struct etcd *e, const struct etcd_range *range)
{
	return range->count == 0 && e->had_servers && (range->cluster != e->cluster || range->revision < e->revision);
}

static void take_list(struct etcd *e, const struct etcd_range *range, struct lines *lines)
{
	if (range->count > range->sent)
		lines_refuse(lines, e->options->what,
		             "there are more keys than a pool has servers: the last are not looked at");
	retry_over(&e->retry, url_of(e));
	lines_finish(lines);
	output_list(e->output, lines, url_of(e));
	e->had_servers = lines->n > 0;
	e->cluster = range->cluster;
	e->revision = range->revision;
	e->count = range->count;
	e->whole = range->count == range->sent;
	e->newest = range->newest;
}

static void list_done(void *arg, const char *error, long status)
{
	struct etcd *e = arg;
	struct lines lines = {0};
	struct etcd_range range;

	if (!is_well(e, &e->list, error, status))
		return;
	if (!etcd_read_range(e->list.answer.s, e->list.answer.len, &range, &lines, &e->why)) {
		failed(e, e->why.s);
	} else if (is_lost(e, &range)) {
		failed(e,
		       "it has no keys, and is another store than before, or an older state of it; a restart of this "
		       "program takes its word");
	} else {
		take_list(e, &range, &lines);
		if (e->stale)
			timer_set(e->loop, &e->look, e->loop->now_ms + LOOK_MS, ask_list, e);
		e->stale = false;
		if (!call_goes_on(&e->watch))
			start_watch(e);
	}
	lines_release(&lines);
}

static void ask_list(void *arg)
{
	struct etcd *e = arg;
	char *body = mem_printf("{%s,\"limit\":\"%d\"}", e->range.s, LINES_MAX + 1);

	post(e, &e->list, "kv/range", body, ANSWER_MS, list_done);
	free(body);
}

/* ---- who we are ---- */

static void login_done(void *arg, const char *error, long status)
{
	struct etcd *e = arg;
	struct buf token = BUF_INIT;

	e->logged_in_ms = e->loop->now_ms;
	if (!is_well(e, &e->login, error, status))
		return;
	if (etcd_read_token(e->login.answer.s, e->login.answer.len, &token, &e->why)) {
		buf_clear(&e->header);
		buf_addf(&e->header, "Authorization: %s", token.s);
		ask_list(e);
	} else {
		failed(e, e->why.s);
	}
	buf_release(&token);
}

static void ask_login(struct etcd *e, char *user)
{
	char *password = strchr(user, ':');
	char *body = NULL;

	if (password) {
		*password = '\0';
		body = etcd_login_body(user, password + 1);
	}
	if (!body) {
		failed(e, "--user-file does not begin with USER:PASSWORD, in UTF-8");
		return;
	}
	buf_clear(&e->header);
	post(e, &e->login, "auth/authenticate", body, ANSWER_MS, login_done);
	free(body);
}

static void begin(void *arg)
{
	struct etcd *e = arg;
	const char *file = e->options->user_file ? e->options->user_file : e->options->token_file;
	struct buf secret = BUF_INIT;
	const char *why = file ? options_secret(file, &secret) : NULL;

	let_go(e);
	e->begun_ms = e->loop->now_ms;
	if (why) {
		buf_clear(&e->why);
		buf_addf(&e->why, "cannot read %s: %s", file, why);
		failed(e, e->why.s);
	} else if (e->options->user_file) {
		ask_login(e, secret.s);
	} else {
		buf_clear(&e->header);
		if (file)
			buf_addf(&e->header, "Authorization: %s", secret.s);
		ask_list(e);
	}
	buf_release(&secret);
}

void etcd_start(struct etcd *e, struct loop *loop, struct http *http, struct output *output,
                const struct options *options)
{
	*e = (struct etcd){.loop = loop, .http = http, .output = output, .options = options};
	etcd_range_of(options->what, &e->range);
	begin(e);
}
