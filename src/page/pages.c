#include "page/pages.h"

#include <string.h>
#include "page/forward.h"
#include "page/page_text.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "stats/render.h"

#define JSON          "application/json"
#define TEXT          "text/plain; charset=utf-8"
#define LIMIT_DEFAULT 100
#define LIMIT_MOST    5000

enum { OK = 200, BAD = 400, FORBIDDEN = 403, MISSING = 404, METHOD = 405, CONFLICT = 409 };

/* ---- the page and its data ---- */

static void answer_text(struct http_request *r, unsigned status, const char *text)
{
	struct buf body = BUF_INIT;

	buf_addf(&body, "%s\n", text);
	http_answer(r, status, TEXT, NULL, &body);
}

static void show_page(const struct pages_ops *w, struct http_request *r)
{
	struct buf body = BUF_INIT;

	buf_add(&body, page_text, page_text_len);
	http_answer(r, OK, "text/html; charset=utf-8", page_policy, &body);
}

static void render_snapshot(const struct pages_ops *w, struct http_request *r, const char *type,
                            void (*render)(const struct snapshot *s, struct buf *out))
{
	struct snapshot *s = w->look(w->arg, false, false);
	struct buf body = BUF_INIT;

	render(s, &body);
	snapshot_free(s);
	http_answer(r, OK, type, NULL, &body);
}

static void show_metrics(const struct pages_ops *w, struct http_request *r)
{
	render_snapshot(w, r, "text/plain; version=0.0.4; charset=utf-8", render_metrics);
}

static void show_status(const struct pages_ops *w, struct http_request *r)
{
	render_snapshot(w, r, JSON, render_status_json);
}

/* false: it is not a number. */
static bool number(struct http_request *r, const char *name, uint64_t max, uint64_t *ret)
{
	const char *text = http_argument(r, name);

	if (!text || text_parse_uint(text, max, ret))
		return true;
	answer_text(r, BAD, "what should be a number is none, or too large");
	return false;
}

static void show_connections(const struct pages_ops *w, struct http_request *r)
{
	const char *sort = http_argument(r, "sort"), *search = http_argument(r, "search");
	uint64_t limit = LIMIT_DEFAULT;
	struct buf body = BUF_INIT, list = BUF_INIT;
	struct snapshot *s;
	size_t total;

	if (!number(r, "limit", LIMIT_MOST, &limit))
		return;
	s = w->look(w->arg, true, true);
	total = s->n_connections;
	if (search)
		snapshot_search(s, search);
	if (!snapshot_sort(s, sort ? sort : "id")) {
		snapshot_free(s);
		answer_text(r, BAD, "there is no such column to sort by");
		return;
	}
	json_open(&body, NULL, '{');
	json_count(&body, "total", total);
	json_count(&body, "found", s->n_connections);
	if (s->n_connections > limit)
		s->n_connections = (size_t)limit;
	json_key(&body, "connections");
	render_connections_json(s, &list);
	buf_addf(&body, "%s}\n", list.s);
	buf_release(&list);
	snapshot_free(s);
	http_answer(r, OK, JSON, NULL, &body);
}

static void show_history(const struct pages_ops *w, struct http_request *r)
{
	struct buf body = BUF_INIT;
	uint64_t since = 0;

	if (!number(r, "since", INT64_MAX, &since))
		return;
	render_history_json(w->history, (int64_t)since, &body);
	http_answer(r, OK, JSON, NULL, &body);
}

static void show_errors(const struct pages_ops *w, struct http_request *r)
{
	uint64_t since = 0, ends[COUNTED_ENDS];
	struct buf body = BUF_INIT;

	if (!number(r, "since", UINT64_MAX, &since))
		return;
	w->count_ends(w->arg, ends);
	render_errors_json(w->history, since, ends, clock_wall_us() / 1000000, &body);
	http_answer(r, OK, JSON, NULL, &body);
}

static void show_config(const struct pages_ops *w, struct http_request *r)
{
	struct buf text = BUF_INIT, body = BUF_INIT;

	w->config_text(w->arg, http_may_steer(r), &text);
	json_open(&body, NULL, '{');
	json_text(&body, "text", text.s);
	json_bool(&body, "steering", http_has_token(r));
	buf_adds(&body, "}\n");
	buf_release(&text);
	http_answer(r, OK, JSON, NULL, &body);
}

/* ---- steering ---- */

static const char *const steering[] = {"kill", "drain",  "disable", "enable", "weight", "max",
                                       "add",  "remove", "force",   "check",  "forget", "reload"};

static bool is_steering(const char *words)
{
	size_t len = strcspn(words, " ");

	for (size_t i = 0; i < ARRAY_LEN(steering); i++)
		if (strlen(steering[i]) == len && strncmp(words, steering[i], len) == 0)
			return true;
	return false;
}

static void obeyed(void *arg, bool done, const char *text)
{
	struct http_request *r = arg;
	struct buf body = BUF_INIT;

	buf_addf(&body, "%s%s", text, done ? "" : "\n");
	http_answer(r, done ? OK : CONFLICT, TEXT, NULL, &body);
}

static void command(const struct pages_ops *w, struct http_request *r)
{
	const char *words = http_body(r);
	struct addr client;
	int fd;

	if (!http_has_token(r)) {
		answer_text(r, FORBIDDEN,
		            "looking only: steering needs \"admin ADDR:PORT token=FILE\" in the "
		            "configuration");
	} else if (!http_may_steer(r)) {
		answer_text(r, FORBIDDEN, "steering needs \"Authorization: Bearer TOKEN\"");
	} else if (strpbrk(words, "\r\n") || !is_steering(words)) {
		answer_text(
		        r, BAD,
		        "the body is one of: kill ID|FILTER..., drain|disable|enable "
		        "SERVICE|SERVER, weight SERVER N|N%|file, max SERVER N|file, add SERVICE 'HOST:PORT [WORDS]', "
		        "remove SERVICE SERVER, force SERVER up|down|auto, "
		        "check SERVER, forget SERVER|all, reload");
	} else {
		http_client(r, &client);
		fd = w->command_channel(w->arg, &client);
		if (fd < 0)
			answer_text(r, 503, "the supervisor cannot be reached");
		else
			forward_command(w->loop, fd, words, obeyed, r);
	}
}

/* ---- which ---- */

static const struct route {
	const char *path;
	enum http_method method;
	void (*fn)(const struct pages_ops *w, struct http_request *r);
} routes[] = {
        {"/", HTTP_GET, show_page},
        {"/metrics", HTTP_GET, show_metrics},
        {"/api/status", HTTP_GET, show_status},
        {"/api/connections", HTTP_GET, show_connections},
        {"/api/history", HTTP_GET, show_history},
        {"/api/errors", HTTP_GET, show_errors},
        {"/api/config", HTTP_GET, show_config},
        {"/api/command", HTTP_POST, command},
};

void pages_dispatch(void *arg, struct http_request *r)
{
	const struct route *route = NULL;

	for (size_t i = 0; i < ARRAY_LEN(routes) && !route; i++)
		if (strcmp(routes[i].path, http_path(r)) == 0)
			route = &routes[i];
	if (!route)
		answer_text(r, MISSING, "there is nothing here; / is the page, /metrics the numbers");
	else if (route->method == http_method(r))
		route->fn(arg, r);
	else if (route->method == HTTP_POST)
		http_answer_method(r, "POST");
	else
		http_answer_method(r, "GET, HEAD");
}
