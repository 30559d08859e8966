#include "proxy/world.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "os/shm.h"

static void init(struct world *w)
{
	w->magic = WORLD_MAGIC;
	w->version = WORLD_VERSION;
	w->size = sizeof(*w);
	atomic_store(&w->next_id, 1);
	atomic_store(&w->n_workers, 1);
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

uint32_t labels_add(struct labels *l, const char *text)
{
	uint32_t n = atomic_load(&l->n);

	for (uint32_t i = 0; i < n; i++)
		if (strncmp(l->text[i], text, LABEL_MAX - 1) == 0)
			return i;
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
