#include "sources/consul.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sources/consul_said.h"

#define ANSWER_MS 30000
#define WAIT_MS   (5 * 60000)
#define SLACK_MS  (WAIT_MS / 16) /* Consul adds so much at random */
#define RATE_MS   1000           /* from one question to the next */
#define DOUBT_MS  2000

static void ask(void *arg);

static void ask_at(struct consul *c, int64_t at_ms)
{
	timer_set(c->loop, &c->again, at_ms, ask, c);
}

static void failed(struct consul *c, const char *why)
{
	retry_say(&c->retry, c->options->urls[0], why);
	c->index = 0;
	ask_at(c, c->loop->now_ms + retry_failed(&c->retry));
}

/* Consul has been seen to forget all instances for a moment: what empties a pool is asked twice, the second time of the leader itself. */
static bool is_doubtful(struct consul *c, const struct lines *lines)
{
	bool doubtful = lines->found == 0 && !c->empty && !c->doubted;

	c->doubted = doubtful;
	return doubtful;
}

/* An index that goes back is of a state that was made anew: all that we know of it is worth nothing. */
static void take_index(struct consul *c)
{
	uint64_t index = consul_read_index(call_header(&c->call, "X-Consul-Index"));

	c->index = index >= c->index ? index : 0;
}

static void take_answer(struct consul *c, struct lines *lines)
{
	retry_over(&c->retry, c->options->urls[0]);
	c->retry.failures = 0;
	if (is_doubtful(c, lines)) {
		c->index = 0;
		ask_at(c, c->loop->now_ms + DOUBT_MS);
		return;
	}
	lines_finish(lines);
	output_list(c->output, lines, c->options->urls[0]);
	c->empty = lines->found == 0;
	take_index(c);
	ask_at(c, c->asked_ms + RATE_MS);
}

static bool has_no_leader(const struct consul *c)
{
	const char *known = call_header(&c->call, "X-Consul-KnownLeader");

	return known && strcmp(known, "false") == 0;
}

static void done(void *arg, const char *error, long status)
{
	struct consul *c = arg;
	struct lines lines = {0};

	if (error) {
		failed(c, error);
	} else if (status != 200) {
		consul_read_complaint(c->call.answer.s, c->call.answer.len, status, &c->why);
		failed(c, c->why.s);
	} else if (has_no_leader(c)) {
		failed(c, "its servers have no leader");
	} else if (!consul_read_instances(c->call.answer.s, c->call.answer.len, &lines, &c->why)) {
		failed(c, c->why.s);
	} else {
		take_answer(c, &lines);
	}
	lines_release(&lines);
}

static void send_question(struct consul *c, const char *header, const char *user)
{
	struct request r = {.headers = {header}, .user = user, .timeout_ms = ANSWER_MS};
	char *url;

	if (c->doubted) {
		url = mem_printf("%s&consistent", c->url);
	} else if (c->index) {
		url = mem_printf("%s&index=%llu&wait=%ds", c->url, (unsigned long long)c->index, WAIT_MS / 1000);
		r.timeout_ms += WAIT_MS + SLACK_MS;
	} else {
		url = mem_strdup(c->url);
	}
	r.url = url;
	call_start(&c->call, c->http, &r, done, c);
	free(url);
}

static void ask(void *arg)
{
	struct consul *c = arg;
	const char *file = c->options->user_file ? c->options->user_file : c->options->token_file;
	struct buf secret = BUF_INIT, header = BUF_INIT;
	const char *why = file ? options_secret(file, &secret) : NULL;

	c->asked_ms = c->loop->now_ms;
	if (why) {
		buf_clear(&c->why);
		buf_addf(&c->why, "cannot read %s: %s", file, why);
		failed(c, c->why.s);
	} else {
		if (c->options->token_file)
			buf_addf(&header, "X-Consul-Token: %s", secret.s);
		send_question(c, header.s, c->options->user_file ? secret.s : NULL);
	}
	buf_release(&header);
	buf_release(&secret);
}

/* A word as part of a URL. */
static void add_escaped(struct buf *out, const char *text)
{
	for (const char *s = text; *s; s++) {
		if (strchr("-._~", *s) || (*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') ||
		    (*s >= 'a' && *s <= 'z'))
			buf_addc(out, *s);
		else
			buf_addf(out, "%%%02X", (unsigned char)*s);
	}
}

void consul_start(struct consul *c, struct loop *loop, struct http *http, struct output *output,
                  const struct options *options)
{
	struct buf url = BUF_INIT;

	*c = (struct consul){.loop = loop, .http = http, .output = output, .options = options};
	buf_addf(&url, "%s/v1/health/service/", options->urls[0]);
	add_escaped(&url, options->what);
	buf_adds(&url, "?passing=1");
	if (options->tag) {
		buf_adds(&url, "&tag=");
		add_escaped(&url, options->tag);
	}
	c->url = buf_detach(&url);
	ask(c);
}
