/* commands_servers.c - looking at servers, and changing them. */
#include <string.h>
#include "admin/request.h"
#include "base/mem.h"
#include "base/text.h"
#include "stats/render.h"

#define WEIGHT_MAX      1000
#define CONNECTIONS_MAX 1000000000
#define CODE_NO         3

/* ---- looking ---- */

static void show_servers(void *arg, struct snapshot *s)
{
	struct request *r = arg;
	struct buf body = BUF_INIT;

	if (r->subject && !snapshot_select_members(s, r->subject)) {
		request_refuse(r, "\"%s\" is no service with servers: write its name or its port (see status)",
		               r->subject);
	} else {
		r->render(s, &body);
		request_answer(r, 0, &body);
	}
	snapshot_free(s);
}

void do_servers(struct request *r)
{
	r->render = render_servers;
	for (size_t i = 0; i < r->n; i++) {
		if (strcmp(r->words[i], "-j") == 0 || strcmp(r->words[i], "--json") == 0) {
			r->render = render_servers_json;
		} else if (!r->subject) {
			r->subject = r->words[i];
		} else {
			request_refuse(r, "\"%s\" is too much: this takes one service", r->words[i]);
			return;
		}
	}
	r->world->look(r->world->arg, false, false, show_servers, r);
}

void do_changes(struct request *r)
{
	struct buf body = BUF_INIT;

	if (r->n > 0) {
		request_refuse(r, "\"%s\" is too much", r->words[0]);
		return;
	}
	r->world->changes(r->world->arg, &body);
	request_answer(r, 0, &body);
}

void do_wait(struct request *r)
{
	static const char *const words[] = {
	        [SERVER_IS_UP] = "up", [SERVER_IS_DOWN] = "down", [SERVER_IS_DRAINED] = "drained"};
	struct buf text = BUF_INIT;
	int64_t ms;
	int is = -1;

	if (r->n < 2 || r->n > 3 || (r->n == 3 && !text_parse_time_ms(r->words[2], &ms))) {
		request_refuse(r, "this is \"wait SERVER up|down|drained [TIME]\"");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(words) && is < 0; i++)
		if (strcmp(r->words[1], words[i]) == 0)
			is = (int)i;
	if (is < 0) {
		request_refuse(r, "\"%s\" is nothing to wait for: up, down, drained", r->words[1]);
		return;
	}
	is = r->world->is(r->world->arg, r->words[0], (enum server_is)is, &text);
	if (is < 0) {
		request_refuse(r, "%s", text.s);
	} else {
		buf_addf(&text, "%s is %s%s\n", r->words[0], is ? "" : "not ", r->words[1]);
		request_answer(r, is ? 0 : CODE_NO, &text);
		return;
	}
	buf_release(&text);
}

void do_check(struct request *r)
{
	struct admin_client *c = r->client;

	if (r->n != 1) {
		request_refuse(r, "this takes one word: the server");
		return;
	}
	if (c) {
		admin_on_leave(c, NULL, NULL);
		r->world->check(r->world->arg, c, r->words[0]);
	}
	request_free(r);
}

/* ---- changing ---- */

static void change(struct request *r, enum change_kind change, uint64_t n)
{
	struct buf text = BUF_INIT;

	if (r->world->change(r->world->arg, r->words[0], change, (uint32_t)n, &text)) {
		request_answer(r, 0, &text);
		return;
	}
	request_refuse(r, "%s", text.s);
	buf_release(&text);
}

/* "25%": its number. */
static bool percent(const char *word, uint64_t *ret)
{
	size_t len = strlen(word);
	char digits[8] = "";

	if (len < 2 || len >= sizeof(digits) || word[len - 1] != '%')
		return false;
	memcpy(digits, word, len - 1);
	return text_parse_uint(digits, WEIGHT_MAX, ret);
}

void do_weight(struct request *r)
{
	const char *word = r->n == 2 ? r->words[1] : "";
	uint64_t n = 0;

	if (strcmp(word, "file") == 0)
		change(r, CHANGE_WEIGHT_FILE, 0);
	else if (text_parse_uint(word, WEIGHT_MAX, &n))
		change(r, CHANGE_WEIGHT, n);
	else if (percent(word, &n))
		change(r, CHANGE_WEIGHT_PERCENT, n);
	else
		request_refuse(
		        r, "this is \"weight SERVER N\", 0 to 1000, \"weight SERVER N%%\" of what the file says, 0 to "
		           "1000, or \"weight SERVER file\"");
}

void do_max(struct request *r)
{
	const char *word = r->n == 2 ? r->words[1] : "";
	uint64_t n = 0;

	if (strcmp(word, "file") == 0)
		change(r, CHANGE_MAX_FILE, 0);
	else if (text_parse_uint(word, CONNECTIONS_MAX, &n))
		change(r, CHANGE_MAX, n);
	else
		request_refuse(
		        r, "this is \"max SERVER N\", a number of connections (0: no limit), or \"max SERVER file\"");
}

void do_force(struct request *r)
{
	const char *word = r->n == 2 ? r->words[1] : "";

	if (strcmp(word, "up") == 0)
		change(r, CHANGE_FORCE_UP, 0);
	else if (strcmp(word, "down") == 0)
		change(r, CHANGE_FORCE_DOWN, 0);
	else if (strcmp(word, "auto") == 0)
		change(r, CHANGE_FORCE_AUTO, 0);
	else
		request_refuse(r, "this is \"force SERVER up|down|auto\"");
}

void do_add(struct request *r)
{
	struct admin_client *c = r->client;
	struct buf server = BUF_INIT;

	if (r->n < 2) {
		request_refuse(r,
		               "this is \"add SERVICE 'HOST:PORT [weight=N] [max=N] [backup] [disabled] [as NAME]'\"");
		return;
	}
	for (size_t i = 1; i < r->n; i++)
		buf_addf(&server, "%s%s", i > 1 ? " " : "", r->words[i]);
	if (c) {
		admin_on_leave(c, NULL, NULL);
		r->world->add(r->world->arg, c, r->words[0], server.s);
	}
	buf_release(&server);
	request_free(r);
}

void do_remove(struct request *r)
{
	struct admin_client *c = r->client;

	if (r->n != 2) {
		request_refuse(r, "this is \"remove SERVICE SERVER\"");
		return;
	}
	if (c) {
		admin_on_leave(c, NULL, NULL);
		r->world->remove(r->world->arg, c, r->words[0], r->words[1]);
	}
	request_free(r);
}

void do_forget(struct request *r)
{
	struct buf text = BUF_INIT;

	if (r->n != 1) {
		request_refuse(r, "this takes one word: a server, or \"all\"");
	} else if (strcmp(r->words[0], "all") != 0) {
		change(r, CHANGE_FORGET, 0);
	} else {
		r->world->forget_all(r->world->arg, &text);
		request_answer(r, 0, &text);
	}
}
