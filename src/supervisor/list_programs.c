#include "supervisor/list_programs.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "supervisor/lists.h"
#include "supervisor/members.h"
#include "supervisor/state.h"

struct list_program {
	struct list_program *next;
	char *line, *path;
	char *told; /* what was wrong with its last list; NULL: nothing */
	bool wanted;
};

static struct list_program *find(const struct supervisor *s, const char *line)
{
	struct list_program *p = s->list_programs;

	while (p && strcmp(p->line, line) != 0)
		p = p->next;
	return p;
}

void list_programs_heard(struct supervisor *s, const char *line, const char *list)
{
	struct list_program *p = find(s, line);

	if (p && !list_take(s, p->line, p->path, list, &p->told))
		atomic_fetch_add(&s->children.workers.world->programs.failed[PROGRAM_SERVERS], 1);
}

static void want(struct supervisor *s, const struct source *source)
{
	struct list_program *p;

	if (source->kind != SOURCE_PROGRAM)
		return;
	p = find(s, source->line);
	if (!p) {
		p = mem_alloc(sizeof(*p));
		p->next = s->list_programs;
		p->line = mem_strdup(source->line);
		p->path = mem_strdup(source->path);
		s->list_programs = p;
	}
	p->wanted = true;
}

static void drop_unwanted(struct supervisor *s)
{
	for (struct list_program **at = &s->list_programs, *p; (p = *at);) {
		if (p->wanted) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		free(p->line);
		free(p->path);
		free(p->told);
		free(p);
	}
}

static void want_none(struct supervisor *s)
{
	for (struct list_program *p = s->list_programs; p; p = p->next)
		p->wanted = false;
}

void list_programs_look_after(struct supervisor *s)
{
	want_none(s);
	members_of_sources(s, s->members.read, want);
	drop_unwanted(s);
}

void list_programs_end(struct supervisor *s)
{
	want_none(s);
	drop_unwanted(s);
}
