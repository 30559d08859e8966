#include "supervisor/meant.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"

static void add(struct meant *m, uint32_t number, uint32_t none)
{
	if (number >= none)
		return;
	for (size_t i = 0; i < m->n; i++)
		if (m->list[i] == number)
			return;
	m->list = mem_resize(m->list, m->n + 1, sizeof(*m->list));
	m->list[m->n++] = number;
}

void meant_release(struct meant *m)
{
	free(m->list);
	free(m->services);
	*m = (struct meant){0};
}

/* ---- services ---- */

/* The whole of it, as in its port line. */
static bool is_called(const struct world *w, const struct config *c, const struct service *service, const char *word)
{
	const struct section *root = &c->sections[service->root];
	uint32_t number;
	uint64_t port;

	if (text_parse_uint(word, 65535, &port))
		return service_has_port(service, (uint16_t)port);
	if (root->called)
		return strcmp(root->called, word) == 0;
	number = world_service(w, c, root);
	return number < COUNTED_SERVICES && strcmp(w->services.list[number].ports, word) == 0;
}

bool meant_section(const struct world *w, const struct config *c, const struct section *s, const char *word)
{
	return (s->called && strcmp(s->called, word) == 0) || is_called(w, c, &c->services[s->service], word);
}

struct meant meant_services(const struct world *w, const struct config *c, const char *word)
{
	struct meant m = {0};

	for (size_t i = 0; i < c->n_services; i++)
		if (is_called(w, c, &c->services[i], word))
			add(&m, world_service(w, c, &c->sections[c->services[i].root]), COUNTED_SERVICES);
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].called && strcmp(c->sections[i].called, word) == 0)
			add(&m, world_service(w, c, &c->sections[i]), COUNTED_SERVICES);
	return m;
}

/* ---- servers ---- */

static bool is_spelt(const struct server *s, const char *word)
{
	return s->key && (strcmp(s->key, word) == 0 || strcmp(server_label(s), word) == 0);
}

/* A line that stands for many means all of them, and itself, for those who come later. */
static bool is_member_of(const struct section *s, const struct server *server, const char *word)
{
	return server->from == FROM_SOURCE && server->source < s->n_sources &&
	       is_spelt(&s->sources[server->source].of, word);
}

static void add_said(struct meant *m, const struct world *w, const struct config *c, const struct section *s,
                     const char *word)
{
	for (size_t k = 0; k < s->n_servers; k++)
		if (is_spelt(&s->servers[k], word))
			add(m, world_target(w, c, s, &s->servers[k]), TARGETS_MAX);
	for (size_t k = 0; k < s->n_sources; k++)
		if (is_spelt(&s->sources[k].of, word))
			add(m, world_target(w, c, s, &s->sources[k].of), TARGETS_MAX);
}

static void add_members(struct meant *m, const struct world *w, const struct config *c, const struct section *s,
                        const char *word)
{
	for (size_t k = 0; k < s->n_servers; k++)
		if (is_member_of(s, &s->servers[k], word))
			add(m, world_target(w, c, s, &s->servers[k]), TARGETS_MAX);
}

static struct meant find(const struct world *w, const struct config *c, const char *service, const char *word)
{
	struct meant m = {0};

	for (size_t i = 0; i < c->n_sections; i++)
		if (!service || meant_section(w, c, &c->sections[i], service))
			add_said(&m, w, c, &c->sections[i], word);
	m.n_said = m.n;
	for (size_t i = 0; i < c->n_sections; i++)
		if (!service || meant_section(w, c, &c->sections[i], service))
			add_members(&m, w, c, &c->sections[i], word);
	return m;
}

static struct meant find_in(const struct world *w, const struct config *c, const char *service, const char *word)
{
	struct meant m = find(w, c, service, word), in = meant_services(w, c, service);

	m.services = in.list;
	m.n_services = in.n;
	if (in.n == 0) /* there was no room for it: it must not mean all */
		m.n = m.n_said = 0;
	return m;
}

struct meant meant_servers(const struct world *w, const struct config *c, const char *service, const char *word)
{
	struct meant m = service ? find_in(w, c, service, word) : find(w, c, NULL, word);
	const char *slash = strchr(word, '/');

	if (m.n == 0 && !service && slash && slash > word) {
		char *before = mem_strndup(word, (size_t)(slash - word));

		m = find_in(w, c, before, slash + 1);
		free(before);
	}
	if (m.n == 0 && !service) { /* one that the file has no longer */
		meant_release(&m);
		add(&m, targets_like(&w->targets, word), TARGETS_MAX);
		m.n_said = m.n;
	}
	return m;
}

bool meant_in(const struct meant *m, const struct world *w, const struct config *c, const struct section *s)
{
	uint32_t service = world_service(w, c, s), whole = service_whole(&w->services, service);

	for (size_t i = 0; i < m->n_services; i++)
		if (m->services[i] == service || m->services[i] == whole)
			return true;
	return m->n_services == 0;
}

/* The configuration has it. */
static bool is_there(const struct world *w, const struct config *c, uint32_t target)
{
	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		for (size_t k = 0; k < s->n_servers; k++)
			if (world_target(w, c, s, &s->servers[k]) == target)
				return true;
		for (size_t k = 0; k < s->n_sources; k++)
			if (s->sources[k].of.key && world_target(w, c, s, &s->sources[k].of) == target)
				return true;
	}
	return false;
}

struct meant meant_configured(const struct world *w, const struct config *c, const char *word, struct buf *why)
{
	struct meant m = meant_servers(w, c, NULL, word);
	size_t n = 0, said = 0;

	for (size_t i = 0; i < m.n; i++)
		if (is_there(w, c, m.list[i])) {
			said += i < m.n_said;
			m.list[n++] = m.list[i];
		}
	m.n = n;
	m.n_said = said;
	if (n == 0)
		buf_addf(why,
		         "\"%s\" is no server of the configuration: write its name, or as it is spelt there, or "
		         "SERVICE/SERVER (see servers)",
		         word);
	return m;
}
