/*
 * fuzz_ring.c - what a worker may leave in its rings: of the log, which the supervisor reads and writes to its targets, and of a tap,
 * which is shown as text and as pcapng.
 *
 * The first byte says which of them, the rest is a list of steps: put a message, write over something, read.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/ring.h"
#include "base/tapread.h"
#include "children/ring_reader.h"
#include "children/workers.h"
#include "input.h"
#include "ipc/accesslog.h"
#include "stats/history.h"

/* Where the words stand in a ring, and its bytes. */
#define HEAD 0
#define TAIL 64
#define AREA 128

static const char text[] = "port 25 as mail\n\tserver db1:25 as one\nport 80\n\tserver b:1\n";
static char every_key[] =
        "{time} {epoch} {event} {id} {service} {port} {interface} {client} {client-ip} {client-port} {name} {rule} "
        "{target} "
        "{server} {server-ip} {server-port} {up} {down} {connect} {connect-ms} {duration} {duration-ms} {end} {why} %%";

static struct rules rules;
static enum phase phase;
static struct workers workers = {.rules = &rules, .phase = &phase};
static struct history history;
static struct buf out;
static int files[3]; /* text, JSON, what a tap shows */
static int hung_up;  /* nobody is left at the other end */

static void *room(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(map != MAP_FAILED);
	return map;
}

static struct ring *new_ring(void *memory, size_t capacity)
{
	CHECK(madvise(memory, ring_size(capacity), MADV_DONTNEED) == 0);
	return ring_init(memory, capacity);
}

static uint64_t *word(struct ring *r, size_t at)
{
	return (uint64_t *)((char *)r + at);
}

static int open_file(void *arg, const char *path)
{
	return dup(files[strcmp(path, "/json") == 0]);
}

static void begin(void)
{
	static struct log_target targets[] = {{.kind = LOG_TO_FILE, .path = "/text"},
	                                      {.kind = LOG_TO_FILE, .path = "/json", .json = true},
	                                      {.kind = LOG_TO_JOURNAL},
	                                      {.kind = LOG_TO_SYSLOG}};
	const struct logger_ops nobody = {
	        .open_file = open_file, .syslog_path = "/nonexistent/log", .journal_path = "/nonexistent/socket"};
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("/fuzz", text, &(struct config_ops){0}, &errors);
	struct world *world = world_new_private();
	int ends[2];

	CHECK(c && world && pipe2(ends, O_CLOEXEC) == 0);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		files[i] = memfd_create("log", MFD_CLOEXEC);
	close(ends[1]);
	hung_up = ends[0];
	log_set_sink(check_line, NULL);
	world_take(world, c);
	config_free(c);
	labels_add(&world->labels, "/fuzz:1");
	labels_add(&world->labels, "/fuzz:2");
	workers.world = world;
	rules.formats[0] = every_key;
	workers.logger = logger_new(targets, ARRAY_LEN(targets), &nobody, NULL);
	CHECK(workers.logger);
	logger_remember(workers.logger, &history);
}

/* ---- what was written ---- */

static const char *written(int fd)
{
	off_t len = lseek(fd, 0, SEEK_CUR);

	buf_clear(&out);
	CHECK(len >= 0 && pread(fd, buf_extend(&out, (size_t)len), (size_t)len, 0) == len);
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && ftruncate(fd, 0) == 0);
	return out.s;
}

static void check_json(const char *line, size_t len)
{
	json_t *j = json_loadb(line, len, JSON_DECODE_INT_AS_REAL, NULL);

	CHECK(j);
	json_decref(j);
}

static void check_log(void)
{
	const uint64_t ends[COUNTED_ENDS] = {1, 2, 3};
	const char *end;

	written(files[0]);
	check_lines(out.s, out.len);
	written(files[1]);
	for (const char *line = out.s; line && line < out.s + out.len; line = end + 1) {
		end = memchr(line, '\n', (size_t)(out.s + out.len - line));
		CHECK(end);
		check_json(line, (size_t)(end - line));
	}
	buf_clear(&out);
	render_errors_json(&history, 0, ends, 1000, &out);
	check_json(out.s, out.len);
	atomic_store(&history.n_errors, 0);
}

/* Blocks, each with its length before and behind it. */
static void check_pcapng(void)
{
	uint32_t len, again;

	written(files[2]);
	for (size_t at = 0; at < out.len; at += len) {
		CHECK(out.len - at >= 12);
		memcpy(&len, out.s + at + 4, sizeof(len));
		CHECK(len % 4 == 0 && len >= 12 && len <= out.len - at);
		memcpy(&again, out.s + at + len - 4, sizeof(again));
		CHECK(again == len);
	}
}

/* ---- what is put there ---- */

static void put_any(struct input *in, struct ring *r, size_t capacity)
{
	size_t len = input_u16(in);
	char *message = mem_alloc(len + 1);

	input_bytes(in, message, len < in->left ? len : in->left);
	ring_put(r, capacity, input_u8(in) % 4, message, len);
	free(message);
}

static void put_record(struct input *in, struct ring *r)
{
	struct record_message m;
	size_t n = 0;

	memset(&m, 0, sizeof(m));
	input_bytes(in, &m.record, input_u8(in));
	m.label = input_u8(in) % 4;
	m.service = input_u8(in);
	m.target = input_u8(in);
	for (int i = 0; i < RECORD_TEXTS; i++)
		n += m.len[i] = input_u16(in) % 512;
	m.record.unwanted = 0;
	n = n < sizeof(m.texts) ? n : sizeof(m.texts);
	input_bytes(in, m.texts, n);
	ring_put(r, TRIO_RING, MESSAGE_RECORD, &m, offsetof(struct record_message, texts) + n);
}

static void put_line(struct input *in, struct ring *r)
{
	struct line_message m;
	size_t len;

	m.wall_us = (int64_t)input_u64(in);
	m.level = input_u8(in);
	len = input_u16(in) % sizeof(m.text);
	input_bytes(in, m.text, len);
	ring_put(r, TRIO_RING, MESSAGE_LINE, &m, offsetof(struct line_message, text) + len);
}

static void put_tap(struct input *in, struct ring *r)
{
	struct {
		struct tap_record r;
		char data[1000];
	} m;
	size_t len;

	memset(&m, 0, sizeof(m));
	m.r.kind = input_u8(in) % 5;
	m.r.end = input_u8(in);
	m.r.whole = input_u8(in) & 1;
	m.r.id = input_u8(in) % 8;
	input_bytes(in, &m.r.wall_us,
	            input_u8(in) % (offsetof(struct tap_record, len) - offsetof(struct tap_record, wall_us)));
	len = input_u16(in) % sizeof(m.data);
	m.r.magic = TAP_MAGIC;
	m.r.len = (uint32_t)len;
	input_bytes(in, m.data, len);
	ring_put(r, TAP_RING, 0, &m, sizeof(m.r) + len);
}

/* Its words, or the bytes where it is read next. */
static void spoil(struct input *in, struct ring *r, size_t capacity)
{
	uint8_t which = input_u8(in), len = input_u8(in);
	uint64_t at = *word(r, TAIL) & (capacity - 1);

	switch (which % 5) {
	case 0:
		*word(r, HEAD) = input_u64(in);
		break;
	case 1:
		*word(r, TAIL) = input_u64(in);
		break;
	case 2:
		*word(r, HEAD) += input_u32(in);
		break;
	case 3: /* nothing in it, and the end is near */
		*word(r, HEAD) = *word(r, TAIL) = capacity - input_u16(in) / 8 * 8;
		break;
	case 4:
		at += input_u8(in);
		if (at < capacity)
			input_bytes(in, (char *)r + AREA + at, len < capacity - at ? len : capacity - at);
		break;
	}
}

/* ---- reading ---- */

static void read_log(struct input *in)
{
	static void *memory;
	struct worker c = {.workers = &workers};

	if (!memory)
		memory = room(ring_size(TRIO_RING));
	c.ring = new_ring(memory, TRIO_RING);
	while (in->left > 0) {
		uint8_t step = input_u8(in);

		if (step < 60)
			spoil(in, c.ring, TRIO_RING);
		else if (step < 80)
			put_any(in, c.ring, TRIO_RING);
		else if (step < 180)
			put_record(in, c.ring);
		else if (step < 240)
			put_line(in, c.ring);
		else
			worker_drain(&c);
	}
	worker_drain(&c);
	check_log();
}

static void read_tap(struct input *in, bool pcapng)
{
	static void *memory[2];
	static const volatile sig_atomic_t stop;
	struct tap_view *v = pcapng ? tap_view_pcapng("fuzz") : tap_view_text();
	struct ring *rings[2];
	uint64_t lost = 0;

	for (int i = 0; i < 2; i++) {
		if (!memory[i])
			memory[i] = room(ring_size(TAP_RING));
		rings[i] = new_ring(memory[i], TAP_RING);
	}
	while (in->left > 0) {
		uint8_t step = input_u8(in);
		struct ring *r = rings[step % 2];

		if (step < 60)
			spoil(in, r, TAP_RING);
		else if (step < 80)
			put_any(in, r, TAP_RING);
		else
			put_tap(in, r);
	}
	CHECK(tap_read(rings, 2, hung_up, v, files[2], &stop, &lost) == 0);
	if (pcapng) {
		check_pcapng();
	} else {
		written(files[2]);
		check_lines(out.s, out.len);
	}
	tap_view_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t which;
	int fds;

	if (!workers.logger)
		begin();
	fds = fds_open();
	which = input_u8(&in);
	if (which % 4 < 2)
		read_log(&in);
	else
		read_tap(&in, which % 4 == 3);
	CHECK(fds_open() == fds);
	return 0;
}
