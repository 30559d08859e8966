#include "takeover/table.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include "base/check.h"
#include "base/clock.h"
#include "os/shm.h"
#include "takeover/handover.h"

_Static_assert(offsetof(struct trio, head_pad) + 4 == TRIO_HEAD_SIZE, "others read what stands before");

/* ---- where the parts are ---- */

#define PAGES(size)     (((uint64_t)(size) + 4095) & ~4095ULL)
#define ROW_OFFSET      PAGES(sizeof(struct trio))
#define COLD_OFFSET     (ROW_OFFSET + PAGES(TRIO_ROWS * sizeof(struct row)))
#define SLOT_OFFSET     (COLD_OFFSET + PAGES(TRIO_ROWS * sizeof(struct row_cold)))
#define RING_OFFSET     (SLOT_OFFSET + PAGES(TRIO_ROWS * sizeof(struct question_slot)))
#define RING_SPACE      PAGES(TRIO_RING + 4096) /* with its head */
#define LIMIT_OFFSET    (RING_OFFSET + RING_SPACE)
#define COUNTER_OFFSET  (LIMIT_OFFSET + PAGES(TRIO_LIMIT_SLOTS * sizeof(uint64_t)))
#define SCRATCH_OFFSET  (COUNTER_OFFSET + PAGES(sizeof(struct counters)))
#define BATCH_OFFSET    (SCRATCH_OFFSET + PAGES(SCRATCH_SIZE))
#define MOVES_OFFSET    (BATCH_OFFSET + PAGES(BATCH_SLOTS * BATCH_ROOM))
#define TCP_INFO_OFFSET (MOVES_OFFSET + PAGES(sizeof(struct moves) + TRIO_ROWS * sizeof(struct move)))
#define NOTES_OFFSET    (TCP_INFO_OFFSET + PAGES(TRIO_ROWS * sizeof(struct row_tcp_info)))
#define LINES_OFFSET    (NOTES_OFFSET + PAGES(TRIO_ROWS * sizeof(struct row_note)))
#define TLVS_OFFSET     (LINES_OFFSET + PAGES(TRIO_LINES * sizeof(struct trio_line)))
#define SAID_OFFSET     (TLVS_OFFSET + (uint64_t)TRIO_ROWS * TRIO_TLVS)
#define TRIO_SIZE       (SAID_OFFSET + PAGES(TRIO_ROWS * sizeof(struct row_said)))

const uint64_t trio_size = TRIO_SIZE;

static uint32_t limit_slots_for(uint32_t n_rows)
{
	uint32_t n = 64;

	/* each row may hold LIMIT_KINDS keys; never more than half full */
	while (n < n_rows * LIMIT_KINDS * 2)
		n *= 2;
	CHECK(n <= TRIO_LIMIT_SLOTS);
	return n;
}

uint32_t trio_n_rows(const struct trio *t)
{
	uint32_t n = *(const volatile uint32_t *)&t->n_rows;

	return n < TRIO_ROWS ? n : TRIO_ROWS;
}

uint32_t trio_rows_used(const struct trio *t)
{
	uint32_t n = *(const volatile uint32_t *)&t->rows_used;

	return n < TRIO_ROWS ? n : TRIO_ROWS;
}

uint32_t trio_listeners_used(const struct trio *t)
{
	uint32_t n = *(const volatile uint32_t *)&t->listeners_used;

	return n <= TRIO_LISTENERS ? n : TRIO_LISTENERS;
}

uint32_t trio_limit_slots(const struct trio *t)
{
	uint32_t n = *(const volatile uint32_t *)&t->limit_slots;

	return n <= TRIO_LIMIT_SLOTS && n > 0 && (n & (n - 1)) == 0 ? n : 1;
}

/* All but the listeners, which would be most of its memory. */
#define HEAD_SIZE offsetof(struct trio, listeners)

static void plan(struct trio *p, uint32_t number, uint32_t n_rows)
{
	memset(p, 0, HEAD_SIZE);
	p->magic = TRIO_MAGIC;
	p->version = TRIO_VERSION;
	p->size = sizeof(*p);
	p->number = number;
	p->n_rows = n_rows;
	p->row_size = sizeof(struct row);
	p->cold_size = sizeof(struct row_cold);
	p->limit_slots = limit_slots_for(n_rows);
	p->moves_offset = MOVES_OFFSET;
}

static void forget_descriptors(struct trio *t)
{
	t->old_spawner_fd = -1;
	t->uring_fd = -1;
	t->epfd = t->control_fd = t->spawner_fd = t->config_fd = -1;
	t->supervisor_fd = t->binary_fd = -1;
	memset(t->peer_fds, 0xff, sizeof(t->peer_fds));
	memset(t->peer_rearm_fds, 0xff, sizeof(t->peer_rearm_fds));
	t->wake_fd = t->rearm_fd = t->trio_fd = t->world_fd = t->said_fd = t->stick_fd = t->door_fd = -1;
	t->link_fd = t->link_peer_fd = -1;
	t->working_on = -1;
	t->step = (struct copy_step){.row = -1, .pipe_read = -1, .pipe_write = -1};
	for (int i = 0; i < BATCH_SLOTS; i++)
		t->batch[i].row = -1;
	memset(t->member_pidfds, 0xff, sizeof(t->member_pidfds));
}

static void init(struct trio *t, const struct trio *p)
{
	memcpy(t, p, HEAD_SIZE);
	forget_descriptors(t);
	CHECK(ring_size(TRIO_RING) <= RING_SPACE);
	ring_init((char *)t + RING_OFFSET, TRIO_RING);
	/* rows stay zero: ROW_FREE; their descriptors are set when they are taken */
}

void trio_reset(struct trio *t, uint32_t number, uint32_t n_rows)
{
	static struct trio p;

	uint32_t used = trio_rows_used(t);

	plan(&p, number, n_rows);
	memset(t->listeners, 0, trio_listeners_used(t) * sizeof(t->listeners[0]));
	memcpy(t, &p, HEAD_SIZE);
	forget_descriptors(t);
	for (uint32_t i = 0; i < used; i++) {
		memset(trio_row(t, i), 0, sizeof(struct row));
		memset(&trio_moves(t)->rows[i], 0, sizeof(struct move));
	}
	atomic_store(&trio_moves(t)->receiving, 0);
	for (uint32_t i = 0; i < t->limit_slots; i++)
		if (atomic_load(&trio_limits(t)[i]) != 0) /* what was never touched takes no memory */
			atomic_store(&trio_limits(t)[i], 0);
	for (uint32_t i = 0; i < TRIO_LINES; i++)
		if (atomic_load(&trio_lines(t)[i].key) != 0)
			memset(&trio_lines(t)[i], 0, sizeof(struct trio_line));
	atomic_store(&t->reader_waits, 1);
}

int trio_new(uint32_t number, uint32_t n_rows, struct trio **ret)
{
	static struct trio p; /* static: too large for a stack that was promised to be small */
	void *map;
	int fd;

	plan(&p, number, n_rows);
	fd = shm_new("tcpproxy-trio", TRIO_SIZE, &map);
	if (fd < 0)
		return fd;
	init(map, &p);
	*ret = map;
	return fd;
}

struct trio *trio_map(int fd, bool writable)
{
	struct trio *t = shm_map_fixed(fd, TRIO_SIZE, writable);

	if (t && t->magic == TRIO_MAGIC && t->version == TRIO_VERSION && t->size == sizeof(*t) &&
	    t->row_size == sizeof(struct row) && t->cold_size == sizeof(struct row_cold) && t->n_rows <= TRIO_ROWS)
		return t;
	trio_unmap(t);
	return NULL;
}

void trio_unmap(const struct trio *t)
{
	if (t)
		munmap((void *)t, TRIO_SIZE);
}

struct trio *trio_new_private(uint32_t n_rows)
{
	static struct trio p;
	void *map;

	plan(&p, 0, n_rows);
	map = mmap(NULL, TRIO_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	init(map, &p);
	return map;
}

struct row *(trio_row)(const struct trio *t, uint32_t i)
{
	return (struct row *)((char *)t + ROW_OFFSET) + i;
}

struct row_cold *(trio_cold)(const struct trio *t, uint32_t i)
{
	return (struct row_cold *)((char *)t + COLD_OFFSET) + i;
}

struct question_slot *(trio_slots)(const struct trio *t)
{
	return (struct question_slot *)((char *)t + SLOT_OFFSET);
}

struct ring *trio_ring(struct trio *t)
{
	return (struct ring *)((char *)t + RING_OFFSET);
}

char *trio_batch(struct trio *t, unsigned slot)
{
	return (char *)t + BATCH_OFFSET + (size_t)slot * BATCH_ROOM;
}

char *trio_scratch(struct trio *t)
{
	return (char *)t + SCRATCH_OFFSET;
}

atomic_ullong *(trio_limits)(const struct trio *t)
{
	return (atomic_ullong *)((char *)t + LIMIT_OFFSET);
}

struct moves *(trio_moves)(const struct trio *t)
{
	return (struct moves *)((char *)t + MOVES_OFFSET);
}

struct trio_line *(trio_lines)(const struct trio *t)
{
	return (struct trio_line *)((char *)t + LINES_OFFSET);
}

struct row_tcp_info *(trio_tcp_info)(const struct trio *t, uint32_t i)
{
	return (struct row_tcp_info *)((char *)t + TCP_INFO_OFFSET) + i;
}

uint8_t *(trio_tlvs)(const struct trio *t, uint32_t i)
{
	return (uint8_t *)t + TLVS_OFFSET + (uint64_t)i * TRIO_TLVS;
}

struct row_said *(trio_said)(const struct trio *t, uint32_t i)
{
	return (struct row_said *)((char *)t + SAID_OFFSET) + i;
}

struct counters *(trio_counters)(const struct trio *t)
{
	return (struct counters *)((char *)t + COUNTER_OFFSET);
}

int64_t row_waited_us(const struct row_cold *cold, int64_t now_us)
{
	return cold->wait.began_us ? clock_span(cold->wait.began_us, now_us) : cold->wait.waited_us;
}

uint32_t trio_rows_for(uint64_t nofile, uint32_t fixed)
{
	uint64_t n = nofile > fixed + 12 ? (nofile - fixed) / 3 : 4;

	return n > TRIO_ROWS ? TRIO_ROWS : (uint32_t)n;
}

size_t ask_name(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret)
{
	const char *name = trio_slots(t)[row].name;
	size_t len = cold->question_count ? strnlen(name, CLIENT_NAME_MAX - 1) : 0;

	memcpy(ret, name, len);
	ret[len] = '\0';
	return strlen(ret); /* it may have become another one meanwhile */
}
