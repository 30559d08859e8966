#include "admin/request.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/explain.h"
#include "config/lex.h"
#include "stats/render.h"

#define COMMAND_SHOWN 512 /* bytes of a command in the log */

#define NEVER SIZE_MAX

typedef void command_fn(struct request *r);

static const struct command {
	const char *name;
	command_fn *fn;
	size_t changes;
} commands[] = {
#define HERE(name, arguments, function, help)
#define COMMAND(name, arguments, function, changes, help) {name, do_##function, changes},
#include "admin/commands.def"
#undef COMMAND
#undef HERE
};

/* ---- words ---- */

/* Reads -j, sort= and limit=, and filters if they are allowed. false: it was refused. */
static bool read_words(struct request *r, bool listing, bool filters)
{
	for (size_t i = 0; i < r->n; i++) {
		const char *word = r->words[i], *value, *why = "is not understood here";

		if (listing && (strcmp(word, "-j") == 0 || strcmp(word, "--json") == 0)) {
			r->json = true;
			continue;
		}
		if (listing && filters && (value = request_option(word, "sort"))) {
			r->sort = value;
			continue;
		}
		if (listing && filters && (value = request_option(word, "limit")) &&
		    text_parse_uint(value, UINT32_MAX, &r->limit))
			continue;
		if (filters)
			why = connection_filter_word(&r->filter, word);
		if (why) {
			request_refuse(r, "\"%s\" %s", word, why);
			return false;
		}
	}
	return true;
}

/* ---- looking ---- */

static void show(void *arg, struct snapshot *s)
{
	struct request *r = arg;
	struct buf body = BUF_INIT, why = BUF_INIT;

	snapshot_select(s, &r->filter);
	if (!connection_filter_known(&r->filter, s, &why)) {
		request_refuse(r, "%s", why.s);
	} else if (!snapshot_sort(s, r->sort ? r->sort : "id")) {
		request_refuse(r, "there is no column \"%s\" to sort by: %s", r->sort, snapshot_sort_words());
	} else {
		if (r->limit && s->n_connections > r->limit)
			s->n_connections = r->limit;
		r->render(s, &body);
		request_answer(r, 0, &body);
	}
	buf_release(&why);
	snapshot_free(s);
}

void do_status(struct request *r)
{
	if (!read_words(r, true, false))
		return;
	r->render = r->json ? render_status_json : render_status;
	r->world->look(r->world->arg, false, false, show, r);
}

void do_connections(struct request *r)
{
	if (!read_words(r, true, true))
		return;
	r->render = r->json ? render_connections_json : render_connections;
	r->world->look(r->world->arg, true, true, show, r);
}

void do_counters(struct request *r)
{
	if (!read_words(r, true, false))
		return;
	r->render = r->json ? render_counters_json : render_counters;
	r->world->look(r->world->arg, false, false, show, r);
}

void do_metrics(struct request *r)
{
	if (!read_words(r, false, false))
		return;
	r->render = render_metrics;
	r->world->look(r->world->arg, false, false, show, r);
}

/* ---- steering ---- */

static void kill_found(void *arg, struct snapshot *s)
{
	struct request *r = arg;
	struct buf body = BUF_INIT, why = BUF_INIT;

	snapshot_select(s, &r->filter);
	if (!connection_filter_known(&r->filter, s, &why)) {
		request_refuse(r, "%s", why.s);
	} else if (s->n_connections == 0 && r->filter.id) {
		request_refuse(r, "there is no connection %llu", (unsigned long long)r->filter.id);
	} else if (s->n_connections == 0) {
		request_refuse(r, "no connection is meant by that");
	} else {
		r->world->kill(r->world->arg, s->connections, s->n_connections);
		buf_addf(&body, "killed %zu connection%s\n", s->n_connections, s->n_connections == 1 ? "" : "s");
		request_answer(r, 0, &body);
	}
	buf_release(&why);
	snapshot_free(s);
}

void do_kill(struct request *r)
{
	if (r->n == 0)
		request_refuse(r,
		               "which connection? An id, or a filter: service=NAME|PORT, client=ADDRESS, via=ADDRESS, "
		               "server=NAME|HOST:PORT, sni=NAME, state=STATE");
	else if (read_words(r, false, true))
		r->world->look(r->world->arg, true, false, kill_found, r);
}

static void tap_found(void *arg, struct snapshot *s)
{
	struct request *r = arg;
	struct admin_client *c = r->client;

	snapshot_select(s, &r->filter);
	if (r->filter.id && s->n_connections == 0) {
		request_refuse(r, "there is no connection %llu", (unsigned long long)r->filter.id);
	} else if (r->filter.id && strcmp(s->connections[0].state, "handler") == 0) {
		request_refuse(r, "connection %llu is a program's: its bytes do not pass here",
		               (unsigned long long)r->filter.id);
	} else {
		if (c) {
			admin_on_leave(c, NULL, NULL);
			r->world->tap(r->world->arg, c, &r->filter);
		}
		request_free(r);
	}
	snapshot_free(s);
}

void do_tap(struct request *r)
{
	if (r->n == 0)
		request_refuse(r,
		               "which connections? An id, or a filter: service=NAME|PORT, client=ADDRESS, via=ADDRESS, "
		               "server=NAME|HOST:PORT");
	else if (read_words(r, false, true)) {
		if (r->filter.state)
			request_refuse(r, "a state is no filter here: it changes");
		else if (r->filter.sni)
			request_refuse(r, "what a client asks for is no filter here: bytes come before it is known. "
			                  "Take its section, by service=");
		else
			r->world->look(r->world->arg, true, false, tap_found, r);
	}
}

/* "service=mail db1", "db1", "mail". false: it was refused. */
static bool read_subject(struct request *r, const char **service, const char **what)
{
	bool fits = r->n > 0;

	*service = *what = NULL;
	for (size_t i = 0; i < r->n; i++) {
		const char *value = request_option(r->words[i], "service");

		if (value && !*service)
			*service = value;
		else if (!value && !*what)
			*what = r->words[i];
		else
			fits = false;
	}
	if (fits)
		return true;
	request_refuse(
	        r,
	        "this takes one word: the name or port of a service, or a server by its name or as it is spelt in the "
	        "configuration; before it, if need be, service=NAME|PORT");
	return false;
}

static void set_admin_state(struct request *r, enum admin_change change, int64_t within_ms, const char *text)
{
	struct buf body = BUF_INIT, why = BUF_INIT;
	const char *service, *what;

	if (!read_subject(r, &service, &what))
		return;
	if (r->world->set_admin_state(r->world->arg, service, what, change, within_ms, &why)) {
		buf_addf(&body, "%s", what ? what : service);
		if (what && service)
			buf_addf(&body, " of %s", service);
		buf_addf(&body, " %s\n", text);
		request_answer(r, 0, &body);
	} else {
		request_refuse(r, "%s", why.s);
	}
	buf_release(&why);
}

/* "within TIME" at the end is taken away. false: it was refused. */
static bool read_within(struct request *r, int64_t *ms)
{
	*ms = -1;
	if (r->n < 2 || strcmp(r->words[r->n - 2], "within") != 0)
		return true;
	if (!text_parse_time_ms(r->words[r->n - 1], ms)) {
		request_refuse(r, "\"%s\" is no time: write seconds, or a number with ms, s, m, h or d",
		               r->words[r->n - 1]);
		return false;
	}
	for (int i = 0; i < 2; i++)
		free(r->words[--r->n]);
	return true;
}

void do_drain(struct request *r)
{
	int64_t within_ms;

	if (read_within(r, &within_ms))
		set_admin_state(r, ADMIN_DRAIN, within_ms,
		                within_ms >= 0 ? "gets no new connections; those that are left then are ended"
		                               : "gets no new connections; \"status\" shows how many are left");
}

void do_disable(struct request *r)
{
	set_admin_state(r, ADMIN_DISABLE, -1, "is disabled: it gets no new connections");
}

void do_enable(struct request *r)
{
	set_admin_state(r, ADMIN_ENABLE, -1, "is enabled");
}

void do_reload(struct request *r)
{
	struct admin_client *c = r->client;

	if (r->n > 0) {
		request_refuse(r, "\"%s\" is too much", r->words[0]);
		return;
	}
	admin_on_leave(c, NULL, NULL);
	r->world->reload(r->world->arg, c);
	request_free(r);
}

void do_upgrade(struct request *r)
{
	struct admin_client *c = r->client;

	if (r->n > 0) {
		request_refuse(r, "\"%s\" is too much", r->words[0]);
		return;
	}
	admin_on_leave(c, NULL, NULL);
	r->world->upgrade(r->world->arg, c);
	request_free(r);
}

void do_log(struct request *r)
{
	struct buf body = BUF_INIT;

	if (r->n == 0 || r->n > 2 || strcmp(r->words[0], "level") != 0) {
		request_refuse(r, "this is \"log level\", or \"log level error|warning|info|debug\"");
		return;
	}
	if (r->n == 2 && !r->world->set_log_level(r->world->arg, r->words[1])) {
		request_refuse(r, "\"%s\" is no level: error, warning, info, debug", r->words[1]);
		return;
	}
	buf_addf(&body, "%s\n", r->world->log_level(r->world->arg));
	request_answer(r, 0, &body);
}

void do_explain(struct request *r)
{
	struct buf body = BUF_INIT;
	int code;

	if (r->n < 2) {
		request_refuse(r, "this takes two words, or more: CLIENT [LOCAL:]PORT " EXPLAIN_MORE);
		return;
	}
	code = r->world->explain(r->world->arg, r->words[0], r->words[1], r->words + 2, r->n - 2, &body);
	if (code < 0) {
		request_refuse(r, "%s", body.s);
		buf_release(&body);
	} else {
		request_answer(r, code, &body);
	}
}

/* ---- which ---- */

static void unknown(struct admin_client *c, const char *word)
{
	const char *names[ARRAY_LEN(commands) + 1];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i].name;
	names[ARRAY_LEN(commands)] = NULL;
	near = text_nearest(word, names);
	if (near)
		admin_error(c, "unknown command \"%s\"; did you mean \"%s\"?", word, near);
	else
		admin_error(c, "unknown command \"%s\"; tcpproxyctl --help lists them all", word);
}

/* Before the command is obeyed: it may be the end of us. A long command is cut, the name of the client is not. */
static void say_who(const struct admin_client *c, char **words, size_t n)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_addc(&text, ' ');
		lex_quote(words[i], &text);
	}
	log_info("command: %.*s%s, %s", COMMAND_SHOWN, text.s, text.len > COMMAND_SHOWN ? "..." : "",
	         admin_client_who(c));
	buf_release(&text);
}

void admin_dispatch(void *arg, struct admin_client *c, char **words, size_t n)
{
	if (n == 0) {
		admin_error(c, "a request begins with a command; tcpproxyctl --help lists them");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, words[0]) == 0) {
			if (commands[i].changes != NEVER && n > commands[i].changes)
				say_who(c, words, n);
			commands[i].fn(request_new(arg, c, words + 1, n - 1));
			return;
		}
	unknown(c, words[0]);
}

/* Those that `changes` knows, but for whole servers. */
static bool is_change(const char *word)
{
	static const char *const list[] = {"drain", "disable", "enable", "weight", "max", "force"};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (strcmp(list[i], word) == 0)
			return true;
	return false;
}

bool admin_again(const struct admin_ops *world, char **words, size_t n, struct buf *why)
{
	size_t before = why->len;
	struct request *r;

	for (size_t i = 0; n > 0 && is_change(words[0]) && i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, words[0]) != 0)
			continue;
		r = request_new(world, NULL, words + 1, n - 1);
		r->refused = why;
		commands[i].fn(r);
		return why->len == before;
	}
	buf_addf(why, "it is no command that changes a server or a service for good");
	return false;
}
