/*
 * fuzz_trio.c - the memory of a trio as its members may have left it, and what workers may write of the world: what is shown of
 * it, the records of a trio that has died at once, its deaths in the log, and the limits that other workers read there.
 *
 * The input is a list of steps: write over something, or look.
 */
#include <jansson.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "children/ring_reader.c" /* log_deaths() is its own */
#include "children/workers.c"     /* lost_record() is its own */
#include "ipc/collect.h"
#include "proxy/limits.h"
#include "proxy/waiting.h"
#include "stats/history.h"
#include "stats/render.h"
#include "input.h"

#define TRIOS 2
#define ROWS  6

static const char text[] = "port 25 as mail\n\tserver db1:25 weight=3 as one\n\tserver db1:25 backup as two\n"
                           "interface 10.0.0.1 as inner\n\tserver db1:25 disabled as one\n"
                           "port 80 8000-8010\n\tserver 10.0.0.2:1\n\tserver unix:/run/x.sock\n"
                           "port 99\n\texec /bin/cat a\n";

static struct trio *trios[TRIOS]; /* the second one is spoilt, and a little the first one */
static struct world *world;
static struct config *config;
static enum phase phase;
static struct rules rules;
static struct workers workers = {.phase = &phase, .rules = &rules, .n = TRIOS};
static struct spoilt *spoilt;

/* Nobody is killed because a trio says so. */
int kill(pid_t pid, int sig)
{
	CHECK(sig == 0);
	return (int)syscall(SYS_kill, pid, 0);
}

static void add_rows(struct trio *t)
{
	static const uint8_t states[ROWS] = {ROW_ACCEPTED, ROW_RELAY,  ROW_CONNECTING,
	                                     ROW_HANDLER,  ROW_GIVING, ROW_TAKING};

	for (uint32_t i = 0; i < ROWS; i++) {
		*trio_row(t, i) = (struct row){.state = states[i],
		                               .serial = i + 1,
		                               .fd = {-1, -1, -1},
		                               .service = (uint16_t)(i % 3),
		                               .server = (uint16_t)(i % 4),
		                               .active_ms = 5,
		                               .flow = {{.pipe_read = -1}, {.pipe_read = -1}}};
		*trio_cold(t, i) = (struct row_cold){.id = 10 * t->number + i,
		                                     .client = {.family = AF_INET, .port = 4, .ip = {127, 0, 0, 1}},
		                                     .label = i,
		                                     .accepted_us = 1000,
		                                     .connected_us = i > 2 ? 5000 : 0,
		                                     .target = i,
		                                     .question_count = i % 2};
		trio_tcp_info(t, i)->serial = i + 1;
		trio_tcp_info(t, i)->known = 3;
	}
	t->rows_used = ROWS;
}

static void begin(void)
{
	static const struct log_target target = {.kind = LOG_TO_FILE, .path = "/dev/null"};
	struct config_errors errors = {NULL, 0};

	log_set_sink(check_line, NULL);
	config = config_parse("/fuzz", text, &(struct config_ops){0}, &errors);
	CHECK(config);
	world = world_new_private();
	CHECK(world);
	world_take(world, config);
	labels_add(&world->labels, "/fuzz:1");
	for (uint32_t i = 0; i < TRIOS; i++) {
		trios[i] = trio_new_private(ROWS + 2);
		CHECK(trios[i]);
		trios[i]->number = i;
		add_rows(trios[i]);
	}
	workers.world = world;
	rules.config = config;
	workers.logger = logger_new(&target, 1, &(struct logger_ops){0}, NULL);
	CHECK(workers.logger);
}

/* ---- steps ---- */

static void spoil(struct input *in)
{
	struct trio *t = trios[1];
	uint32_t i = input_u8(in), row = i < 250 ? i % ROWS : TRIO_ROWS - 1;

	switch (input_u8(in) % 15) {
	case 0: /* what has a name, for all that is behind is large */
		input_spoil(in, &spoilt, t, offsetof(struct trio, events), 0);
		break;
	case 1:
		input_spoil(in, &spoilt, trio_row(t, row), sizeof(struct row), 0);
		break;
	case 2:
		input_spoil(in, &spoilt, trio_cold(t, row), sizeof(struct row_cold), 0);
		break;
	case 3:
		input_spoil(in, &spoilt, &trio_slots(t)[row], sizeof(struct question_slot), 0);
		break;
	case 4:
		input_spoil(in, &spoilt, trio_tcp_info(t, row), sizeof(struct row_tcp_info), 0);
		break;
	case 5:
		input_spoil(in, &spoilt, counters_service(trio_counters(t), i % 4), sizeof(struct counted), 0);
		break;
	case 6:
		input_spoil(in, &spoilt, counters_server(trio_counters(t), i % 5), sizeof(struct counted), 0);
		break;
	case 7:
		input_spoil(in, &spoilt, trio_limits(t), 64 * sizeof(uint64_t), 0);
		break;
	case 8:
		input_spoil(in, &spoilt, trio_moves(t), sizeof(struct moves) + ROWS * sizeof(struct move), 0);
		break;
	case 9:
		input_spoil(in, &spoilt, &world->experience[i % 5], sizeof(world->experience[0]), 0);
		break;
	case 10:
		input_spoil(in, &spoilt, &world->next_id,
		            offsetof(struct world, pass) - offsetof(struct world, next_id), 0);
		break;
	case 11:
		input_spoil(in, &spoilt, &t->rows_used, sizeof(t->rows_used), sizeof(t->rows_used));
		break;
	case 12:
		input_spoil(in, &spoilt, &t->n_rows, sizeof(t->n_rows), sizeof(t->n_rows));
		break;
	case 13: /* the same connection in both */
		input_spoil(in, &spoilt, trio_cold(trios[0], row % ROWS), sizeof(struct row_cold), 0);
		break;
	case 14: /* who waits in its lines; those of low numbers are looked for */
		input_spoil(in, &spoilt, &t->waiting, sizeof(t->waiting), sizeof(t->waiting));
		input_spoil(in, &spoilt, trio_lines(t), 64 * sizeof(struct trio_line), 0);
		break;
	}
}

static void may_write(bool may)
{
	for (int i = 0; i < TRIOS; i++)
		CHECK(mprotect(trios[i], trio_size, may ? PROT_READ | PROT_WRITE : PROT_READ) == 0);
}

static void check_json(const struct buf *out)
{
	json_t *j = json_loadb(out->s, out->len, JSON_DECODE_INT_AS_REAL, NULL);

	CHECK(j);
	json_decref(j);
}

static void show(struct snapshot *s)
{
	static void (*const texts[])(const struct snapshot *s, struct buf *out) = {render_status, render_connections,
	                                                                           render_counters, render_metrics};
	static void (*const jsons[])(const struct snapshot *s, struct buf *out) = {
	        render_status_json, render_connections_json, render_counters_json};
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		buf_clear(&out);
		texts[i](s, &out);
		CHECK(out.len > 0 && strlen(out.s) == out.len && out.s[out.len - 1] == '\n');
	}
	for (size_t i = 0; i < ARRAY_LEN(jsons); i++) {
		buf_clear(&out);
		jsons[i](s, &out);
		check_json(&out);
	}
	buf_release(&out);
}

static void choose(struct input *in, struct snapshot *s)
{
	static const char *const orders[] = {"id", "service", "client", "server", "state",      "age",
	                                     "up", "down",    "rate",   "rtt",    "retransmits"};
	static const char *const words[] = {"service=mail",    "service=25",       "client=10.0.0.0/8", "server=one",
	                                    "server=mail/one", "server=1.2.3.4:5", "state=relay",       "id=12"};
	struct connection_filter f = {0};

	CHECK(snapshot_sort(s, orders[input_u8(in) % ARRAY_LEN(orders)]));
	CHECK(!connection_filter_word(&f, words[input_u8(in) % ARRAY_LEN(words)]));
	for (size_t i = 0; i < s->n_connections; i++)
		connection_matches(&f, &s->connections[i]);
	snapshot_search(s, "a 1");
}

static void look(struct input *in, struct collector *v)
{
	struct snapshot *s;

	may_write(false);
	s = collect_take(v, config, 7, input_u8(in) % 4 > 0);
	s->log_level = "info";
	show(s);
	choose(in, s);
	may_write(true);
	snapshot_free(s);
}

static void look_at_limits(struct input *in)
{
	struct limits l = {.trios = trios, .n_trios = TRIOS, .own = 0};
	uint64_t key = input_u64(in);
	struct limits_recount recount;
	uint32_t number;

	limits_count(&l, key);
	limits_number(trios[1], key, &number);
	limits_take(&l, key | 1 << 20, input_u8(in));
	limits_recount_begin(&recount, &l);
	limits_recount_add(&recount, limit_key_from(input_u64(in)));
	limits_recount_end(&recount);
	limits_recount_begin(&recount, &l);
	limits_recount_end(&recount);
}

/* Who comes asks whether others wait. */
static void look_at_lines(struct input *in)
{
	struct loop loop = {.now_ms = input_u8(in)};
	struct waiting_room room;

	waiting_room_init(&room, &loop, trios, TRIOS, 0, NULL);
	waiting_has_line(&room, input_u8(in) + 1u);
	waiting_room_forget(&room);
}

/* All of it died at once. */
static void lose(struct input *in)
{
	struct worker c = {.workers = &workers, .number = 1, .trio = trios[1], .n_rows = ROWS + 2};

	c.child.control.fd = -1;
	c.ring = trio_ring(trios[1]);
	c.deaths_seen = input_u8(in);
	log_deaths(&c);
	worker_alive(&c);
	for (uint32_t i = 0; i < trio_rows_used(c.trio) && i < c.n_rows; i++)
		if (trio_row(c.trio, i)->state != ROW_FREE)
			lost_record(&c, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct collect_source source = {.trios = trios, .n_trios = TRIOS};
	struct input in = {data, size};
	struct collector *v = NULL;
	int fds;

	if (!world)
		begin();
	fds = fds_open();
	source.world = world;
	for (int looks = 0; in.left > 0 && looks < 5;) {
		uint8_t step = input_u8(&in);

		if (step < 200) {
			spoil(&in);
			continue;
		}
		looks++;
		if (!v)
			v = collect_new(&source);
		if (step < 240)
			look(&in, v);
		else if (step < 246)
			look_at_limits(&in);
		else if (step < 248)
			look_at_lines(&in);
		else
			lose(&in);
	}
	collect_free(v);
	input_repair(&spoilt);
	for (uint32_t i = 0; i < TRIOS; i++)
		add_rows(trios[i]); /* lose() writes to them */
	CHECK(fds_open() == fds);
	return 0;
}
