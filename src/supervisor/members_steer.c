#include "supervisor/members_steer.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "ipc/changes.h"
#include "supervisor/meant.h"
#include "supervisor/state.h"

/* ---- whose pool ---- */

/* The section that a word means: the whole of a service, or one of its sections that has this name. */
static bool is_meant(const struct supervisor *s, const struct section *section, const char *word)
{
	const struct config *c = s->rules.config;
	bool whole = section->index == c->services[section->service].root;

	return whole ? meant_section(s->children.workers.world, c, section, word)
	             : section->called && strcmp(section->called, word) == 0;
}

static bool has_own_pool(const struct config *c, const struct section *section)
{
	const struct section *root = &c->sections[c->services[section->service].root];

	return section->has_pool && !section_is_program(section) &&
	       (section == root || section->servers != root->servers);
}

static void say_whose_pool(const struct service *service, const char *word, struct buf *why)
{
	buf_addf(why, "%s has the servers of its service, port ", word);
	service_ports(service, why);
	buf_adds(why, ": change those");
}

static void say_no_pool(const struct config *c, const struct section *section, const char *word, struct buf *why)
{
	if (!section)
		buf_addf(why, "\"%s\" is no service: write its name or its port (see status)", word);
	else if (section_is_program(section))
		buf_addf(why, "%s leads to a program, not to servers", word);
	else if (section->has_pool)
		say_whose_pool(&c->services[section->service], word, why);
	else
		buf_addf(why,
		         "%s has no servers of its own, and several of its sections have: give them names (interface "
		         "ADDRESS as NAME)",
		         word);
}

/* Of a service that has none itself, the one pool of its sections. NULL: there are several. */
static const struct section *only_pool(const struct config *c, const struct section *root)
{
	const struct service *service = &c->services[root->service];
	const struct section *found = NULL;

	for (uint32_t i = 0; i < service->n_sections; i++) {
		const struct section *section = &c->sections[service->first_section + i];

		if (has_own_pool(c, section) && found)
			return NULL;
		if (has_own_pool(c, section))
			found = section;
	}
	return found;
}

/* NULL: why says what is wrong. */
static const struct section *find_pool(const struct supervisor *s, const char *word, struct buf *why)
{
	const struct config *c = s->rules.config;
	const struct section *any = NULL, *found = NULL;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *section = &c->sections[i];

		if (!is_meant(s, section, word))
			continue;
		any = section;
		if (!has_own_pool(c, section))
			continue;
		if (found) {
			buf_addf(why, "\"%s\" is several services: give them names (port %s as NAME)", word, word);
			return NULL;
		}
		found = section;
	}
	if (!found && any && !any->has_pool)
		found = only_pool(c, any);
	if (!found)
		say_no_pool(c, any, word, why);
	return found;
}

static const struct section *section_of(const struct supervisor *s, const struct entry *e)
{
	return config_section(s->rules.config, e->section);
}

/* ---- one more, one less ---- */

/* What is wrong with it where it would stand. */
static bool fits(struct supervisor *s, const char *section, const char *key, struct buf *why)
{
	struct config *c = members_expand(s, s->members.read, why);
	const struct section *in = c ? config_section(c, section) : NULL;
	bool there = false;

	for (size_t i = 0; in && i < in->n_servers; i++)
		there |= in->servers[i].from == FROM_ADDED && strcmp(in->servers[i].key, key) == 0;
	if (!there && why->len == 0)
		buf_addf(why, "%s cannot be added: the pool, or tcpproxy, has as many servers as it can have", key);
	if (c != s->members.read)
		config_free(c);
	return there;
}

/* The name is another server's: of the pool, or its host's. */
static bool name_is_free(const struct supervisor *s, const struct section *section, const struct server *server,
                         struct buf *why)
{
	const struct config *c = s->rules.config;

	for (size_t i = 0; server->called && i < c->n_sections; i++) {
		if (c->sections[i].service != section->service)
			continue;
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			const struct server *other = &c->sections[i].servers[k];

			if ((other->called && strcmp(other->called, server->called) == 0) ||
			    (other->host && strcmp(other->host, server->called) == 0)) {
				buf_addf(why, "\"%s\" is the name, or the host, of another server: %s", server->called,
				         other->key);
				return false;
			}
		}
	}
	return true;
}

static const struct server *find_server(const struct section *section, const char *word)
{
	for (size_t i = 0; i < section->n_servers; i++)
		if (strcmp(section->servers[i].key, word) == 0 || strcmp(server_label(&section->servers[i]), word) == 0)
			return &section->servers[i];
	return NULL;
}

/* A line that stands for many. */
static const struct source *find_line(const struct section *section, const char *word)
{
	for (size_t i = 0; i < section->n_sources; i++) {
		const struct server *of = &section->sources[i].of;

		if (of->key && (strcmp(of->key, word) == 0 || strcmp(server_label(of), word) == 0))
			return &section->sources[i];
	}
	return NULL;
}

static bool add(struct supervisor *s, const struct section *section, const struct server *server, const char *word,
                struct buf *text)
{
	struct roster *r = &s->members.roster;
	struct buf key = BUF_INIT, line = BUF_INIT;
	struct entry *e;
	bool ok = false;

	section_key(s->rules.config, section, &key);
	server_print(server, &line);
	e = roster_find(r, key.s, server->key);
	if (find_server(section, server->key)) {
		buf_addf(text, "%s is a server of %s already", server->key, word);
	} else if (e && !e->added && strcmp(e->server, line.s) != 0) {
		buf_addf(text, "%s was removed from %s, where the file says \"server %s\": forget %s brings it back",
		         e->key, word, e->server, e->key);
	} else if (e && !e->added) {
		roster_drop(r, e);
		ok = true;
	} else if (name_is_free(s, section, server, text)) {
		roster_add(r, true, key.s, server);
		ok = fits(s, key.s, server->key, text);
		if (!ok)
			roster_drop(r, &r->entries[r->n_entries - 1]);
	}
	buf_release(&key);
	buf_release(&line);
	return ok;
}

bool members_add(struct supervisor *s, const char *service, const char *server, struct buf *text)
{
	const struct section *section = find_pool(s, service, text);
	struct server new;
	bool ok;

	if (!section || !server_parse(server, s->setup->world, &new, text))
		return false;
	ok = add(s, section, &new, service, text);
	if (ok) {
		members_take(s);
		buf_addf(text, "%s is a server of %s now", server_label(&new), service);
	}
	server_release(&new);
	return ok;
}

/* key: of the section. False: `text` says why not. */
static bool take_out(struct supervisor *s, const struct section *section, const char *key, const char *service,
                     const char *word, struct buf *text)
{
	struct roster *r = &s->members.roster;
	const struct server *found = find_server(section, word);
	const struct source *line = found ? NULL : find_line(section, word);
	struct entry *e = roster_find(r, key, found ? found->key : word);

	if (found && found->from == FROM_ADDED && e) {
		roster_drop(r, e);
	} else if (found) {
		roster_add(r, false, key, found);
	} else if (e) {
		buf_addf(text, "%s is removed from %s already (forget %s brings it back)", word, service, word);
		return false;
	} else if (!line || !roster_add_line(r, key, line->line)) {
		buf_addf(text, "%s has no server \"%s\" (see servers)", service, word);
		return false;
	}
	if (line)
		buf_addf(text,
		         "%s brings %s no servers any more: they get no new connections, those that there are stay",
		         server_label(&line->of), service);
	else
		buf_addf(text, "%s is no server of %s any more: it gets no new connections, those that there are stay",
		         server_label(found), service);
	return true;
}

bool members_remove(struct supervisor *s, const char *service, const char *server, struct buf *text)
{
	const struct section *section = find_pool(s, service, text);
	struct buf key = BUF_INIT;
	bool done;

	if (!section)
		return false;
	section_key(s->rules.config, section, &key);
	done = take_out(s, section, key.s, service, server, text);
	buf_release(&key);
	if (done)
		members_take(s);
	return done;
}

/* ---- back to the file ---- */

/* "SERVER", or "SERVICE/SERVER". */
static bool is_about(const struct supervisor *s, const struct entry *e, const char *word)
{
	const struct section *section = section_of(s, e);
	const char *slash = strchr(word, '/');
	char *before;
	bool ok;

	if (strcmp(e->key, word) == 0 || (e->called && strcmp(e->called, word) == 0))
		return true;
	if (!slash || !section || (strcmp(e->key, slash + 1) != 0 && (!e->called || strcmp(e->called, slash + 1) != 0)))
		return false;
	before = mem_strndup(word, (size_t)(slash - word));
	ok = is_meant(s, section, before);
	free(before);
	return ok;
}

bool members_forget(struct supervisor *s, const char *server)
{
	struct roster *r = &s->members.roster;
	bool any = false;

	for (size_t i = r->n_entries; i-- > 0;) {
		if (server && !is_about(s, &r->entries[i], server))
			continue;
		roster_drop(r, &r->entries[i]);
		any = true;
	}
	if (any)
		members_take(s);
	return any;
}

/* ---- what is changed ---- */

static const char *label_of(const struct entry *e)
{
	return e->called ? e->called : e->key;
}

void members_changes(const struct supervisor *s, struct buf *out)
{
	for (size_t i = 0; i < s->members.roster.n_entries; i++) {
		const struct entry *e = &s->members.roster.entries[i];
		const struct section *section = section_of(s, e);

		if (section)
			changes_of_pool(e->added, members_word(s, section), e->added ? e->server : label_of(e), out);
	}
}

void members_tell(const struct supervisor *s)
{
	for (size_t i = 0; i < s->members.roster.n_entries; i++) {
		const struct entry *e = &s->members.roster.entries[i];

		log_info("reload: %s is still %s (tcpproxyctl forget %s)", label_of(e), e->added ? "added" : "removed",
		         label_of(e));
	}
}
