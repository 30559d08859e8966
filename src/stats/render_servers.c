/* render_servers.c - the members of pools: as they are now, and what was changed of them. */
#include <inttypes.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "stats/render.h"
#include "stats/table.h"

/* A section that inherits its pool from the service shows it once more. */
static bool is_again(const struct snapshot *s, size_t i)
{
	const struct member_view *v = &s->members[i];

	while (i > 0 && s->members[i - 1].service == v->service) {
		const struct member_view *before = &s->members[--i];

		if (before->target == v->target && before->weight_file == v->weight_file &&
		    before->max_file == v->max_file && before->backup == v->backup)
			return true;
	}
	return false;
}

void render_weight(uint32_t milli, struct buf *out)
{
	uint32_t rest = milli % 1000;
	int digits = 3;

	buf_addf(out, "%u", milli / 1000);
	if (rest == 0)
		return;
	for (; rest % 10 == 0; rest /= 10)
		digits--;
	buf_addf(out, ".%0*u", digits, rest);
}

/* ---- for people ---- */

/* What holds, and in brackets what the file says, if that is something else. */
static void add_number(struct table *t, uint32_t now, uint32_t file)
{
	if (now == file)
		table_addf(t, "%u", now);
	else
		table_addf(t, "%u (%u)", now, file);
}

static void add_weight(struct table *t, const struct member_view *v)
{
	struct buf now = BUF_INIT;

	render_weight(v->weight_milli, &now);
	if (v->weight_milli == v->weight_file * 1000)
		table_text(t, now.s);
	else
		table_addf(t, "%s (%u)", now.s, v->weight_file);
	buf_release(&now);
}

static void add_changed(struct table *t, const char *commands)
{
	struct buf text = BUF_INIT;

	for (const char *c = commands ? commands : ""; *c; c++)
		if (*c != '\n')
			buf_addc(&text, *c);
		else if (c[1])
			buf_adds(&text, "; ");
	table_text(t, text.s);
	buf_release(&text);
}

void render_servers(const struct snapshot *s, struct buf *out)
{
	static const char *const heads[] = {"SERVICE", "SERVER",    "STATE", ">SINCE", ">WEIGHT", ">CONNECTIONS",
	                                    ">MAX",    ">FAILURES", "CHECK", "WHY",    "CHANGED", NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < s->n_members; i++) {
		const struct member_view *v = &s->members[i];

		if (is_again(s, i))
			continue;
		table_text(&t, v->service);
		table_text(&t, v->server);
		table_text(&t, v->state);
		table_time(&t, v->since_wall_us ? s->wall_us - v->since_wall_us : -1);
		add_weight(&t, v);
		table_addf(&t, "%u", v->connections);
		add_number(&t, v->max, v->max_file);
		table_addf(&t, "%" PRIu64, v->failures);
		table_text(&t, v->check);
		table_text(&t, v->why);
		add_changed(&t, v->changed);
	}
	table_print(&t, out);
}

/* ---- for programs ---- */

static void add_text(struct buf *out, const char *key, const char *value)
{
	if (value && *value) {
		json_text(out, key, value);
		return;
	}
	json_key(out, key);
	buf_adds(out, "\"\"");
}

static void add_commands(struct buf *out, const char *commands)
{
	json_open(out, "changed", '[');
	for (const char *at = commands ? commands : ""; *at;) {
		size_t len = strcspn(at, "\n");
		struct buf one = BUF_INIT;

		buf_add(&one, at, len);
		buf_adds(out, at == commands ? "" : ",");
		json_quote(out, one.s);
		buf_release(&one);
		at += len + (at[len] == '\n');
	}
	buf_addc(out, ']');
}

static void add_member(const struct member_view *v, struct buf *out)
{
	char time[CLOCK_TEXT_MAX];

	json_open(out, NULL, '{');
	add_text(out, "service", v->service);
	add_text(out, "server", v->server);
	add_text(out, "address", v->address);
	add_text(out, "state", v->state);
	add_text(out, "since", v->since_wall_us ? clock_format(v->since_wall_us, time) : NULL);
	add_text(out, "check", v->check);
	add_text(out, "why", v->why);
	json_key(out, "weight");
	render_weight(v->weight_milli, out);
	json_count(out, "weight_file", v->weight_file);
	json_count(out, "connections", v->connections);
	json_count(out, "max", v->max);
	json_count(out, "max_file", v->max_file);
	json_count(out, "waiting", v->waiting);
	json_count(out, "failures", v->failures);
	json_count(out, "ejections", v->ejections);
	add_commands(out, v->changed);
	buf_addc(out, '}');
}

void render_servers_json(const struct snapshot *s, struct buf *out)
{
	json_open(out, NULL, '{');
	json_open(out, "servers", '[');
	for (size_t i = 0; i < s->n_members; i++)
		if (!is_again(s, i))
			add_member(&s->members[i], out);
	buf_adds(out, "]}\n");
}
