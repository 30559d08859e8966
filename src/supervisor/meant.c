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

static bool section_is_called(const struct world *w, const struct config *c, const struct section *s, const char *word)
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

static struct meant find(const struct world *w, const struct config *c, const char *service, const char *word)
{
	struct meant m = {0};

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (service && !section_is_called(w, c, s, service))
			continue;
		for (size_t k = 0; k < s->n_servers; k++) {
			const struct server *server = &s->servers[k];

			if (strcmp(server->key, word) == 0 || strcmp(server_label(server), word) == 0)
				add(&m, world_target(w, c, s, server), TARGETS_MAX);
		}
	}
	return m;
}

struct meant meant_servers(const struct world *w, const struct config *c, const char *service, const char *word)
{
	struct meant m = find(w, c, service, word);
	const char *slash = strchr(word, '/');

	if (m.n == 0 && !service && slash && slash > word) {
		char *before = mem_strndup(word, (size_t)(slash - word));

		m = find(w, c, before, slash + 1);
		free(before);
	}
	if (m.n == 0 && !service) /* one that the file has no longer */
		add(&m, targets_like(&w->targets, word), TARGETS_MAX);
	return m;
}

bool meant_elsewhere(const struct world *w, const struct config *c, const char *service, uint32_t target)
{
	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (section_is_called(w, c, s, service))
			continue;
		for (size_t k = 0; k < s->n_servers; k++)
			if (world_target(w, c, s, &s->servers[k]) == target)
				return true;
	}
	return false;
}
