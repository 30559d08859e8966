#include "supervisor/lists.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "supervisor/members.h"
#include "supervisor/state.h"

#define LOOK_MS 500

struct list {
	struct list *next;
	char *line, *path;
	char *text; /* as it was read last; NULL: it could not be */
	char *why;  /* it could not be used, as the log was told; NULL: it could */
	bool wanted;
};

/* ---- what it says ---- */

/* It is told once for each change. */
static void cannot_use(struct list *l, char *why)
{
	if (l->why && strcmp(l->why, why) == 0)
		return;
	free(l->why);
	l->why = mem_strdup(why);
	log_error_lines("", why);
	log_error("%s: the servers stay as they are", l->path);
}

static void use(struct supervisor *s, struct list *l, const char *text)
{
	struct config_errors errors = {NULL, 0};
	char *lines = list_parse(l->path, text, s->setup->world, &errors);
	struct buf why = BUF_INIT;

	for (size_t i = 0; i < errors.n; i++) {
		config_error_format(&errors.list[i], &why);
		buf_addc(&why, '\n');
	}
	config_errors_release(&errors);
	if (lines) {
		free(l->why);
		l->why = NULL;
		members_set(s, l->line, lines);
	} else {
		cannot_use(l, why.s);
	}
	buf_release(&why);
	free(lines);
}

static void look(struct supervisor *s, struct list *l)
{
	const char *why = NULL;
	char *text = files_read(&s->files, l->path, &why);
	bool same = text && l->text && strcmp(text, l->text) == 0;

	if (!text) {
		char *said = mem_printf("cannot read %s: %s", l->path, why);

		cannot_use(l, said);
		free(said);
	} else if (!same) {
		use(s, l, text);
	}
	free(l->text);
	l->text = text;
}

/* ---- which there are ---- */

static struct list *find(const struct supervisor *s, const char *line)
{
	for (struct list *l = s->lists; l; l = l->next)
		if (strcmp(l->line, line) == 0)
			return l;
	return NULL;
}

static void want(struct supervisor *s, const struct source *source)
{
	struct list *l = source->kind == SOURCE_LIST ? find(s, source->line) : NULL;

	if (source->kind != SOURCE_LIST)
		return;
	if (!l) {
		l = mem_alloc(sizeof(*l));
		*l = (struct list){
		        .next = s->lists, .line = mem_strdup(source->line), .path = mem_strdup(source->path)};
		s->lists = l;
		look(s, l);
	}
	l->wanted = true;
}

static void list_free(struct list *l)
{
	free(l->line);
	free(l->path);
	free(l->text);
	free(l->why);
	free(l);
}

static void drop_unwanted(struct supervisor *s)
{
	struct list **at = &s->lists;

	while (*at) {
		struct list *l = *at;

		if (l->wanted) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		list_free(l);
	}
}

static void lists_due(void *arg)
{
	struct supervisor *s = arg;

	for (struct list *l = s->lists; l; l = l->next)
		look(s, l);
	if (s->lists)
		timer_set(&s->loop, &s->lists_timer, s->loop.now_ms + LOOK_MS, lists_due, s);
}

void lists_look_after(struct supervisor *s)
{
	for (struct list *l = s->lists; l; l = l->next)
		l->wanted = false;
	members_of_sources(s, s->members.read, want);
	drop_unwanted(s);
	if (s->lists && !s->lists_timer.place)
		timer_set(&s->loop, &s->lists_timer, s->loop.now_ms + LOOK_MS, lists_due, s);
}

void lists_read(struct supervisor *s, const struct config *c)
{
	members_of_sources(s, c, want);
}

void lists_end(struct supervisor *s)
{
	timer_clear(&s->loop, &s->lists_timer);
	for (struct list *l = s->lists; l; l = l->next)
		l->wanted = false;
	drop_unwanted(s);
}
