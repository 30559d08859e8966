/* values.c - directives with one plain value. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define COUNT_MAX     1000000000
#define WORKERS_MAX   128
#define KEEPALIVE_MAX (32767 * 1000LL) /* what the kernel takes */

static bool read_time(struct parser *p, const struct word *w, int64_t *ret)
{
	char shown[SHOWN_MAX];

	if (text_parse_time_ms(w->text, ret))
		return true;
	parse_error(p, w->column, "%s is no time: write seconds, or a number with ms, s, m, h or d",
	            lex_show(w->text, shown));
	return false;
}

static bool read_count(struct parser *p, const struct word *w, uint64_t min, uint64_t max, uint32_t *ret)
{
	char shown[SHOWN_MAX];
	uint64_t n;

	if (text_parse_uint(w->text, max, &n) && n >= min) {
		*ret = (uint32_t)n;
		return true;
	}
	parse_error(p, w->column, "%s is no number from %llu to %llu", lex_show(w->text, shown),
	            (unsigned long long)min, (unsigned long long)max);
	return false;
}

void set_yes_no(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	if (!text_parse_bool(args[0].text, directive_field(p, d)))
		parse_error(p, args[0].column, "%s is neither yes nor no", lex_show(args[0].text, shown));
}

void set_wait(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	set_yes_no(p, d, args, n);
}

void set_time(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	read_time(p, &args[0], directive_field(p, d));
}

void set_name_time(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	set_time(p, d, args, n);
}

void set_name_ttl(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	int64_t min_ms, max_ms = NAME_TTL_MAX_MS;
	char shown[SHOWN_MAX];

	if (!read_time(p, &args[0], &min_ms) || (n > 1 && !read_time(p, &args[1], &max_ms)))
		return;
	if (min_ms < NAME_TTL_MIN_MS)
		parse_error(p, args[0].column, "%s is too short: a name is asked for once a second at most",
		            lex_show(args[0].text, shown));
	else if (n > 1 && max_ms < min_ms)
		parse_error(p, args[1].column, "%s is below the other bound", lex_show(args[1].text, shown));
	else {
		p->c->name_ttl_min_ms = min_ms;
		p->c->name_ttl_max_ms = max_ms > min_ms ? max_ms : min_ms;
	}
}

void set_half_close(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	const struct place *said = p->level == GLOBAL ? p->global_said : p->said;

	set_time(p, d, args, n);
	/* Nearer than a `wait yes` further out. */
	if (!said[directive_find("wait") - directives].file)
		parse_section(p)->wait = false;
}

void set_limit(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	int64_t ms;

	if (!read_time(p, &args[0], &ms))
		return;
	if (ms == 0)
		parse_error(p, args[0].column, "\"%s\" needs a limit above 0", d->keyword);
	else
		*(int64_t *)directive_field(p, d) = ms;
}

void set_keepalive(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	int64_t ms;

	if (!read_time(p, &args[0], &ms))
		return;
	if (ms % 1000 || ms > KEEPALIVE_MAX)
		parse_error(p, args[0].column, "\"keepalive\" takes whole seconds, at most 32767, or 0 for none");
	else
		*(int64_t *)directive_field(p, d) = ms;
}

void set_count(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	read_count(p, &args[0], 0, COUNT_MAX, directive_field(p, d));
}

void set_workers(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	read_count(p, &args[0], 1, WORKERS_MAX, directive_field(p, d));
}

/* ---- the user and group to run as ---- */

static bool account_name(struct parser *p, const struct word *w, const char *name, const char *what)
{
	char shown[SHOWN_MAX];

	if (*name && *name != '-' && strlen(name) < 256) {
		const char *s = name;

		while (isgraph((unsigned char)*s) && *s != ':' && *s != '/')
			s++;
		if (!*s)
			return true;
	}
	parse_error(p, w->column, "%s is no name of a %s", lex_show(name, shown), what);
	return false;
}

static void replace(char **text, const char *new)
{
	free(*text);
	*text = mem_strdup(new);
}

void set_user(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char *user = args[0].text, *group = strchr(user, ':');
	uint64_t uid;

	if (group)
		*group++ = '\0';
	if (!account_name(p, &args[0], user, "user"))
		return;
	if (!strcmp(user, "root") || (text_parse_uint(user, UINT64_MAX, &uid) && uid == 0)) {
		parse_error(p, args[0].column, "tcpproxy never serves as root: name another user, such as nobody");
		return;
	}
	replace(&p->c->user, user);
	if (!group || !account_name(p, &args[0], group, "group"))
		return;
	if (parse_said(p, directive_find("group")))
		replace(&p->c->group, group);
}

void set_group(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	if (account_name(p, &args[0], args[0].text, "group"))
		replace(&p->c->group, args[0].text);
}

void set_pidfile(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	if (!*args[0].text || all_digits(args[0].text)) {
		parse_error(p, args[0].column, "%s is no name of a file: \"pidfile\" takes a path",
		            lex_show(args[0].text, shown));
		return;
	}
	free(p->c->pidfile);
	p->c->pidfile = parse_path(p, args[0].text);
}

void set_state(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];
	int64_t max_age_ms = 0;

	if (!*args[0].text || all_digits(args[0].text)) {
		parse_error(p, args[0].column, "%s is no name of a file: \"state\" takes a path",
		            lex_show(args[0].text, shown));
		return;
	}
	if (n > 1 && (strncmp(args[1].text, "max-age=", 8) != 0 || !text_parse_time_ms(args[1].text + 8, &max_age_ms) ||
	              max_age_ms == 0)) {
		parse_error(p, args[1].column, "%s: max-age= and a time above 0 is allowed, such as max-age=1d",
		            lex_show(args[1].text, shown));
		return;
	}
	free(p->c->state);
	p->c->state = parse_path(p, args[0].text);
	p->c->state_max_age_ms = max_age_ms;
}

/* ---- addresses ---- */

static bool read_resolver(struct parser *p, const struct word *w, struct addr *ret)
{
	char *host, *port, zone[ADDR_ZONE_MAX];
	bool ok;

	if (addr_parse_zone(w->text, ret, zone)) {
		ret->port = 53;
		return true;
	}
	if (endpoint_split(w->text, &host, &port))
		return false;
	ok = addr_parse_zone(host, ret, zone);
	ret->port = 53;
	if (ok && port)
		ok = port_parse(p->world, port, &ret->port);
	free(host);
	free(port);
	return ok;
}

void set_resolver(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct config *c = p->c;
	char shown[SHOWN_MAX];

	c->resolvers = mem_resize(c->resolvers, c->n_resolvers + n, sizeof(*c->resolvers));
	for (size_t i = 0; i < n; i++) {
		struct addr *a = &c->resolvers[c->n_resolvers];

		*a = (struct addr){.family = AF_UNSPEC};
		if (read_resolver(p, &args[i], a) && !a->scope)
			c->n_resolvers++;
		else if (a->scope) /* c-ares would leave it out and ask none */
			parse_error(p, args[i].column,
			            "%s is an address of one link (%%), over which a name server cannot be asked: "
			            "name another address of it",
			            lex_show(args[i].text, shown));
		else
			parse_error(p, args[i].column, "%s is no address of a name server: write ADDR or ADDR:PORT",
			            lex_show(args[i].text, shown));
	}
}

/* ---- what programs are told ---- */

static size_t variable_name(const char *text)
{
	size_t n = 0;

	while (isascii(text[n]) &&
	       (isalpha((unsigned char)text[n]) || text[n] == '_' || (n && isdigit((unsigned char)text[n]))))
		n++;
	return n;
}

void set_prefix(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);
	size_t len = variable_name(args[0].text);
	char shown[SHOWN_MAX];

	if (len == 0 || args[0].text[len] || len > 64) {
		parse_error(p, args[0].column, "%s cannot begin the name of a variable: letters, digits and _ can",
		            lex_show(args[0].text, shown));
		return;
	}
	if (!outer || s->env_prefix != outer->env_prefix)
		free(s->env_prefix);
	s->env_prefix = mem_strdup(args[0].text);
}

static size_t env_count(char **env)
{
	size_t n = 0;

	while (env && env[n])
		n++;
	return n;
}

/* A section with variables of its own has those of the outer one, too. */
static void env_own(struct parser *p, struct section *s, size_t more)
{
	const struct section *outer = section_outer(p->c, s);
	size_t n = env_count(s->env);

	if (outer && s->env && s->env == outer->env) {
		s->env = mem_alloc((n + more + 1) * sizeof(*s->env));
		for (size_t i = 0; i < n; i++)
			s->env[i] = mem_strdup(outer->env[i]);
	} else {
		s->env = mem_resize(s->env, n + more + 1, sizeof(*s->env));
		s->env[n] = NULL;
	}
}

static void env_put(char **env, const char *text, size_t name_len)
{
	size_t i = 0;

	while (env[i] && strncmp(env[i], text, name_len + 1))
		i++;
	if (!env[i])
		env[i + 1] = NULL;
	replace(&env[i], text);
}

void set_env(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	char shown[SHOWN_MAX];

	env_own(p, s, n);
	for (size_t i = 0; i < n; i++) {
		size_t len = variable_name(args[i].text);

		if (len == 0 || args[i].text[len] != '=')
			parse_error(p, args[i].column, "%s is not of the form NAME=VALUE",
			            lex_show(args[i].text, shown));
		else
			env_put(s->env, args[i].text, len);
	}
}

void set_later(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *answer = peer_answer(args[i].text);

		if (answer) {
			parse_error(p, p->line->words[0].column, "\"%s\" is not yet supported in this version; %s",
			            d->keyword, answer);
			return;
		}
	}
	parse_error(p, p->line->words[0].column, "\"%s\" is not yet supported in this version", d->keyword);
}
