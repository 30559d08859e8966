/* openings.c - sni and protocol: sections for clients that begin in a certain way. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/openings.h"
#include "config/parser.h"

#define NAME_MAX_LEN  253
#define ALPN_WORD_MAX 255
#define SILENCE_MS    1000 /* a user notices */

static void add_word(char ***list, const char *text, size_t len)
{
	size_t n = 0;

	while (*list && (*list)[n])
		n++;
	*list = mem_resize(*list, n + 2, sizeof(**list));
	(*list)[n] = mem_strndup(text, len);
	(*list)[n + 1] = NULL;
}

/* ---- sni ---- */

/* Static text: what is wrong with it; NULL: nothing. */
static const char *host_pattern_check(const char *text)
{
	const char *labels = text[0] == '*' && text[1] == '.' ? text + 2 : text[0] == '.' ? text + 1 : text;
	size_t len = strlen(labels);

	if (len > 0 && labels[len - 1] == '.')
		len--;
	if (strchr(labels, '*'))
		return "is no pattern: *.example.com, .example.com";
	if (len == 0 || labels[0] == '.')
		return "is no name: www.example.com, *.example.com, .example.com, or none";
	if (len > NAME_MAX_LEN)
		return "is too long for a name: 253 characters at most";
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)labels[i] >= 0x80)
			return "is not spelt as TLS has it: names of other letters begin with xn--";
		if (!isalnum((unsigned char)labels[i]) && !strchr("-_.", labels[i]))
			return "is no name: letters, digits, '-', '_' and '.' make one";
		if (labels[i] == '.' && labels[i + 1] == '.')
			return "is no name: two dots follow each other";
	}
	return NULL;
}

static void read_sni(struct parser *p, struct opening *o, const struct word *w)
{
	const char *why = host_pattern_check(w->text);
	size_t len = strlen(w->text);
	char shown[SHOWN_MAX];
	char *name;

	if (why) {
		parse_error(p, w->column, "%s %s", lex_show(w->text, shown), why);
		return;
	}
	if (len > 1 && w->text[len - 1] == '.')
		len--;
	name = mem_strndup(w->text, len);
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	add_word(&o->words, name, len);
	free(name);
}

static void read_alpn(struct parser *p, struct opening *o, const struct word *w)
{
	const char *at = w->text + strlen("alpn=");

	if (o->alpn) {
		parse_error(p, w->column, "\"alpn=\" is said twice in this line");
		return;
	}
	for (;;) {
		size_t len = strcspn(at, ",");

		if (len == 0 || len > ALPN_WORD_MAX) {
			parse_error(p, w->column, "\"alpn=\" needs protocols, as in alpn=h2,http/1.1");
			return;
		}
		add_word(&o->alpn, at, len);
		if (!at[len])
			return;
		at += len + 1;
	}
}

void set_sni(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct opening *o = &parse_section(p)->opening;

	o->kind = OPENING_SNI;
	called_section(p, args, &n);
	for (size_t i = 0; i < n; i++) {
		if (!strncmp(args[i].text, "alpn=", 5))
			read_alpn(p, o, &args[i]);
		else
			read_sni(p, o, &args[i]);
	}
	if (!strcmp(args[0].text, "as") || !strncmp(args[0].text, "alpn=", 5))
		parse_error(p, args[0].column, "a name is missing before %s",
		            args[0].text[1] == 's' ? "\"as\"" : "\"alpn=\"");
}

/* ---- protocol ---- */

static void read_pattern(struct parser *p, struct opening *o, const struct word *w)
{
	struct sniff_pattern pattern;
	const char *why = sniff_pattern_read(w->text, &pattern);
	char shown[SHOWN_MAX];

	if (why) {
		parse_error(p, w->column, "%s %s", lex_show(w->text, shown), why);
		return;
	}
	o->patterns = mem_resize(o->patterns, o->n_patterns + 1, sizeof(*o->patterns));
	o->patterns[o->n_patterns++] = pattern;
	add_word(&o->words, w->text, strlen(w->text));
}

/* Where the server speaks first nothing can be told. */
static bool speaks_second(const char *word)
{
	static const char *const words[] = {"mysql", "mariadb", "smtp", "ftp", "pop3", "imap", "telnet", "vnc"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcasecmp(words[i], word))
			return true;
	return false;
}

static void read_protocol(struct parser *p, struct opening *o, const struct word *w)
{
	enum sniff_word word = sniff_word(w->text);
	char shown[SHOWN_MAX];

	if (sniff_is_pattern(w->text)) {
		read_pattern(p, o, w);
	} else if (word) {
		o->sniffs |= 1u << word;
		add_word(&o->words, w->text, strlen(w->text));
	} else if (speaks_second(w->text)) {
		parse_error(p, w->column, "%s is not known by its clients, since its server speaks first: say silent",
		            lex_show(w->text, shown));
	} else {
		parse_error(p, w->column,
		            "%s is no protocol that is known by its beginning: tls, ssh, http, socks, postgres, redis, "
		            "other, silent, hex:BYTES or text:BYTES",
		            lex_show(w->text, shown));
	}
}

void set_protocol(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct opening *o = &parse_section(p)->opening;

	o->kind = OPENING_PROTOCOL;
	called_section(p, args, &n);
	for (size_t i = 0; i < n; i++)
		read_protocol(p, o, &args[i]);
}

/* ---- starttls ---- */

void set_starttls(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	static const char *const others[] = {"ldap", "xmpp", "mysql", "ftp", "nntp", "sieve", "lmtp"};
	const char *word = args[0].text;
	char shown[SHOWN_MAX];

	parse_section(p)->starttls = starttls_word(word);
	if (parse_section(p)->starttls || !strcmp(word, "off"))
		return;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (!strcmp(others[i], word)) {
			parse_error(p, args[0].column, "\"starttls %s\" is not yet supported in this version", word);
			return;
		}
	parse_error(p, args[0].column, "%s: postgres, smtp, imap, pop3 or off belongs behind \"starttls\"",
	            lex_show(word, shown));
}

/* ---- what they come to ---- */

void opening_check_column(struct parser *p, const char *keyword)
{
	const struct place *opened = &p->places[p->section];
	struct place here = place_here(p, p->line->words[0].column);
	struct buf what = BUF_INIT;

	if (here.column >= opened->column || here.file != opened->file)
		return;
	opening_print(parse_section(p), &what);
	parse_warning_at(p, &here, "\"%s\" belongs to \"%s\" (line %u), though it stands further left", keyword, what.s,
	                 opened->line);
	buf_release(&what);
}

/* Some protocol leads to both, or all do. */
static bool alpn_meets(char **a, char **b)
{
	if (!a || !b)
		return !a && !b;
	for (; *a; a++)
		for (char **other = b; *other; other++)
			if (!strcmp(*a, *other))
				return true;
	return false;
}

/* ".a" is "a" and "*.a". */
static bool names_meet(const char *a, const char *b)
{
	if (!strcmp(a, b))
		return true;
	if (b[0] == '.')
		return names_meet(b, a);
	return a[0] == '.' && (!strcmp(a + 1, b) || (b[0] == '*' && !strcmp(a, b + 1)));
}

static bool words_meet(const struct opening *a, const struct opening *b, const char *wa, const char *wb)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == OPENING_SNI ? names_meet(wa, wb) && alpn_meets(a->alpn, b->alpn) : !strcmp(wa, wb);
}

static void said_twice(struct parser *p, const struct section *first, const struct section *second, const char *a,
                       const char *b)
{
	const struct place *before = &p->places[first->index], *here = &p->places[second->index];
	const char *keyword = second->opening.kind == OPENING_SNI ? "sni" : "protocol";
	struct buf where = BUF_INIT;

	if (before->file == here->file && !before->command_line)
		buf_addf(&where, "line %u", before->line);
	else
		buf_adds(&where, first->origin);
	if (!strcmp(a, b))
		parse_error_at(p, here, "\"%s %s\" stands here and in %s", keyword, b, where.s);
	else
		parse_error_at(p, here,
		               "\"%s %s\" stands here, and \"%s %s\" in %s: what begins with a dot is both %s and *%s",
		               keyword, b, keyword, a, where.s, (a[0] == '.' ? a : b) + 1, a[0] == '.' ? a : b);
	buf_release(&where);
}

/* One message for each pair of sections says enough. */
static void compare_openings(struct parser *p, const struct section *first, const struct section *second)
{
	const struct opening *a = &first->opening, *b = &second->opening;

	for (char **wa = a->words; wa && *wa; wa++)
		for (char **wb = first == second ? wa + 1 : b->words; wb && *wb; wb++)
			if (words_meet(a, b, *wa, *wb)) {
				said_twice(p, first, second, *wa, *wb);
				return;
			}
}

/* At these ports a server has the first word, and its clients say nothing before. */
static bool speaks_first(uint16_t port)
{
	static const uint16_t ports[] = {21, 22, 25, 110, 143, 3306};

	for (size_t i = 0; i < ARRAY_LEN(ports); i++)
		if (ports[i] == port)
			return true;
	return false;
}

/* One of its servers does; NULL: none. */
static const struct server *find_first_speaker(const struct parser *p, const struct section *section)
{
	uint16_t own = service_first_port(&p->c->services[section->service]);

	for (size_t i = 0; i < section->n_servers; i++) {
		const struct server *s = &section->servers[i];

		if (s->kind == SERVER_HOST && speaks_first(s->port ? s->port : own))
			return s;
	}
	return NULL;
}

/* Who is silent comes to the section's own servers, or to those that are for him. */
static void warn_of_silence(struct parser *p, const struct section *owner)
{
	const struct server *s = find_first_speaker(p, owner);
	char text[TEXT_TIME_MAX];

	for (uint32_t i = 1; i <= owner->n_openings && !s; i++)
		if (owner[i].opening.sniffs & 1u << SNIFF_SILENT)
			s = find_first_speaker(p, &owner[i]);
	if (!s)
		return;
	text_format_time(owner->speak_timeout_ms, text);
	parse_warning_at(p, &p->places[owner->index],
	                 "%s speaks first, and its clients wait for that: they come to it only after speak-timeout "
	                 "(%s%s), since "
	                 "there is sni or protocol here; 0.2 will do",
	                 s->key, text, isdigit((unsigned char)text[strlen(text) - 1]) ? " s" : "");
}

void openings_check(struct parser *p)
{
	const struct config *c = p->c;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *owner = &c->sections[i];

		for (uint32_t k = 1; k <= owner->n_openings; k++)
			for (uint32_t j = 1; j <= k; j++)
				compare_openings(p, owner + j, owner + k);
		if (owner->n_openings > 0 && !owner->starttls && owner->speak_timeout_ms >= SILENCE_MS)
			warn_of_silence(p, owner);
	}
}
