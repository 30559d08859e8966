#include "supervisor/crowds.h"

#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "supervisor/members.h"
#include "supervisor/state.h"

static const struct source *find(const struct config *c, uint64_t id)
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_sources; k++) {
			const struct source *source = &c->sections[i].sources[k];

			if ((source->kind == SOURCE_EACH || source->kind == SOURCE_SERVICE) &&
			    crowd_id(source->line) == id)
				return source;
		}
	return NULL;
}

/* What the line says of a port, nobody else can say; a record has one, a priority and a weight, which an address has not. */
static bool may_be(const struct source *source, const struct member *m)
{
	if (source->kind == SOURCE_SERVICE)
		return m->addr.port > 0;
	return m->addr.port == source->of.port && m->priority == 0 && m->weight == 0;
}

static void add(const struct source *source, const struct member *m, struct buf *lines)
{
	struct server server = source->of;
	char key[ADDR_TEXT_MAX];

	addr_format_port(&m->addr, key);
	if (m->addr.port == 0)
		addr_format_bracket(&m->addr, key);
	server.key = key;
	server.called = NULL;
	server.priority = m->priority;
	if (source->kind == SOURCE_SERVICE)
		server.weight = m->weight ? m->weight : 1; /* RFC 2782: a small chance */
	server_print(&server, lines);
	buf_addc(lines, '\n');
}

void crowds_told(struct supervisor *s, uint64_t id, const struct member *list, size_t n)
{
	const struct source *source = find(s->rules.config, id);
	struct buf lines = BUF_INIT;

	if (!source)
		return; /* of rules that hold no more */
	for (size_t i = 0; i < n; i++) {
		if (!may_be(source, &list[i])) {
			log_error("the checker says of %s what cannot be: what was known of it holds", source->of.key);
			buf_release(&lines);
			return;
		}
		add(source, &list[i], &lines);
	}
	members_set(s, source->line, lines.s ? lines.s : "");
	buf_release(&lines);
}
