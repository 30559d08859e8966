#include "base/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

const char *end_name(enum end end)
{
	static const char *const names[END_COUNT] = {
	        [END_NONE] = "-",
	        [END_CLIENT_FIN] = "client-fin",
	        [END_SERVER_FIN] = "server-fin",
	        [END_CLIENT_RESET] = "client-reset",
	        [END_SERVER_RESET] = "server-reset",
	        [END_DENIED] = "denied",
	        [END_CONNECT_FAILED] = "connect-failed",
	        [END_CONNECT_TIMEOUT] = "connect-timeout",
	        [END_UNRESOLVED] = "unresolved",
	        [END_IDLE_TIMEOUT] = "idle-timeout",
	        [END_HALF_CLOSE_TIMEOUT] = "half-close-timeout",
	        [END_LIMIT] = "limit",
	        [END_KILLED] = "killed",
	        [END_STOPPED] = "stopped",
	        [END_HANDLER_EXIT] = "handler-exit",
	        [END_POISONED] = "poisoned",
	        [END_LOST] = "lost",
	        [END_NO_SERVER] = "no-server",
	        [END_SERVER_DOWN] = "server-down",
	        [END_BAD_PROXY] = "bad-proxy",
	        [END_BAD_TLS] = "bad-tls",
	        [END_NO_ROUTE] = "no-route",
	};

	return (unsigned)end < END_COUNT ? names[end] : "-";
}

const char *why_name(enum why why)
{
	static const char *const names[WHY_COUNT] = {
	        [WHY_DENY] = "deny",
	        [WHY_NO_ALLOW] = "no-allow",
	        [WHY_ACP] = "acp",
	        [WHY_DISABLED] = "disabled",
	        [WHY_LOOP] = "loop",
	        [WHY_MAX_CONNECTIONS] = "max-connections",
	        [WHY_MAX_CONNECTIONS_PER_CLIENT] = "max-connections-per-client",
	        [WHY_SERVER_MAX] = "server-max",
	        [WHY_QUEUE_FULL] = "queue-full",
	        [WHY_QUEUE_TIMEOUT] = "queue-timeout",
	        [WHY_HOLD_TIMEOUT] = "hold-timeout",
	        [WHY_TIMEOUT] = "timeout",
	        [WHY_SYNTAX] = "syntax",
	        [WHY_VERSION] = "version",
	        [WHY_CRC] = "crc",
	        [WHY_TLV] = "tlv",
	        [WHY_DATAGRAM] = "datagram",
	        [WHY_FIN] = "fin",
	        [WHY_CROWD] = "crowd",
	        [WHY_SNI] = "sni",
	        [WHY_PROTOCOL] = "protocol",
	        [WHY_SILENT] = "silent",
	        [WHY_HELLO] = "hello",
	        [WHY_SIZE] = "size",
	        [WHY_NAME] = "name",
	        [WHY_SOURCE] = "source",
	        [WHY_NOT_INTERCEPTED] = "not-intercepted",
	        [WHY_INJECTION] = "injection",
	        [WHY_NETNS] = "netns",
	};

	return (unsigned)why < WHY_COUNT ? names[why] : NULL;
}

const char *record_event_name(unsigned event)
{
	static const char *const names[] = {
	        [RECORD_OPEN] = "open",
	        [RECORD_CLOSE] = "close",
	        [RECORD_INTERVAL] = "interval",
	};

	return event <= RECORD_INTERVAL ? names[event] : "-";
}

/* ---- values as text ---- */

static bool is_plain(const char *value)
{
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p <= ' ' || *p >= 0x7f || *p == '"')
			return false;
	}
	return true;
}

static void add_escaped(struct buf *out, unsigned char c)
{
	if (c == '"' || c == '\\')
		buf_addf(out, "\\%c", c);
	else if (c == '\n')
		buf_adds(out, "\\n");
	else if (c == '\r')
		buf_adds(out, "\\r");
	else if (c == '\t')
		buf_adds(out, "\\t");
	else if (c < ' ' || c >= 0x7f)
		buf_addf(out, "\\x%02x", c);
	else
		buf_addc(out, (char)c);
}

void record_value_text(const char *value, struct buf *out)
{
	if (!value || !*value) {
		buf_addc(out, '-');
	} else if (is_plain(value)) {
		buf_adds(out, value);
	} else {
		buf_addc(out, '"');
		for (const char *p = value; *p; p++)
			add_escaped(out, (unsigned char)*p);
		buf_addc(out, '"');
	}
}

/* ---- keys and values ---- */

/* Where a field goes. */
struct field_sink {
	record_field_fn *fn;
	void *arg;
};

static void field_string(const struct field_sink *f, const char *key, const char *value)
{
	f->fn(f->arg, key, value && *value ? value : NULL, false);
}

static void field_count(const struct field_sink *f, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	f->fn(f->arg, key, text, true);
}

/* Seconds with three decimals; a negative time is a missing one. */
static void field_seconds(const struct field_sink *f, const char *key, int64_t us)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64 ".%03d", us / 1000000, (int)(us / 1000 % 1000));
	f->fn(f->arg, key, us < 0 ? NULL : text, true);
}

static const char *host_text(const struct addr *a, char *buf)
{
	return a->family == AF_UNSPEC ? NULL : addr_format_bracket(a, buf);
}

static const char *host_port_text(const struct addr *a, char *buf)
{
	return a->family == AF_UNSPEC ? NULL : addr_format_port(a, buf);
}

const char *record_interface(const struct addr *local, const char *ports, char *buf)
{
	bool path = addr_place(local) && !local->port && ports && strncmp(ports, "unix:", 5) == 0;

	return path ? ports + 5 : host_text(local, buf);
}

/* buf holds ADDR_TEXT_MAX. */
static const char *service_text(const struct record *r, char *buf)
{
	if (r->service || !r->local.port)
		return r->service;
	snprintf(buf, ADDR_TEXT_MAX, "%u", r->local.port);
	return buf;
}

void record_fields(const struct record *r, record_field_fn *fn, void *arg)
{
	struct field_sink f = {fn, arg};
	char text[ADDR_TEXT_MAX];

	field_count(&f, "id", r->id);
	field_string(&f, "service", service_text(r, text));
	if (r->local.port)
		field_count(&f, "port", r->local.port);
	else
		field_string(&f, "port", addr_place(&r->local) ? r->ports : NULL);
	field_string(&f, "interface", record_interface(&r->local, r->ports, text));
	field_string(&f, "client", host_port_text(&r->client, text));
	field_string(&f, "name", r->name);
	field_string(&f, "via", host_port_text(&r->via, text));
	field_string(&f, "announced", host_port_text(&r->announced, text));
	field_string(&f, "uid", r->uid);
	field_string(&f, "authority", r->authority);
	field_string(&f, "rule", r->rule);
	field_string(&f, "sni", r->sni);
	field_string(&f, "alpn", r->alpn);
	field_string(&f, "protocol", r->protocol);
	field_string(&f, "target", r->target);
	if (r->server_text && *r->server_text)
		field_string(&f, "server", r->server_text);
	else
		field_string(&f, "server", host_port_text(&r->server, text));
	field_count(&f, "up", r->up);
	field_count(&f, "down", r->down);
	field_seconds(&f, "connect", r->connect_us);
	field_seconds(&f, "duration", r->duration_us < 0 ? 0 : r->duration_us);
	field_string(&f, "end", r->end == END_NONE ? NULL : end_name(r->end));
	field_string(&f, "why", why_name(r->why));
	field_seconds(&f, "waited", r->waited_us > 0 ? r->waited_us : -1);
}

/* A line of text that is being made. */
struct text_line {
	const struct record *record;
	struct buf *out;
};

/* What is left out of text if there is nothing to say. */
static bool says_nothing(const struct record *r, const char *key, const char *value)
{
	static const char *const left_out[] = {"name", "via",  "announced", "uid", "authority",
	                                       "sni",  "alpn", "protocol",  "why", "waited"};

	if (strcmp(key, "service") == 0)
		return !r->named;
	for (size_t i = 0; !value && i < ARRAY_LEN(left_out); i++)
		if (strcmp(key, left_out[i]) == 0)
			return true;
	return false;
}

static void text_field(void *arg, const char *key, const char *value, bool number)
{
	const struct text_line *line = arg;

	if (says_nothing(line->record, key, value))
		return;
	buf_addf(line->out, " %s=", key);
	record_value_text(value, line->out);
}

static void json_field(void *arg, const char *key, const char *value, bool number)
{
	struct buf *out = arg;

	buf_addf(out, ",\"%s\":", key);
	if (number && value)
		buf_adds(out, value);
	else
		json_quote(out, value);
}

/* ---- lines ---- */

void record_render_plain(const struct record *r, struct buf *out)
{
	struct text_line line = {r, out};

	buf_adds(out, record_event_name(r->event));
	record_fields(r, text_field, &line);
}

void record_render_text(const struct record *r, struct buf *out)
{
	char time[CLOCK_TEXT_MAX];

	buf_addf(out, "%s ", clock_format(r->wall_us, time));
	record_render_plain(r, out);
}

static void json_begin(struct buf *out, int64_t wall_us, const char *event)
{
	char time[CLOCK_TEXT_MAX];

	buf_addf(out, "{\"time\":\"%s\",\"event\":\"%s\"", clock_format(wall_us, time), event);
}

void record_render_json(const struct record *r, struct buf *out)
{
	json_begin(out, r->wall_us, record_event_name(r->event));
	record_fields(r, json_field, out);
	buf_addc(out, '}');
}

void record_render_line_text(int64_t wall_us, const char *level, const char *line, struct buf *out)
{
	char time[CLOCK_TEXT_MAX];
	size_t at;

	buf_addf(out, "%s %s ", clock_format(wall_us, time), level);
	at = out->len;
	buf_adds(out, line);
	out->len = at + utf8_clean_line(out->s + at, out->len - at);
	out->s[out->len] = '\0';
}

void record_render_line_json(int64_t wall_us, const char *level, const char *line, struct buf *out)
{
	json_begin(out, wall_us, level);
	json_field(out, "message", line, false);
	buf_addc(out, '}');
}

/* ---- servers ---- */

static void change_fields(const struct server_change *c, record_field_fn *fn, void *arg)
{
	char up[12], of[12];

	snprintf(up, sizeof(up), "%u", c->up);
	snprintf(of, sizeof(of), "%u", c->of);
	fn(arg, "service", c->service, false);
	fn(arg, "server", c->server, false);
	fn(arg, "address", c->address, false);
	fn(arg, "state", c->state, false);
	fn(arg, "was", c->was, false);
	fn(arg, "why", c->why, false);
	fn(arg, "up", up, true);
	fn(arg, "of", of, true);
}

static void change_text_field(void *arg, const char *key, const char *value, bool number)
{
	struct buf *out = arg;

	if (!value)
		return;
	buf_addf(out, " %s=", key);
	record_value_text(value, out);
}

void record_render_change_text(const struct server_change *c, struct buf *out)
{
	buf_adds(out, "server");
	change_fields(c, change_text_field, out);
}

static void change_json_field(void *arg, const char *key, const char *value, bool number)
{
	json_field(arg, key, value, number);
}

void record_render_change_json(const struct server_change *c, int64_t wall_us, const char *level, struct buf *out)
{
	json_begin(out, wall_us, "server");
	json_field(out, "level", level, false);
	change_fields(c, change_json_field, out);
	buf_addc(out, '}');
}
