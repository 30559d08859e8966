#include "single/lists.h"

#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"

static void tell(struct config_errors *errors)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < errors->n; i++) {
		buf_clear(&text);
		config_error_format(&errors->list[i], &text);
		log_error("%s", text.s);
	}
	config_errors_release(errors);
	buf_release(&text);
}

static char *read_list(void *arg, const struct config *c, const struct section *s, const struct source *source)
{
	const struct config_ops *world = arg;
	struct config_errors errors = {NULL, 0};
	const char *why = "there is no way to read files here";
	char *text, *lines;

	(void)c;
	(void)s;
	if (!source || source->kind != SOURCE_LIST)
		return NULL;
	text = world->read_file ? world->read_file(world->arg, source->path, &why) : NULL;
	if (!text) {
		log_error("cannot read %s: %s", source->path, why);
		return NULL;
	}
	lines = list_parse(source->path, text, world, &errors);
	free(text);
	tell(&errors);
	return lines;
}

struct config *lists_taken(struct config *c, const struct config_ops *world)
{
	const struct config_ops ops = {
	        .arg = (void *)world, .interface_index = world->interface_index, .members = read_list};
	struct config_errors errors = {NULL, 0};
	struct config *now;

	if (!config_has_sources(c))
		return c;
	now = config_with_members(c, &ops, &errors);
	tell(&errors);
	if (!now)
		return c;
	config_free(c);
	return now;
}
