#include "single/many.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define PATIENCE_MS 12000

/* A service that is asked for. */
struct asked_service {
	struct asked_services *all;
	const struct source *source;
	struct srv_record *records;
	size_t n;
};

struct asked_services {
	const struct config *before; /* with the servers of lists */
	struct asked_service *list;
	size_t n, pending;
};

/* ---- asking ---- */

static void single_service_answered(void *arg, const struct resolve_srv_result *r)
{
	struct asked_service *s = arg;

	s->all->pending--;
	if (r->error)
		log_error("looking up the servers of %s: %s", s->source->of.host, r->why);
	if (r->n == 0)
		return;
	s->records = mem_alloc(r->n * sizeof(*s->records));
	memcpy(s->records, r->records, r->n * sizeof(*s->records));
	s->n = r->n;
}

static void find_services(struct asked_services *all, const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_sources; k++) {
			const struct source *source = &c->sections[i].sources[k];

			if (source->kind != SOURCE_SERVICE)
				continue;
			all->list = mem_resize(all->list, all->n + 1, sizeof(*all->list));
			all->list[all->n++] = (struct asked_service){.source = source};
		}
}

static void ask_all(struct asked_services *all, struct loop *loop, struct resolver *resolver)
{
	int64_t until_ms = clock_mono_ms() + PATIENCE_MS;

	all->pending = all->n;
	for (size_t i = 0; i < all->n; i++) {
		all->list[i].all = all;
		resolve_srv(resolver, all->list[i].source->of.host, single_service_answered, &all->list[i]);
	}
	while (all->pending > 0 && !loop->stop && clock_mono_ms() < until_ms)
		if (loop_turn(loop, (int)(until_ms - clock_mono_ms())) < 0)
			break;
	for (size_t i = 0; i < all->n; i++)
		resolve_cancel(resolver, &all->list[i]);
}

/* ---- what a line stands for ---- */

static void add_record(const struct source *source, const struct srv_record *r, struct buf *lines)
{
	struct server server = source->of;

	server.key = mem_printf("%s:%u", r->host, r->port);
	server.called = NULL;
	server.weight = r->weight ? r->weight : 1;
	server.priority = r->priority;
	server_print(&server, lines);
	buf_addc(lines, '\n');
	free(server.key);
}

/* What a list has brought already. */
static void add_listed(const struct section *section, uint32_t source, struct buf *lines)
{
	for (size_t i = 0; i < section->n_servers; i++) {
		const struct server *server = &section->servers[i];

		if (server->from != FROM_SOURCE || server->source != source)
			continue;
		server_print(server, lines);
		buf_addc(lines, '\n');
	}
}

static char *single_members(void *arg, const struct config *c, const struct section *section,
                            const struct source *source)
{
	const struct asked_services *all = arg;
	struct buf lines = BUF_INIT;

	if (source && source->kind == SOURCE_LIST)
		add_listed(&all->before->sections[section->index], (uint32_t)(source - section->sources), &lines);
	if (source && source->kind == SOURCE_EACH) {
		struct server server = source->of;

		server.called = NULL;
		server_print(&server, &lines);
		buf_addc(&lines, '\n');
	}
	for (size_t i = 0; source && source->kind == SOURCE_SERVICE && i < all->n; i++)
		for (size_t k = 0; strcmp(all->list[i].source->line, source->line) == 0 && k < all->list[i].n; k++)
			add_record(source, &all->list[i].records[k], &lines);
	return lines.s ? buf_detach(&lines) : NULL;
}

struct config *many_expand(struct config *c, struct loop *loop, struct resolver *resolver)
{
	struct asked_services all = {.before = c};
	const struct config_ops world = {.arg = &all, .members = single_members};
	struct config_errors errors = {NULL, 0};
	struct config *now = c;

	if (config_has_sources(c)) {
		find_services(&all, c);
		ask_all(&all, loop, resolver);
		now = config_with_members(c, &world, &errors);
		config_errors_release(&errors);
	}
	for (size_t i = 0; i < all.n; i++)
		free(all.list[i].records);
	free(all.list);
	return now;
}
