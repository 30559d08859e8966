#include "supervisor/members.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "supervisor/state.h"

#define TOGETHER_MS 50   /* changes that come within it are one */
#define AGAIN_MS    1000 /* when nothing can be changed now */

/* ---- the parser asks ---- */

static bool says_the_same(const struct entry *e, const struct server *server, const struct source *source)
{
	struct buf text = BUF_INIT;
	bool same;

	if (source)
		return strcmp(source->line, e->server) == 0;
	server_print(server, &text);
	same = strcmp(text.s, e->server) == 0;
	buf_release(&text);
	return same;
}

/* Taken out: unless its line says something else now, which is then what holds. */
static bool is_removed(void *arg, const struct config *c, const struct section *section, const struct server *server,
                       const struct source *source)
{
	struct supervisor *s = arg;
	struct buf key = BUF_INIT;
	struct entry *e;

	if (s->members.roster.n_entries == 0)
		return false;
	section_key(c, section, &key);
	e = roster_find(&s->members.roster, key.s, server->key);
	buf_release(&key);
	if (!e || e->added || e->stands != (source != NULL))
		return false;
	e->met = true;
	e->stale = !says_the_same(e, server, source);
	return !e->stale;
}

static char *lines_added(struct supervisor *s, const struct config *c, const struct section *section)
{
	struct buf key = BUF_INIT, lines = BUF_INIT;

	section_key(c, section, &key);
	for (size_t i = 0; i < s->members.roster.n_entries; i++) {
		struct entry *e = &s->members.roster.entries[i];

		if (e->added && strcmp(e->section, key.s) == 0)
			buf_addf(&lines, "%s\n", e->server);
	}
	buf_release(&key);
	return lines.s ? buf_detach(&lines) : NULL;
}

static char *lines_of(void *arg, const struct config *c, const struct section *section, const struct source *source)
{
	struct supervisor *s = arg;
	const struct brought *b;

	if (!source)
		return lines_added(s, c, section);
	b = roster_brought(&s->members.roster, source->line);
	return b ? mem_strdup(b->lines) : NULL;
}

/* ---- a configuration with its members ---- */

/* What is wrong with a member; what is wrong with the file was said when that was read. */
static void tell_warnings(const struct config *c)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < c->warnings.n; i++) {
		if (!c->warnings.list[i].file || !*c->warnings.list[i].file)
			continue;
		buf_clear(&text);
		config_error_format(&c->warnings.list[i], &text);
		log_warning("%s", text.s);
	}
	buf_release(&text);
}

struct config *members_expand(struct supervisor *s, struct config *read, struct buf *why)
{
	const struct config_ops world = {.arg = s,
	                                 .interface_index = s->setup->world->interface_index,
	                                 .members = lines_of,
	                                 .removed = is_removed};
	struct config_errors errors = {NULL, 0};
	struct config *c;

	if (!config_has_sources(read) && s->members.roster.n_entries == 0)
		return read;
	s->members.events->read(s, read);
	for (size_t i = 0; i < s->members.roster.n_entries; i++)
		s->members.roster.entries[i].met = s->members.roster.entries[i].stale = false;
	c = config_with_members(read, &world, &errors);
	for (size_t i = 0; i < errors.n; i++) {
		config_error_format(&errors.list[i], why);
		buf_addc(why, '\n');
	}
	config_errors_release(&errors);
	if (c)
		tell_warnings(c);
	return c;
}

/* ---- what is known is kept ---- */

static void keep(struct supervisor *s)
{
	struct world *w = s->children.workers.world;
	struct buf text = BUF_INIT;

	roster_print(&s->members.roster, &text);
	if (!kept_write(&w->kept, text.s, text.len))
		log_error("there are more servers than can be kept for the next supervisor: should this one die, lists "
		          "are "
		          "read anew");
	buf_release(&text);
}

static void want(struct supervisor *s, const struct source *source)
{
	for (size_t i = 0; i < s->members.roster.n_brought; i++)
		if (strcmp(s->members.roster.brought[i].line, source->line) == 0)
			s->members.roster.brought[i].wanted = true;
}

/* Each line once: also those that several sections inherit or say. */
static bool said_before(const struct config *c, size_t section, size_t source)
{
	const struct source *now = &c->sections[section].sources[source];

	for (size_t i = 0; i <= section; i++)
		for (size_t k = 0; k < (i < section ? c->sections[i].n_sources : source); k++)
			if (strcmp(c->sections[i].sources[k].line, now->line) == 0)
				return true;
	return false;
}

void members_of_sources(struct supervisor *s, const struct config *c,
                        void (*each)(struct supervisor *s, const struct source *source))
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_sources; k++)
			if (!said_before(c, i, k))
				each(s, &c->sections[i].sources[k]);
}

static const struct server *server_of(const struct config *c, const struct entry *e)
{
	const struct section *s = config_section(c, e->section);

	for (size_t i = 0; s && i < s->n_servers; i++)
		if (strcmp(s->servers[i].key, e->key) == 0)
			return &s->servers[i];
	return NULL;
}

const char *members_word(const struct supervisor *s, const struct section *section)
{
	uint32_t i = section ? world_service(s->children.workers.world, s->rules.config, section) : COUNTED_SERVICES;

	return i < COUNTED_SERVICES ? service_label(&s->children.workers.world->services.list[i]) : NULL;
}

static void tell_settled(const struct supervisor *s, const struct entry *e, const struct server *server)
{
	const char *service = members_word(s, config_section(s->rules.config, e->section));
	const char *label = e->called ? e->called : e->key;

	if (!service)
		service = e->section;
	if (e->added && server)
		log_info("%s of %s, which tcpproxyctl had added, is in the file now", label, service);
	else if (e->added)
		log_warning("%s, which tcpproxyctl had added to %s, is forgotten: there is no such pool any more",
		            label, service);
	else
		log_warning("the file says something else of %s now, so it holds; changes by tcpproxyctl that are "
		            "forgotten: remove %s %s",
		            label, service, label);
}

/* Of a pool of which a whole line is away nobody knows what that would bring. */
static bool is_behind_a_line(const struct roster *r, const struct entry *e)
{
	for (size_t i = 0; i < r->n_entries; i++)
		if (r->entries[i].stands && r->entries[i].met && !r->entries[i].stale &&
		    strcmp(r->entries[i].section, e->section) == 0)
			return !e->added && !e->stands && !e->met;
	return false;
}

/* The file speaks: of one that was added, or of one that was taken out. */
static void settle(struct supervisor *s)
{
	struct roster *r = &s->members.roster;

	for (size_t i = r->n_entries; i-- > 0;) {
		struct entry *e = &r->entries[i];
		const struct server *server = server_of(s->rules.config, e);

		if (e->added ? server && server->from == FROM_ADDED : (e->met && !e->stale) || is_behind_a_line(r, e))
			continue;
		tell_settled(s, e, server);
		roster_drop(r, e);
	}
}

void members_took(struct supervisor *s, struct config *read)
{
	struct roster *r = &s->members.roster;

	if (read != s->members.read)
		config_free(s->members.read);
	s->members.read = read;
	s->members.dirty = false; /* all that had changed is in it */
	timer_clear(&s->loop, &s->members.timer);
	settle(s);
	for (size_t i = 0; i < r->n_brought; i++)
		r->brought[i].wanted = false;
	members_of_sources(s, read, want);
	roster_forget_brought(r);
	keep(s);
	s->members.events->look_after(s);
}

/* ---- changes ---- */

static void take_later(struct supervisor *s, int64_t in_ms);

static void obeyed(void *arg, const char *missing)
{
	struct supervisor *s = arg;

	(void)missing; /* which was said */
	s->members.telling = false;
	if (s->members.dirty)
		take_later(s, 0);
}

void members_take(struct supervisor *s)
{
	struct buf why = BUF_INIT;
	struct config *next = members_expand(s, s->members.read, &why);

	if (!next) {
		log_error_lines("the servers cannot be changed: ", why.s);
		buf_release(&why);
		return;
	}
	rules_take(s, next);
	members_took(s, s->members.read);
	if (s->phase == PHASE_STARTING) /* those who are to hear of it are started with it */
		return;
	page_child_reload(&s->children.page);
	checker_child_reload(&s->children.checker);
	s->members.telling = true;
	told_wait(&s->children.workers, obeyed, s);
}

static void members_due(void *arg)
{
	struct supervisor *s = arg;

	if (!s->members.dirty || s->members.telling)
		return;
	if (s->phase == PHASE_STARTING) {
		take_later(s, AGAIN_MS);
		return;
	}
	s->members.dirty = false;
	if (!phase_refuses(s->phase, REQUEST_RELOAD))
		members_take(s);
}

static void take_later(struct supervisor *s, int64_t in_ms)
{
	s->members.dirty = true;
	if (!s->members.timer.place)
		timer_set(&s->loop, &s->members.timer, s->loop.now_ms + in_ms, members_due, s);
}

void members_set(struct supervisor *s, const char *line, const char *lines)
{
	if (roster_bring(&s->members.roster, line, lines))
		take_later(s, TOGETHER_MS);
}

/* ---- the start ---- */

void members_begin(struct supervisor *s)
{
	char *text = kept_read(&s->children.workers.world->kept);
	struct buf why = BUF_INIT;
	struct config *next;

	roster_parse(text, &s->members.roster);
	free(text);
	s->members.read = s->rules.config;
	next = members_expand(s, s->members.read, &why);
	if (next) {
		s->rules.config = next;
		members_took(s, s->members.read);
	} else {
		log_error_lines("the servers cannot be changed: ", why.s);
	}
	buf_release(&why);
}

void members_end(struct supervisor *s)
{
	timer_clear(&s->loop, &s->members.timer);
}
