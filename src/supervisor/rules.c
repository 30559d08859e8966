/* rules.c - the configuration as all other processes get it: packed into sealed memory, generation after generation. */
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"
#include "children/sticks.h"
#include "ipc/packed.h"
#include "os/shm.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* Connections that were accepted before are written in the new form, too: by where their rule stands. */
static void set_format(struct supervisor *s, uint32_t label, const char *format)
{
	if (label >= WORLD_LABELS)
		return;
	free(s->rules.formats[label]);
	s->rules.formats[label] = format ? mem_strdup(format) : NULL;
}

int rules_pack(struct supervisor *s)
{
	uint32_t *labels = mem_alloc(s->rules.config->n_sections * sizeof(*labels) + 1);
	struct buf block = BUF_INIT;
	int fd;

	for (size_t i = 0; i < s->rules.config->n_sections; i++) {
		labels[i] = labels_add(&s->children.workers.world->labels, s->rules.config->sections[i].origin);
		set_format(s, labels[i], s->rules.config->sections[i].log_format);
	}
	packed_make(s->rules.config, labels, s->ifs, (uint32_t)s->n_ifs, &block);
	s->rules.ifs = s->ifs;
	s->rules.n_ifs = s->n_ifs;
	fd = shm_new_sealed("tcpproxy-rules", block.s, block.len);
	buf_release(&block);
	free(labels);
	if (fd < 0)
		return fd;
	if (s->rules.fd >= 0)
		close(s->rules.fd);
	s->rules.fd = fd;
	s->rules.generation++;
	return 0;
}

void rules_take(struct supervisor *s, struct config *next)
{
	if (s->rules.config != s->members.read)
		config_free(s->rules.config);
	s->rules.config = next;
	health_rules_changed(s);
	room_make(s, next);
	world_take(s->children.workers.world, next);
	sticks_take(&s->children.workers, next);
	steer_take_file(s);
	if (rules_pack(s) == 0)
		spawner_child_tell_rules(&s->children.spawner);
	told_update_all(&s->children.workers);
}
