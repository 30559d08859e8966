/* print.c - the canonical text: what each section says beyond what it inherits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/logs.h"
#include "config/openings.h"
#include "config/parser.h"

#define ACCESS_LINE_MAX 90

struct printer {
	struct buf *out;
	const struct config *c;
	const struct section *s;
	const struct section *outer; /* what `s` started from */
	enum level level;
	unsigned depth;
	bool public; /* no secrets */
	bool packed; /* with the servers that there are now */
};

typedef void print_fn(const struct printer *p, const struct directive *d);

static void begin(const struct printer *p, const char *keyword)
{
	for (unsigned i = 0; i < p->depth; i++)
		buf_addc(p->out, '\t');
	buf_adds(p->out, keyword);
}

static void word(const struct printer *p, const char *text)
{
	buf_addc(p->out, ' ');
	lex_quote(text, p->out);
}

static void end(const struct printer *p)
{
	buf_addc(p->out, '\n');
}

static void line(const struct printer *p, const char *keyword, const char *value)
{
	begin(p, keyword);
	word(p, value);
	end(p);
}

static void option(const struct printer *p, const char *name, const char *value)
{
	char *text = mem_printf("%s=%s", name, value);

	word(p, text);
	free(text);
}

static const void *member(const struct section *s, const struct directive *d)
{
	return (const char *)s + d->field;
}

/* ---- plain values ---- */

static void print_yes_no(const struct printer *p, const struct directive *d)
{
	bool now, before = true;

	if (directive_is_global(d)) {
		now = *(const bool *)((const char *)p->c + d->field);
	} else {
		now = *(const bool *)member(p->s, d);
		before = *(const bool *)member(p->outer, d);
	}
	if (now != before)
		line(p, d->keyword, now ? "yes" : "no");
}

static void print_time(const struct printer *p, const struct directive *d)
{
	int64_t now = *(const int64_t *)member(p->s, d);
	char text[TEXT_TIME_MAX];

	if (now != *(const int64_t *)member(p->outer, d))
		line(p, d->keyword, text_format_time(now, text));
}

static void print_limit(const struct printer *p, const struct directive *d)
{
	print_time(p, d);
}

static void print_half_close(const struct printer *p, const struct directive *d)
{
	print_time(p, d);
}

static void print_keepalive(const struct printer *p, const struct directive *d)
{
	print_time(p, d);
}

static void print_number(const struct printer *p, const struct directive *d, uint32_t n)
{
	begin(p, d->keyword);
	buf_addf(p->out, " %u", n);
	end(p);
}

static void print_count(const struct printer *p, const struct directive *d)
{
	uint32_t now = *(const uint32_t *)member(p->s, d);

	if (now != *(const uint32_t *)member(p->outer, d))
		print_number(p, d, now);
}

static void print_workers(const struct printer *p, const struct directive *d)
{
	if (p->c->workers)
		print_number(p, d, p->c->workers);
}

static void print_global_text(const struct printer *p, const struct directive *d)
{
	const char *text = *(char *const *)((const char *)p->c + d->field);

	if (text)
		line(p, d->keyword, text);
}

static void print_user(const struct printer *p, const struct directive *d)
{
	print_global_text(p, d);
}

static void print_group(const struct printer *p, const struct directive *d)
{
	print_global_text(p, d);
}

static void print_state(const struct printer *p, const struct directive *d)
{
	char text[TEXT_TIME_MAX];

	if (!p->c->state)
		return;
	begin(p, d->keyword);
	word(p, p->c->state);
	if (p->c->state_max_age_ms)
		option(p, "max-age", text_format_time(p->c->state_max_age_ms, text));
	end(p);
}

static void print_pidfile(const struct printer *p, const struct directive *d)
{
	print_global_text(p, d);
}

static void print_log(const struct printer *p, const struct directive *d)
{
	for (size_t i = 0; i < p->c->n_logs; i++) {
		begin(p, d->keyword);
		buf_addc(p->out, ' ');
		log_target_print(&p->c->logs[i], p->out);
		end(p);
	}
}

static void print_resolver(const struct printer *p, const struct directive *d)
{
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < p->c->n_resolvers; i++)
		line(p, d->keyword, addr_format_port(&p->c->resolvers[i], text));
}

static void print_name_ttl(const struct printer *p, const struct directive *d)
{
	char text[TEXT_TIME_MAX];

	if (p->c->name_ttl_min_ms == NAME_TTL_MIN_MS && p->c->name_ttl_max_ms == NAME_TTL_MAX_MS)
		return;
	begin(p, d->keyword);
	word(p, text_format_time(p->c->name_ttl_min_ms, text));
	if (p->c->name_ttl_max_ms != NAME_TTL_MAX_MS)
		word(p, text_format_time(p->c->name_ttl_max_ms, text));
	end(p);
}

static void print_name_time(const struct printer *p, const struct directive *d)
{
	int64_t now = *(const int64_t *)((const char *)p->c + d->field);
	char text[TEXT_TIME_MAX];

	if (now != (d->field == PROGRAM(name_hold_ms) ? NAME_HOLD_MS : NAME_KEEP_MS))
		line(p, d->keyword, text_format_time(now, text));
}

static void print_admin(const struct printer *p, const struct directive *d)
{
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < p->c->n_admins; i++) {
		const struct admin_point *a = &p->c->admins[i];
		const char *where =
		        a->path ? a->path : addr_format_zone_port(&a->addr, config_zone(p->c, a->zone), text);
		char *full = mem_printf("%s%s", a->path ? "unix:" : "", where);

		begin(p, d->keyword);
		word(p, full);
		free(full);
		if (a->token)
			option(p, "token", a->token);
		if (a->name)
			option(p, "name", a->name);
		end(p);
	}
}

static void print_access_log(const struct printer *p, const struct directive *d)
{
	static const char *const words[] = {
	        [ACCESS_LOG_END] = "end",   [ACCESS_LOG_OFF] = "off",           [ACCESS_LOG_ERRORS] = "errors",
	        [ACCESS_LOG_OPEN] = "open", [ACCESS_LOG_INTERVAL] = "interval",
	};
	char text[TEXT_TIME_MAX];

	if (p->s->access_log == p->outer->access_log && p->s->access_interval_ms == p->outer->access_interval_ms)
		return;
	begin(p, d->keyword);
	word(p, words[p->s->access_log]);
	if (p->s->access_log == ACCESS_LOG_INTERVAL)
		word(p, text_format_time(p->s->access_interval_ms, text));
	end(p);
}

static void print_log_format(const struct printer *p, const struct directive *d)
{
	const char *now = p->s->log_format, *before = p->outer->log_format;

	if (now && (!before || strcmp(now, before)))
		line(p, d->keyword, now);
}

static void print_source(const struct printer *p, const struct directive *d)
{
	if (source_equal(p->s, p->outer))
		return;
	begin(p, d->keyword);
	source_print(p->c, p->s, p->out);
	end(p);
}

static void print_dscp(const struct printer *p, const struct directive *d)
{
	if (p->s->dscp.server == p->outer->dscp.server && p->s->dscp.client == p->outer->dscp.client)
		return;
	begin(p, d->keyword);
	dscp_print(&p->s->dscp, p->out);
	end(p);
}

static void print_mark(const struct printer *p, const struct directive *d)
{
	char text[16];

	if (p->s->mark == p->outer->mark)
		return;
	snprintf(text, sizeof(text), "0x%x", p->s->mark);
	line(p, d->keyword, p->s->mark ? text : "off");
}

static void print_netns(const struct printer *p, const struct directive *d)
{
	if (strcmp(netns_word(p->s->netns), netns_word(p->outer->netns)))
		line(p, d->keyword, netns_word(p->s->netns));
}

static void print_starttls(const struct printer *p, const struct directive *d)
{
	if (p->s->starttls != p->outer->starttls)
		line(p, d->keyword, starttls_name((enum starttls)p->s->starttls));
}

/* Of the service. */
static void print_intercept(const struct printer *p, const struct directive *d)
{
	const struct service *service = &p->c->services[p->s->service];

	for (size_t i = 0; i < service->n_interceptions && p->level == SERVICE; i++) {
		begin(p, d->keyword);
		interception_print(service, &service->interceptions[i], p->out);
		end(p);
	}
}

static void print_device(const struct printer *p, const struct directive *d)
{
	const char *now = p->s->device ? p->s->device : "off", *before = p->outer->device ? p->outer->device : "off";

	if (strcmp(now, before))
		line(p, d->keyword, now);
}

static void print_routes(const struct printer *p, const struct directive *d)
{
	struct buf words = BUF_INIT;

	routes_print(&p->c->routes, &words);
	if (words.len) {
		begin(p, d->keyword);
		buf_adds(p->out, words.s);
		end(p);
	}
	buf_release(&words);
}

static void print_prefix(const struct printer *p, const struct directive *d)
{
	if (strcmp(p->s->env_prefix, p->outer->env_prefix))
		line(p, d->keyword, p->s->env_prefix);
}

static bool env_has(char **env, const char *text)
{
	for (; env && *env; env++) {
		if (!strcmp(*env, text))
			return true;
	}
	return false;
}

static void print_env(const struct printer *p, const struct directive *d)
{
	if (p->s->env == p->outer->env)
		return;
	for (char **e = p->s->env; *e; e++) {
		char *shown;

		if (env_has(p->outer->env, *e))
			continue;
		shown = p->public ? mem_printf("%.*s=***", (int)strcspn(*e, "="), *e) : mem_strdup(*e);
		line(p, d->keyword, shown);
		free(shown);
	}
}

/* ---- lists ---- */

static void print_words(const struct printer *p, const char *keyword, char **words)
{
	begin(p, keyword);
	for (; *words; words++)
		word(p, *words);
	end(p);
}

static void print_acp(const struct printer *p, const struct directive *d)
{
	if (p->s->acp != p->outer->acp)
		print_words(p, d->keyword, p->s->acp);
}

static void print_notify(const struct printer *p, const struct directive *d)
{
	if (p->s->notify != p->outer->notify)
		print_words(p, d->keyword, p->s->notify);
}

static void print_access(const struct printer *p, const struct directive *d)
{
	const struct access_list *l = &p->s->access;
	char text[ADDR_TEXT_MAX];
	size_t start = 0;

	/* Both words make one list, whose order matters: it is printed once, for the first. */
	if (strcmp(d->keyword, "allow") || l->rules == p->outer->access.rules)
		return;
	for (size_t i = 0; i < l->n; i++) {
		const struct access_rule *r = &l->rules[i];
		bool all = r->net.net.family == AF_UNSPEC;

		if (i && (r->allow != r[-1].allow || p->out->len - start > ACCESS_LINE_MAX))
			end(p);
		if (!i || p->out->s[p->out->len - 1] == '\n') {
			start = p->out->len;
			begin(p, r->allow ? "allow" : "deny");
		}
		word(p, all ? "all" : cidr_format_zone(&r->net, config_zone(p->c, r->zone), text));
	}
	if (l->n)
		end(p);
}

/* At the end of a line. */
static void print_called(struct buf *out, const char *called)
{
	if (called)
		buf_addf(out, " as %s", called);
}

void server_print_each(const struct server *s, const char *each, struct buf *out)
{
	lex_quote(s->key, out);
	buf_adds(out, each);
	if (s->weight != 1)
		buf_addf(out, " weight=%u", s->weight);
	if (s->backup)
		buf_adds(out, " backup");
	if (s->max)
		buf_addf(out, " max=%u", s->max);
	if (s->disabled)
		buf_adds(out, " disabled");
	if (s->send_proxy)
		buf_addf(out, " send-proxy=%s", server_proxy_words[s->send_proxy]);
	server_way_print(s, out);
	if (s->priority)
		buf_addf(out, " priority=%u", s->priority);
	print_called(out, s->called);
}

void server_print(const struct server *s, struct buf *out)
{
	server_print_each(s, "", out);
}

static void print_one_server(const struct printer *p, const char *keyword, const struct server *s)
{
	begin(p, keyword);
	buf_addc(p->out, ' ');
	server_print(s, p->out);
	end(p);
}

/* Sources that stand before the server of this number in the file. Returns how many are printed then. */
static size_t print_sources(const struct printer *p, size_t printed, size_t before)
{
	for (; printed < p->s->n_sources && p->s->sources[printed].before <= before; printed++) {
		begin(p, p->s->sources[printed].line);
		end(p);
	}
	return printed;
}

/* Only a reader of packed texts knows this word: a section whose pool may be empty has one all the same. */
static void print_pool(const struct printer *p)
{
	if (!p->packed)
		return;
	begin(p, "pool");
	end(p);
}

static void print_server(const struct printer *p, const struct directive *d)
{
	const struct section *s = p->s;
	size_t said = 0, printed = 0;

	if (s->servers == p->outer->servers)
		return;
	print_pool(p);
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server *server = &s->servers[i];

		if (server->from == FROM_FILE) {
			printed = print_sources(p, printed, said++);
			if (server->kind == SERVER_PROGRAM)
				print_words(p, "exec", server->argv);
			else
				print_one_server(p, d->keyword, server);
		} else if (p->packed) {
			printed = print_sources(p, printed, said);
			print_one_server(p, server->from == FROM_ADDED ? "added" : "member", server);
		}
	}
	print_sources(p, printed, SIZE_MAX);
}

static void print_check(const struct printer *p, const struct directive *d)
{
	const struct section *s = p->s;

	if (s->checks == p->outer->checks)
		return;
	if (!s->n_checks)
		line(p, d->keyword, "off");
	for (size_t i = 0; i < s->n_checks; i++) {
		begin(p, d->keyword);
		buf_addc(p->out, ' ');
		check_line_print(p->c, &s->checks[i], p->public, p->out);
		end(p);
	}
}

static void print_on_down(const struct printer *p, const struct directive *d)
{
	static const char *const words[] = {
	        [ON_DOWN_RESET] = "reset", [ON_DOWN_TRY] = "try", [ON_DOWN_REFUSE] = "refuse", [ON_DOWN_HOLD] = "hold"};

	if (p->s->on_down == p->outer->on_down && wait_rule_equal(&p->s->hold, &p->outer->hold) &&
	    p->s->then_refuse == p->outer->then_refuse)
		return;
	begin(p, d->keyword);
	word(p, words[p->s->on_down]);
	if (p->s->on_down == ON_DOWN_HOLD)
		wait_rule_print(&p->s->hold, p->out);
	if (p->s->then_refuse)
		buf_adds(p->out, " then refuse");
	end(p);
}

static void print_queue(const struct printer *p, const struct directive *d)
{
	if (wait_rule_equal(&p->s->queue, &p->outer->queue))
		return;
	begin(p, d->keyword);
	if (p->s->queue.time_ms)
		wait_rule_print(&p->s->queue, p->out);
	else
		word(p, "off");
	end(p);
}

static void print_accept_proxy(const struct printer *p, const struct directive *d)
{
	if (p->s->accept_proxy == p->outer->accept_proxy)
		return;
	begin(p, d->keyword);
	if (p->s->accept_proxy)
		accept_proxy_print(p->c, p->s->accept_proxy, p->out);
	else
		word(p, "off");
	end(p);
}

static void print_send_proxy(const struct printer *p, const struct directive *d)
{
	if (p->s->send_proxy == p->outer->send_proxy)
		return;
	begin(p, d->keyword);
	if (p->s->send_proxy)
		send_proxy_print(p->s->send_proxy, p->out);
	else
		word(p, "off");
	end(p);
}

static void print_eject(const struct printer *p, const struct directive *d)
{
	if (eject_rule_equal(&p->s->eject, &p->outer->eject))
		return;
	begin(p, d->keyword);
	eject_rule_print(&p->s->eject, p->out);
	end(p);
}

static void print_balance(const struct printer *p, const struct directive *d)
{
	if (p->s->balance == p->outer->balance && p->s->bounded == p->outer->bounded)
		return;
	begin(p, d->keyword);
	word(p, balance_name(p->s->balance));
	if (p->s->bounded)
		buf_addf(p->out, " bounded=%u", p->s->bounded);
	end(p);
}

static void print_stick(const struct printer *p, const struct directive *d)
{
	if (stick_equal(&p->s->stick, &p->outer->stick))
		return;
	begin(p, d->keyword);
	stick_print(&p->s->stick, p->out);
	end(p);
}

static void print_on_server_down(const struct printer *p, const struct directive *d)
{
	if (p->s->kill_on_server_down != p->outer->kill_on_server_down)
		line(p, d->keyword, p->s->kill_on_server_down ? "kill" : "keep");
}

/* ---- what is printed with something else, or opens a section ---- */

static void print_nothing(const struct printer *p, const struct directive *d)
{
}

#define print_exec      print_nothing /* with server */
#define print_servers   print_nothing /* likewise */
#define print_wait      print_nothing /* with half-close-timeout */
#define print_include   print_nothing /* its lines stand in its place */
#define print_port      print_nothing
#define print_interface print_nothing
#define print_sni       print_nothing
#define print_protocol  print_nothing
#define print_later     print_nothing

static print_fn *const printers[] = {
#define DIRECTIVE(keyword, where, min, max, type, field, letter, option, arguments, help) print_##type,
#include "config/options.def"
#undef DIRECTIVE
};

static void print_section(const struct printer *whole, const struct section *s, const struct section *outer,
                          enum level level, unsigned depth)
{
	struct printer p = *whole;

	p.s = s;
	p.outer = outer;
	p.level = level;
	p.depth = depth;
	for (size_t i = 0; i < n_directives; i++) {
		const struct directive *d = &directives[i];

		if ((d->where & level) && !directive_is_alias(d))
			printers[i](&p, d);
	}
}

static void print_interface_line(struct buf *out, const struct config *c, const struct section *s)
{
	char text[ADDR_TEXT_MAX];

	buf_adds(out, "\tinterface ");
	lex_quote(s->kind == INTERFACE_NAME ? s->name : cidr_format_zone(&s->net, config_zone(c, s->zone), text), out);
	print_called(out, s->called);
	buf_addc(out, '\n');
}

/* Those behind sni and protocol that belong to this section. */
static void print_openings(const struct printer *p, const struct section *owner, unsigned depth)
{
	for (uint32_t i = 1; i <= owner->n_openings; i++) {
		for (unsigned k = 0; k < depth; k++)
			buf_addc(p->out, '\t');
		opening_print(&owner[i], p->out);
		print_called(p->out, owner[i].called);
		buf_addc(p->out, '\n');
		print_section(p, &owner[i], owner, OPENING, depth + 1);
	}
}

static void print_service(const struct printer *p, const struct service *service)
{
	const struct config *c = p->c;
	const struct section *root = &c->sections[service->root];
	struct section start = section_inherit(c, &c->global);

	buf_adds(p->out, "port");
	port_line_print(service, p->out);
	print_called(p->out, root->called);
	buf_addc(p->out, '\n');
	print_section(p, root, &start, SERVICE, 1);
	print_openings(p, root, 1);
	for (size_t i = 0; i < service->n_sections; i++) {
		const struct section *s = &c->sections[service->first_section + i];

		if (s->opening.kind)
			continue;
		print_interface_line(p->out, c, s);
		print_section(p, s, root, INTERFACE, 2);
		print_openings(p, s, 2);
	}
}

static void print_all(const struct printer *p)
{
	struct section start = section_defaults();
	size_t before = p->out->len;

	print_section(p, &p->c->global, &start, GLOBAL, 0);
	for (size_t i = 0; i < p->c->n_services; i++) {
		if (p->out->len > before)
			buf_addc(p->out, '\n');
		print_service(p, &p->c->services[i]);
	}
}

void config_print(const struct config *c, struct buf *out)
{
	print_all(&(struct printer){.out = out, .c = c});
}

void config_print_packed(const struct config *c, struct buf *out)
{
	print_all(&(struct printer){.out = out, .c = c, .packed = true});
}

void config_print_public(const struct config *c, struct buf *out)
{
	print_all(&(struct printer){.out = out, .c = c, .public = true});
}
