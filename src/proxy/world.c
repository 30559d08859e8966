#include "proxy/world.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/log.h"
#include "os/shm.h"

static void init(struct world *w)
{
	w->magic = WORLD_MAGIC;
	w->version = WORLD_VERSION;
	w->size = sizeof(*w);
	atomic_store(&w->next_id, 1);
	atomic_store(&w->n_workers, 1);
	atomic_store(&w->log_level, LOG_LEVEL_INFO);
	w->deeds.started_wall_us = clock_wall_us();
}

int world_new(struct world **ret)
{
	void *map;
	int fd = shm_new("tcpproxy-world", sizeof(struct world), &map);

	if (fd < 0)
		return fd;
	*ret = map;
	init(*ret);
	return fd;
}

struct world *world_new_private(void)
{
	struct world *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

	if (w == MAP_FAILED)
		return NULL;
	init(w);
	return w;
}

static void format_ports(const struct service *service, char *ret, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < service->n_ports && at < size; i++) {
		const struct port_range *r = &service->ports[i];

		at += (size_t)snprintf(ret + at, size - at, r->last == r->first ? "%s%u" : "%s%u-%u",
				       i ? "," : "", r->first, r->last);
	}
}

uint32_t services_find(const struct services *s, uint32_t first_port)
{
	uint32_t n = atomic_load(&s->n);

	for (uint32_t i = 0; i < n; i++)
		if (s->list[i].first_port == first_port)
			return i;
	return COUNTED_SERVICES;
}

bool service_is_out(const struct services *s, uint32_t number)
{
	return number < COUNTED_SERVICES && standing_is_out(&s->list[number].standing, false);
}

uint32_t services_add(struct services *s, const struct service *service)
{
	uint32_t i = services_find(s, service->ports[0].first);

	if (i < COUNTED_SERVICES)
		return i;
	i = atomic_load(&s->n);
	if (i == COUNTED_SERVICES)
		return COUNTED_SERVICES - 1;
	s->list[i].first_port = service->ports[0].first;
	format_ports(service, s->list[i].ports, sizeof(s->list[i].ports));
	atomic_store(&s->n, i + 1);
	return i;
}

unsigned world_load(const struct world *w, uint32_t worker, int64_t now_ms)
{
	const struct load *l = &w->load[worker];

	return now_ms - atomic_load(&l->at_ms) > LOAD_FRESH_MS ? 0 : atomic_load(&l->percent);
}

uint32_t labels_find(const struct labels *l, const char *text)
{
	uint32_t n = atomic_load(&l->n);

	for (uint32_t i = 0; i < n; i++)
		if (strncmp(l->text[i], text, LABEL_MAX - 1) == 0)
			return i;
	return LABEL_NONE;
}

uint32_t labels_add(struct labels *l, const char *text)
{
	uint32_t n = atomic_load(&l->n);
	uint32_t found = labels_find(l, text);

	if (found != LABEL_NONE)
		return found;
	if (n == WORLD_LABELS)
		return LABEL_NONE;
	snprintf(l->text[n], LABEL_MAX, "%s", text);
	atomic_store(&l->n, n + 1);
	return n;
}

const char *labels_text(const struct labels *l, uint32_t label)
{
	return label < atomic_load(&l->n) ? l->text[label] : NULL;
}
