/* reparse.c - texts that are parsed for their servers: a list, a single server, a configuration once more with its members. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

/* The configuration is the same, and where it was read is, too. */
static void keep_origins(struct config *now, const struct config *read)
{
	for (size_t i = 0; i < now->n_sections && i < read->n_sections; i++) {
		free(now->sections[i].origin);
		now->sections[i].origin = mem_strdup(read->sections[i].origin);
	}
	words_free(now->files);
	words_free(now->patterns);
	now->files = words_again(read->files);
	now->patterns = words_again(read->patterns);
}

struct config *config_with_members(const struct config *c, const struct config_ops *world, struct config_errors *errors)
{
	struct buf text = BUF_INIT;
	struct config *now;

	config_print(c, &text);
	now = config_parse("", text.s ? text.s : "", world, errors);
	buf_release(&text);
	if (now)
		keep_origins(now, c);
	return now;
}

/* A configuration that consists of this list. */
static struct config *parse_servers(const char *path, const char *text, const struct config_ops *world,
                                    struct config_errors *errors)
{
	const struct config_ops ops = {.arg = world ? world->arg : NULL,
	                               .service_port = world ? world->service_port : NULL};
	const struct config_source sources[] = {{.name = "", .text = "port 1\n"},
	                                        {.name = path, .path = path, .text = text, .is_list = true}};

	return config_parse_sources(sources, 2, &ops, errors);
}

char *list_parse(const char *path, const char *text, const struct config_ops *world, struct config_errors *errors)
{
	struct config *c = parse_servers(path, text, world, errors);
	struct buf lines = BUF_INIT;

	if (!c)
		return NULL;
	for (size_t i = 0; i < c->sections[0].n_servers; i++) {
		server_print(&c->sections[0].servers[i], &lines);
		buf_addc(&lines, '\n');
	}
	config_free(c);
	return buf_detach(&lines);
}

bool source_parse(const char *line, struct server *ret)
{
	static const struct config_ops nothing;
	struct config_errors errors = {NULL, 0};
	char *text = mem_printf("port 1\n%s\n", line);
	struct config *c = config_parse("", text, &nothing, &errors);
	struct section *s = c ? &c->sections[0] : NULL;
	bool ok = s && s->n_servers == 0 && s->n_sources == 1 && s->sources[0].of.key;

	free(text);
	if (ok) {
		*ret = s->sources[0].of;
		s->sources[0].of = (struct server){0};
	}
	config_errors_release(&errors);
	config_free(c);
	return ok;
}

bool server_parse(const char *text, const struct config_ops *world, struct server *ret, struct buf *why)
{
	struct config_errors errors = {NULL, 0};
	char *line = mem_printf("%s\n", text);
	struct config *c = parse_servers("", line, world, &errors);
	struct section *s = c ? &c->sections[0] : NULL;
	bool ok = s && s->n_servers == 1;

	free(line);
	if (ok)
		*ret = s->servers[--s->n_servers];
	else if (why)
		buf_adds(why, errors.n ? errors.list[0].message : "this is one server: HOST[:PORT] and its words");
	config_errors_release(&errors);
	config_free(c);
	return ok;
}
