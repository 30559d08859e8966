/* labels.c - one line for each name: of two that are called the same, one is shown. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "stats/snapshot.h"

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Another service has a server of this name. Of those that are there, the ones that are gone do not count. */
static bool is_ambiguous(const struct snapshot *s, const struct server_view *v)
{
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server_view *other = &s->servers[i];

		if (other->name && same(other->name, v->name) && !same(other->service, v->service) &&
		    (other->configured || !v->configured))
			return true;
	}
	return false;
}

static void label_metric(struct snapshot *s, struct server_view *v)
{
	struct buf text = BUF_INIT;

	v->metric = v->label;
	if (!v->of)
		return;
	buf_addf(&text, "%s/%s", v->of, v->label);
	v->metric = snapshot_keep(s, text.s, text.len);
	buf_release(&text);
}

static void label_ambiguous(struct snapshot *s)
{
	for (size_t i = 0; i < s->n_servers; i++) {
		struct server_view *v = &s->servers[i];
		struct buf text = BUF_INIT;

		if (!v->name || !v->service || !is_ambiguous(s, v))
			continue;
		buf_addf(&text, "%s/%s", v->service, v->name);
		v->label = snapshot_keep(s, text.s, text.len);
		buf_release(&text);
	}
}

void snapshot_label_servers(struct snapshot *s)
{
	label_ambiguous(s);
	for (size_t i = 0; i < s->n_servers; i++)
		label_metric(s, &s->servers[i]);
}

void snapshot_drop_lines(struct snapshot *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_servers; i++) {
		if (s->servers[i].stands)
			free(s->servers[i].counted);
		else
			s->servers[n++] = s->servers[i];
	}
	s->n_servers = n;
}

/* ---- what goes on under its name ---- */

struct line {
	const char *label;
	uint32_t hash; /* of the label: there may be a thousand */
	bool configured;
	struct counted **counted;   /* of one that has been merged: NULL */
	uint32_t *active, *waiting; /* the latter NULL: nobody can */
};

static uint32_t hash_of(const char *text)
{
	uint32_t h = 2166136261; /* FNV-1a */

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 16777619;
	return h;
}

/* The one that the file has, else the later one. */
static bool stands_for(const struct line *a, const struct line *b)
{
	return a->configured != b->configured ? a->configured : a > b;
}

static void merge(struct line *lines, size_t n)
{
	for (struct line *from = lines; from < lines + n; from++) {
		struct line *into = lines;

		while (into < lines + n && !(into->hash == from->hash && into != from && *into->counted &&
		                             same(into->label, from->label) && stands_for(into, from)))
			into++;
		if (into == lines + n)
			continue;
		counted_add(*into->counted, *from->counted);
		*into->active += *from->active;
		if (into->waiting)
			*into->waiting += *from->waiting;
		free(*from->counted);
		*from->counted = NULL;
	}
}

static void merge_services(struct snapshot *s)
{
	struct line *lines = mem_alloc((s->n_services + 1) * sizeof(*lines));
	size_t n = 0;

	for (size_t i = 0; i < s->n_services; i++) {
		struct service_view *v = &s->services[i];

		lines[i] =
		        (struct line){v->label, hash_of(v->label), v->configured, &v->counted, &v->active, &v->waiting};
	}
	merge(lines, s->n_services);
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i].counted)
			s->services[n++] = s->services[i];
	s->n_services = n;
	free(lines);
}

static void merge_servers(struct snapshot *s)
{
	struct line *lines = mem_alloc((s->n_servers + 1) * sizeof(*lines));
	size_t n = 0;

	for (size_t i = 0; i < s->n_servers; i++) {
		struct server_view *v = &s->servers[i];

		lines[i] = (struct line){v->label, hash_of(v->label), v->configured, &v->counted, &v->active, NULL};
	}
	merge(lines, s->n_servers);
	for (size_t i = 0; i < s->n_servers; i++)
		if (s->servers[i].counted)
			s->servers[n++] = s->servers[i];
	s->n_servers = n;
	free(lines);
}

void snapshot_merge(struct snapshot *s)
{
	merge_services(s);
	merge_servers(s);
}
