#include "base/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

const struct format_key format_keys[] = {
        {"time", "t", "when the record was made"},
        {"epoch", "Ts", "the same in seconds since 1970"},
        {"event", NULL, "open, close or interval"},
        {"id", "ID", "number of the connection"},
        {"service", NULL, "name of the service, else its port"},
        {"port", "fp", "port on which it came in"},
        {"interface", "fi", "local address at which it came in"},
        {"client", NULL, "address and port of the client"},
        {"client-ip", "ci", "its address"},
        {"client-port", "cp", "its port"},
        {"name", NULL, "its name, if it was looked up"},
        {"via", NULL, "who has announced the client by a PROXY header"},
        {"announced", NULL, "where the client wanted to go, as was announced"},
        {"uid", NULL, "unique id, announced or sent"},
        {"authority", NULL, "name that the client wanted, as was announced"},
        {"rule", "f", "FILE:LINE of the rule"},
        {"sni", NULL, "name that the client asked for by TLS"},
        {"alpn", NULL, "protocols that it offered there"},
        {"protocol", NULL, "what it speaks, if its section depended on that"},
        {"target", NULL, "name of the server, else how it is spelt"},
        {"server", "s", "address and port of the server, or how it is spelt"},
        {"server-ip", "si", "its address"},
        {"server-port", "sp", "its port"},
        {"up", "U", "bytes from the client"},
        {"down", "B", "bytes from the server"},
        {"connect", NULL, "seconds until it was connected"},
        {"connect-ms", "Tc", "the same in milliseconds"},
        {"duration", NULL, "seconds until it ended"},
        {"duration-ms", "Tt", "the same in milliseconds"},
        {"end", "ts", "who ended it, and how"},
        {"why", NULL, "the reason, if the end alone does not say it"},
        {"waited", NULL, "seconds for which it waited for a place, or for a server"},
};
const unsigned n_format_keys = ARRAY_LEN(format_keys);

/* ---- reading it ---- */

/* The key that begins at `at` ('{' or '%'), and its length with all its signs. NULL: it is not a key. */
static const struct format_key *key_at(const char *at, size_t *len)
{
	const struct format_key *found = NULL;
	size_t longest = 0;

	for (unsigned i = 0; i < n_format_keys; i++) {
		const char *word = *at == '{' ? format_keys[i].key : format_keys[i].haproxy;
		size_t n = word ? strlen(word) : 0;

		if (!word || strncmp(at + 1, word, n) != 0 || (*at == '{' && at[n + 1] != '}'))
			continue;
		if (n > longest) { /* %ts is not %t followed by an s */
			longest = n;
			found = &format_keys[i];
		}
	}
	*len = longest + (*at == '{' ? 2 : 1);
	return found;
}

static bool is_doubled(const char *at)
{
	return strchr("{}%", *at) && at[1] == *at;
}

static void list_keys(struct buf *out, char sign)
{
	const char *between = "";

	for (unsigned i = 0; i < n_format_keys; i++) {
		const struct format_key *k = &format_keys[i];

		if (sign == '%' && !k->haproxy)
			continue;
		buf_addf(out, sign == '%' ? "%s%%%s" : "%s{%s}", between, sign == '%' ? k->haproxy : k->key);
		between = " ";
	}
}

bool format_check(const char *format, struct buf *why)
{
	for (const char *at = format; *at;) {
		size_t len;

		if (is_doubled(at)) {
			at += 2;
		} else if (*at == '}') {
			buf_adds(why, "a } stands alone in this format: }} writes one");
			return false;
		} else if (*at != '{' && *at != '%') {
			at++;
		} else if (key_at(at, &len)) {
			at += len;
		} else {
			buf_addf(why, "\"%.*s\" is no key of a record; there are ",
			         (int)(*at == '{' ? strcspn(at, "}") + (strchr(at, '}') != NULL)
			                          : 1 + strcspn(at + 1, " %{")),
			         at);
			list_keys(why, *at);
			buf_addf(why, ", and %s for the character", *at == '{' ? "{{" : "%%");
			return false;
		}
	}
	return true;
}

/* ---- writing it ---- */

struct wanted {
	const char *key;
	struct buf *out;
	bool found;
};

static void take_field(void *arg, const char *key, const char *value, bool number)
{
	struct wanted *w = arg;

	if (strcmp(key, w->key) != 0)
		return;
	w->found = true;
	record_value_text(value, w->out);
}

static void add_host(const struct addr *a, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	buf_adds(out, addr_format(a, text));
}

static void add_port(const struct addr *a, struct buf *out)
{
	if (a->port)
		buf_addf(out, "%u", a->port);
	else
		buf_addc(out, '-');
}

static void add_ms(int64_t us, struct buf *out)
{
	if (us < 0)
		buf_addc(out, '-');
	else
		buf_addf(out, "%" PRId64, us / 1000);
}

/* Those that the usual record does not have. */
static bool add_own(const char *key, const struct record *r, struct buf *out)
{
	char time[CLOCK_TEXT_MAX];

	if (!strcmp(key, "time"))
		buf_adds(out, clock_format(r->wall_us, time));
	else if (!strcmp(key, "epoch"))
		buf_addf(out, "%" PRId64, r->wall_us / 1000000);
	else if (!strcmp(key, "event"))
		buf_adds(out, record_event_name(r->event));
	else if (!strcmp(key, "client-ip"))
		add_host(&r->client, out);
	else if (!strcmp(key, "client-port"))
		add_port(&r->client, out);
	else if (!strcmp(key, "server-ip"))
		add_host(&r->server, out);
	else if (!strcmp(key, "server-port"))
		add_port(&r->server, out);
	else if (!strcmp(key, "connect-ms"))
		add_ms(r->connect_us, out);
	else if (!strcmp(key, "duration-ms"))
		add_ms(r->duration_us < 0 ? 0 : r->duration_us, out);
	else
		return false;
	return true;
}

static void add_value(const struct format_key *k, const struct record *r, struct buf *out)
{
	struct wanted w = {.key = k->key, .out = out};

	if (add_own(k->key, r, out))
		return;
	record_fields(r, take_field, &w);
	if (!w.found)
		buf_addc(out, '-');
}

void format_render(const char *format, const struct record *r, struct buf *out)
{
	while (*format) {
		const struct format_key *k = NULL;
		size_t len = 1;

		if (is_doubled(format)) {
			buf_addc(out, *format);
			format += 2;
			continue;
		}
		if (*format == '{' || *format == '%')
			k = key_at(format, &len);
		if (k)
			add_value(k, r, out);
		else
			buf_addc(out, *format);
		format += k ? len : 1;
	}
}
