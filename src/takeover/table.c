#include "takeover/table.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include "os/shm.h"
#include "takeover/handover.h"

_Static_assert(offsetof(struct trio, head_pad) + 4 == TRIO_HEAD_SIZE, "others read what stands before");

static uint64_t align(uint64_t n)
{
	return (n + 4095) & ~4095ULL;
}

static uint32_t limit_slots_for(uint32_t n_rows)
{
	uint32_t n = 64;

	/* each row may hold LIMIT_KINDS keys; never more than half full */
	while (n < n_rows * LIMIT_KINDS * 2)
		n *= 2;
	return n;
}

static void plan(struct trio *p, uint32_t number, uint32_t n_rows)
{
	*p = (struct trio){
		.magic = TRIO_MAGIC,
		.version = TRIO_VERSION,
		.size = sizeof(*p),
		.number = number,
		.n_rows = n_rows,
		.row_size = sizeof(struct row),
		.cold_size = sizeof(struct row_cold),
		.limit_slots = limit_slots_for(n_rows),
	};
	p->row_offset = align(sizeof(*p));
	p->cold_offset = align(p->row_offset + (uint64_t)n_rows * sizeof(struct row));
	p->slot_offset = align(p->cold_offset + (uint64_t)n_rows * sizeof(struct row_cold));
	p->ring_offset = align(p->slot_offset + (uint64_t)n_rows * sizeof(struct question_slot));
	p->limit_offset = align(p->ring_offset + ring_size(TRIO_RING));
	p->counter_offset = align(p->limit_offset + p->limit_slots * sizeof(uint64_t));
	p->scratch_offset = align(p->counter_offset + sizeof(struct counters));
	p->batch_offset = align(p->scratch_offset + SCRATCH_SIZE);
	p->moves_offset = align(p->batch_offset + BATCH_SLOTS * BATCH_ROOM);
	p->facts_offset = align(p->moves_offset + sizeof(struct moves) + (uint64_t)n_rows * sizeof(struct move));
	p->total_size = align(p->facts_offset + (uint64_t)n_rows * sizeof(struct row_facts));
}

static void forget_descriptors(struct trio *t)
{
	t->old_spawner_fd = -1;
	t->uring_fd = -1;
	t->epfd = t->control_fd = t->spawner_fd = t->config_fd = -1;
	t->supervisor_fd = t->binary_fd = -1;
	memset(t->peer_fds, 0xff, sizeof(t->peer_fds));
	memset(t->peer_rearm_fds, 0xff, sizeof(t->peer_rearm_fds));
	t->wake_fd = t->rearm_fd = t->trio_fd = t->world_fd = t->door_fd = -1;
	t->link_fd = t->link_peer_fd = -1;
	t->working_on = -1;
	t->step = (struct copy_step){.row = -1, .pipe_read = -1, .pipe_write = -1};
	for (int i = 0; i < BATCH_SLOTS; i++)
		t->batch[i].row = -1;
	memset(t->member_pidfds, 0xff, sizeof(t->member_pidfds));
}

static void init(struct trio *t, const struct trio *p)
{
	memcpy(t, p, sizeof(*t));
	forget_descriptors(t);
	ring_init((char *)t + t->ring_offset, TRIO_RING);
	/* rows stay zero: ROW_FREE; their descriptors are set when they are taken */
}

void trio_reset(struct trio *t)
{
	static struct trio p;

	uint32_t used = t->rows_used;

	plan(&p, t->number, t->n_rows);
	memcpy(t, &p, sizeof(*t));
	forget_descriptors(t);
	for (uint32_t i = 0; i < used; i++) {
		memset(trio_row(t, i), 0, sizeof(struct row));
		memset(&trio_moves(t)->rows[i], 0, sizeof(struct move));
	}
	atomic_store(&trio_moves(t)->receiving, 0);
	atomic_store(&t->reader_waits, 1);
}

int trio_new(uint32_t number, uint32_t n_rows, struct trio **ret)
{
	static struct trio p; /* static: too large for a stack that was promised to be small */
	void *map;
	int fd;

	plan(&p, number, n_rows);
	fd = shm_new("tcpproxy-trio", p.total_size, &map);
	if (fd < 0)
		return fd;
	init(map, &p);
	*ret = map;
	return fd;
}

struct trio *trio_new_private(uint32_t n_rows)
{
	static struct trio p;
	void *map;

	plan(&p, 0, n_rows);
	map = mmap(NULL, p.total_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	init(map, &p);
	return map;
}

struct row *trio_row(struct trio *t, uint32_t i)
{
	return (struct row *)((char *)t + t->row_offset) + i;
}

struct row_cold *trio_cold(struct trio *t, uint32_t i)
{
	return (struct row_cold *)((char *)t + t->cold_offset) + i;
}

struct question_slot *trio_slots(struct trio *t)
{
	return (struct question_slot *)((char *)t + t->slot_offset);
}

struct ring *trio_ring(struct trio *t)
{
	return (struct ring *)((char *)t + t->ring_offset);
}

char *trio_batch(struct trio *t, unsigned slot)
{
	return (char *)t + t->batch_offset + (size_t)slot * BATCH_ROOM;
}

char *trio_scratch(struct trio *t)
{
	return (char *)t + t->scratch_offset;
}

atomic_ullong *trio_limits(struct trio *t)
{
	return (atomic_ullong *)((char *)t + t->limit_offset);
}

struct row_facts *trio_facts(struct trio *t, uint32_t i)
{
	return (struct row_facts *)((char *)t + t->facts_offset) + i;
}

struct counters *trio_counters(struct trio *t)
{
	return (struct counters *)((char *)t + t->counter_offset);
}

uint32_t trio_rows_for(uint64_t nofile, uint32_t fixed)
{
	uint64_t n = nofile > fixed + 12 ? (nofile - fixed) / 3 : 4;

	return n > 349504 ? 349504 : (uint32_t)n;
}
