/* intercept.c - intercept: connections that are meant for others, and come to us; and the server that is meant. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define RANGES_MAX 1000
#define ON_MAX     64
#define FROM_MAX   256

static const char *const words[] = {[INTERCEPT_TPROXY] = "tproxy", [INTERCEPT_REDIRECT] = "redirect"};

const char *intercept_name(enum intercept_kind kind)
{
	return words[kind];
}

void interception_release(struct interception *i)
{
	free(i->to);
	words_free(i->on);
	free(i->from);
	free(i->of);
}

/* ---- one line ---- */

enum part { PART_NONE, PART_TO, PART_ON, PART_FROM, PART_OF };

static enum part part_of(const char *word)
{
	static const char *const parts[] = {[PART_TO] = "to", [PART_ON] = "on", [PART_FROM] = "from", [PART_OF] = "of"};

	for (size_t i = PART_TO; i < ARRAY_LEN(parts); i++)
		if (!strcmp(parts[i], word))
			return (enum part)i;
	return PART_NONE;
}

/* What nft takes between quotes. */
static bool is_device(const char *text)
{
	size_t len = strlen(text);

	if (len > 0 && text[len - 1] == '*')
		len--;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("_.:@+-", text[i]))
			return false;
	return len > 0 && len < 16;
}

static void read_on(struct parser *p, struct interception *new, const struct word *w)
{
	char shown[SHOWN_MAX];
	size_t n = 0;

	while (new->on &&new->on[n])
		n++;
	if (!is_device(w->text)) {
		parse_error(p, w->column, "%s is no name of an interface (ip link), nor NAME* for several",
		            lex_show(w->text, shown));
		return;
	}
	new->on = mem_resize(new->on, n + 2, sizeof(*new->on));
	new->on[n] = mem_strdup(w->text);
	new->on[n + 1] = NULL;
}

static void read_from(struct parser *p, struct interception *new, const struct word *w)
{
	struct cidr net;
	uint16_t zone;

	if (!parse_clients(p, w, &net, &zone))
		return;
	if (net.net.family == AF_UNSPEC || zone) {
		parse_error(p, w->column, "an address or a network belongs behind \"from\"; without it, it is all");
		return;
	}
	new->from = mem_resize(new->from, new->n_from + 1, sizeof(*new->from));
	new->from[new->n_from++] = net;
}

static void read_of(struct parser *p, struct interception *new, const struct word *w)
{
	char shown[SHOWN_MAX];

	if (new->of)
		parse_error(p, w->column,
		            "%s is one word too many: \"of\" takes one user, others in lines of their own",
		            lex_show(w->text, shown));
	else
		new->of = mem_strdup(w->text);
}

static void read_words(struct parser *p, struct interception *new, struct word *args, size_t n)
{
	enum part part = PART_NONE;
	char shown[SHOWN_MAX];

	for (size_t i = 0; i < n; i++) {
		enum part next = part_of(args[i].text);

		if (next != PART_NONE) {
			part = next;
			if (i + 1 == n || part_of(args[i + 1].text) != PART_NONE)
				parse_error(p, args[i].column, "a value is missing behind \"%s\"", args[i].text);
			continue;
		}
		switch (part) {
		case PART_TO:
			port_range_add(p, &args[i], &new->to, &new->n_to);
			break;
		case PART_ON:
			read_on(p, new, &args[i]);
			break;
		case PART_FROM:
			read_from(p, new, &args[i]);
			break;
		case PART_OF:
			read_of(p, new, &args[i]);
			break;
		case PART_NONE:
			parse_error(p, args[i].column, "%s: \"to\", \"on\", \"from\" or \"of\" belongs here",
			            lex_show(args[i].text, shown));
			return;
		}
	}
}

static void check_line(struct parser *p, const struct service *service, enum intercept_kind kind,
                       const struct interception *new)
{
	uint32_t column = p->line->words[0].column;

	if (service->listen != LISTEN_PORTS || service->netns || service->device || service->mptcp)
		parse_error(p, column, "\"intercept\" needs a plain \"port\", without netns=, device= or mptcp");
	else if (service->n_ports != 1 || service->ports[0].first != service->ports[0].last)
		parse_error(p, column,
		            "\"intercept\" needs a \"port\" line with one port: what is caught is behind \"to\"");
	if (service->intercept && service->intercept != kind)
		parse_error(p, column, "a port is for \"tproxy\" or for \"redirect\": these need two");
	if (new->n_to == 0)
		parse_error(p, p->line->end, "\"intercept %s\" needs \"to\": the ports that are caught", words[kind]);
	if (new->of && kind == INTERCEPT_TPROXY)
		parse_error(p, column,
		            "connections of a user of this machine are caught by \"redirect\", not by \"tproxy\"");
	if (new->of && (new->on || new->from))
		parse_error(p, column,
		            "\"of\" is for a user of this machine, \"on\" and \"from\" are for others: two lines");
	if (new->n_to > RANGES_MAX || new->n_from > FROM_MAX)
		parse_error(p, column, "an \"intercept\" line takes at most %d ranges and %d networks", RANGES_MAX,
		            FROM_MAX);
}

/* These have a second way past us. */
static void warn_of_others(struct parser *p, const struct interception *new)
{
	static const struct {
		uint16_t port;
		const char *what;
	} others[] = {{21, "the second connection of FTP"}, {53, "DNS over UDP"}, {443, "QUIC (UDP)"}};
	struct place at = place_here(p, p->line->words[0].column);

	for (size_t k = 0; k < ARRAY_LEN(others); k++)
		for (size_t i = 0; i < new->n_to; i++)
			if (new->to[i].first <= others[k].port && others[k].port <= new->to[i].last)
				parse_warning_at(p, &at, "intercept is about TCP: %s is not caught", others[k].what);
}

/* Told apart from those who call the port itself. */
static uint32_t place_of(const struct service *service)
{
	char text[64];

	snprintf(text, sizeof(text), "%u,intercept=%s", service_first_port(service), words[service->intercept]);
	return place_number(text);
}

void set_intercept(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct service *service = &p->c->services[parse_section(p)->service];
	enum intercept_kind kind = !strcmp(args[0].text, "tproxy")     ? INTERCEPT_TPROXY
	                           : !strcmp(args[0].text, "redirect") ? INTERCEPT_REDIRECT
	                                                               : INTERCEPT_NONE;
	struct interception new = {0};
	size_t errors = p->errors->n;
	char shown[SHOWN_MAX];

	if (!service->intercept) /* also if the line is wrong: the others are read as if it were not */
		service->intercept = kind ? kind : INTERCEPT_TPROXY;
	if (!kind) {
		parse_error(p, args[0].column, "%s: tproxy or redirect belongs behind \"intercept\"",
		            lex_show(args[0].text, shown));
		return;
	}
	read_words(p, &new, args + 1, n - 1);
	if (p->errors->n == errors)
		check_line(p, service, kind, &new);
	if (p->errors->n != errors) {
		interception_release(&new);
		return;
	}
	warn_of_others(p, &new);
	service->interceptions =
	        mem_resize(service->interceptions, service->n_interceptions + 1, sizeof(*service->interceptions));
	service->interceptions[service->n_interceptions++] = new;
	service->place = place_of(service);
}

/* ---- and printed ---- */

void interception_print(const struct service *service, const struct interception *i, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	buf_addf(out, " %s to", words[service->intercept]);
	for (size_t k = 0; k < i->n_to; k++) {
		const struct port_range *r = &i->to[k];

		buf_addf(out, r->last == r->first ? " %u" : " %u-%u", r->first, r->last);
	}
	if (i->on)
		buf_adds(out, " on");
	for (char **on = i->on; on && *on; on++) {
		buf_addc(out, ' ');
		lex_quote(*on, out);
	}
	if (i->n_from)
		buf_adds(out, " from");
	for (size_t k = 0; k < i->n_from; k++)
		buf_addf(out, " %s", cidr_format(&i->from[k], text));
	if (i->of) {
		buf_adds(out, " of ");
		lex_quote(i->of, out);
	}
}

/* ---- the whole ---- */

static const struct server *original_of(const struct section *s)
{
	for (size_t k = 0; k < s->n_servers; k++)
		if (s->servers[k].kind == SERVER_ORIGINAL)
			return &s->servers[k];
	return NULL;
}

/* A bit beside those that bring packets to us, which must not be in what we send. */
static uint32_t mark_beside(uint32_t mask)
{
	uint32_t above = mask << 1 & ~mask, below = mask >> 1 & ~mask;

	above &= -above;
	return above ? above : below & -below;
}

void intercept_check(struct parser *p)
{
	const struct config *c = p->c;

	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].intercept == INTERCEPT_TPROXY)
			c->services[i].answers_mark = mark_beside(c->routes.mask);

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];
		const struct service *service = &c->services[s->service];
		const struct server *original = s->own_pool ? original_of(s) : NULL;

		if (!original)
			continue;
		if (!service->intercept)
			parse_error_at(p, &p->server_places[original->place],
			               "\"server original\" needs \"intercept\"");
		else if (s->n_servers + s->n_sources > 1)
			parse_error_at(p, &p->server_places[original->place],
			               "\"server original\" stands alone: each client has a server of its own already");
		else if (s->n_checks)
			parse_error_at(
			        p, &p->server_places[original->place],
			        "\"server original\" cannot be checked: it is another one for each client (check off)");
	}
}

bool config_intercepts(const struct config *c)
{
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].intercept)
			return true;
	return false;
}

bool config_intercepts_by(const struct config *c, enum intercept_kind kind)
{
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].intercept == kind)
			return true;
	return false;
}

uint32_t config_interceptions_number(const struct config *c)
{
	struct buf text = BUF_INIT;
	uint64_t h;

	for (size_t i = 0; i < c->n_services && !c->routes.by_hand; i++)
		for (size_t k = 0; k < c->services[i].n_interceptions; k++) {
			buf_addf(&text, "%u", service_first_port(&c->services[i]));
			interception_print(&c->services[i], &c->services[i].interceptions[k], &text);
			buf_addc(&text, '\n');
		}
	h = text.len ? hash_bytes(HASH_START, text.s, text.len) : 0;
	buf_release(&text);
	return h ? (uint32_t)(h ^ h >> 32) | 1 : 0;
}

static bool has(const struct interception *i, const struct addr *client, uint16_t port)
{
	bool from = i->n_from == 0, to = false;

	for (size_t k = 0; k < i->n_from && !from; k++)
		from = cidr_contains(&i->from[k], client);
	for (size_t k = 0; k < i->n_to && !to; k++)
		to = i->to[k].first <= port && port <= i->to[k].last;
	return from && to;
}

bool service_intercepts(const struct service *service, const struct addr *client, uint16_t port)
{
	for (size_t k = 0; k < service->n_interceptions; k++)
		if (has(&service->interceptions[k], client, port))
			return true;
	return false;
}
