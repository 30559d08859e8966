/*
 * fuzz_world.c - what the supervisor before has said of the world, as a trio hands it over to the next one: what that believes of it
 * can be true, and is good for all that is done with it.
 *
 * The input is a list of places that are written over.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/changes.h"
#include "ipc/collect.h"
#include "input.h"
#include "os/shm.h"
#include "ipc/accesslog.h"
#include "proxy/ruleset.h"
#include "ipc/world.h"
#include "stats/render.h"

#define SAID_SIZE offsetof(struct world, next_id)

static const char text[] = "port 25 as mail\n\tserver db1:25 weight=3 as one\n\tserver db1:25 backup as two\n"
                           "interface 10.0.0.1 as inner\n\tserver db1:25 disabled as one\n"
                           "port 80 8000-8010\n\tserver 10.0.0.2:1\n\tserver unix:/run/x.sock\n";

static struct config *config;
static struct world_fds fds; /* as they were handed over */
static char *said;           /* what is in the first of them: anybody may have it mapped so */

static void begin(void)
{
	struct config_errors errors = {NULL, 0};
	struct world_fds made;
	struct world *w;
	void *map;

	log_set_sink(check_line, NULL);
	config = config_parse("/fuzz", text, &(struct config_ops){0}, &errors);
	CHECK(config && world_new(&w, &made) == 0);
	world_take(w, config);
	labels_add(&w->labels, "/fuzz:1");
	labels_add(&w->labels, "/fuzz:4");
	fds = (struct world_fds){shm_new("lies", SAID_SIZE, &map), made.shared};
	CHECK(fds.said >= 0);
	said = map;
	memcpy(said, w, SAID_SIZE);
	close(made.said);
	world_unmap(w);
}

static void spoil(struct input *in, struct spoilt **list)
{
	struct world *w = (struct world *)said;
	uint8_t where = input_u8(in), i = input_u8(in);

	switch (where % 11) {
	case 0:
		input_spoil(in, list, w, offsetof(struct world, targets), 0);
		break;
	case 1:
		input_spoil(in, list, &w->targets.list[i % 5], sizeof(w->targets.list[0]), 0);
		break;
	case 2:
		input_spoil(in, list, w->labels.text[i % 3], LABEL_MAX, 0);
		break;
	case 3:
		input_spoil(in, list, &w->services.list[i % 4], sizeof(w->services.list[0]), 0);
		break;
	case 4:
		input_spoil(in, list, &w->totals, sizeof(w->totals), 0);
		break;
	case 5:
		input_spoil(in, list, &w->targets.n, sizeof(w->targets.n), sizeof(w->targets.n));
		break;
	case 6:
		input_spoil(in, list, &w->labels.n, sizeof(w->labels.n), sizeof(w->labels.n));
		break;
	case 7:
		input_spoil(in, list, &w->services.n, sizeof(w->services.n), sizeof(w->services.n));
		break;
	case 8:
		input_spoil(in, list, &w->seats.list[i % 4], sizeof(w->seats.list[0]), 0);
		break;
	case 9:
		input_spoil(in, list, &w->seats.n, sizeof(w->seats.n), sizeof(w->seats.n));
		break;
	case 10:
		atomic_store(&w->spots.n, 1);
		input_spoil(in, list, &w->spots.list[i % 4], sizeof(w->spots.list[0]), 0);
		break;
	}
}

/* ---- what is believed ---- */

static void check_world(const struct world *w)
{
	uint32_t targets = atomic_load(&w->targets.n), services = atomic_load(&w->services.n);
	struct addr addrs[TARGET_ADDRS];

	CHECK(atomic_load(&w->n_workers) <= WORLD_WORKERS && atomic_load(&w->log_level) <= LOG_LEVEL_DEBUG);
	CHECK(targets <= TARGETS_MAX && services <= COUNTED_SERVICES && atomic_load(&w->labels.n) <= WORLD_LABELS);
	for (uint32_t i = 0; i < targets; i++) {
		const struct target *t = &w->targets.list[i];

		CHECK(memchr(t->key, 0, sizeof(t->key)) && memchr(t->called, 0, sizeof(t->called)));
		CHECK(changed_weight(&t->changed, 1) <= 1000 && changed_force(&t->changed) < FORCES);
		CHECK(changed_max(&t->changed, 0) <= CHANGED_MAX_MAX && atomic_load(&t->changed.disabled) <= 1);
		CHECK(atomic_load(&t->admin_state) <= ADMIN_STATE_DISABLED && atomic_load(&t->state) <= TARGET_PARTIAL);
		CHECK(atomic_load(&t->sequence) % 2 == 0 && target_addrs(t, addrs) == atomic_load(&t->n));
		for (uint32_t k = 0; k < atomic_load(&t->n); k++)
			CHECK(addrs[k].family == AF_INET || addrs[k].family == AF_INET6);
		CHECK(atomic_load(&t->n) > 0 || (atomic_load(&t->state) != TARGET_PARTIAL));
	}
	for (uint32_t i = 0; i < services; i++) {
		const struct known_service *s = &w->services.list[i];

		CHECK(memchr(s->ports, 0, sizeof(s->ports)) && memchr(s->called, 0, sizeof(s->called)));
		CHECK(s->within <= COUNTED_SERVICES && atomic_load(&s->admin_state) <= ADMIN_STATE_DISABLED);
		service_is_out(&w->services, i);
	}
	for (uint32_t i = 0; i < atomic_load(&w->seats.n); i++)
		CHECK(i < SEATS_MAX && atomic_load(&w->seats.list[i].target) < targets &&
		      atomic_load(&w->seats.list[i].left_ms) >= 0);
	for (uint32_t i = 0; i < SPOTS_MAX; i++) {
		const struct spot *p = &w->spots.list[i];

		if (!atomic_load(&p->who))
			continue;
		CHECK(spot_target(p) < targets && spot_service(p) < services);
		CHECK(atomic_load(&p->admin_state) <= ADMIN_STATE_DISABLED && changed_weight(&p->changed, 1) <= 1000);
	}
	for (uint32_t i = 0; i < atomic_load(&w->labels.n); i++)
		CHECK(strlen(labels_text(&w->labels, i)) < LABEL_MAX);
}

/* ---- what is done with it ---- */

static void show(const struct world *w)
{
	struct trio *const none[1] = {NULL};
	struct collect_source source = {.world = w, .trios = none};
	struct collector *v = collect_new(&source);
	struct snapshot *s = collect_take(v, config, 1, true);
	struct buf out = BUF_INIT;
	json_t *j;

	s->log_level = log_level_name((enum log_level)atomic_load(&w->log_level));
	render_status(s, &out);
	render_counters(s, &out);
	render_servers(s, &out);
	buf_clear(&out);
	render_metrics(s, &out);
	for (size_t at = 0, n; at < out.len; at += n)
		CHECK((n = utf8_length(out.s + at, out.len - at)) > 0); /* else nothing of it is taken */
	buf_clear(&out);
	render_status_json(s, &out);
	j = json_loadb(out.s, out.len, JSON_DECODE_INT_AS_REAL, NULL);
	CHECK(j);
	json_decref(j);
	buf_clear(&out);
	render_servers_json(s, &out);
	j = json_loadb(out.s, out.len, JSON_DECODE_INT_AS_REAL, NULL);
	CHECK(j);
	json_decref(j);
	buf_release(&out);
	snapshot_free(s);
	collect_free(v);
}

static void forgotten(void *arg, const char *server, bool gone, const char *commands)
{
	(void)arg;
	CHECK(*server && *commands && commands[strlen(commands) - 1] == '\n');
}

static void use(struct world *w)
{
	uint32_t labels[4] = {0, 1};
	struct buf block = BUF_INIT;
	struct ruleset *r;

	show(w);
	world_take(w, config);
	changes_take(w, config, forgotten, NULL);
	labels_add(&w->labels, "/fuzz:9");
	services_search(&w->services, 25, "inner");
	targets_search(w, "db1:25", "one", 0);
	packed_make(config, labels, NULL, 0, &block);
	r = ruleset_load(block.s, block.len, 1, w);
	CHECK(r);
	ruleset_free(r);
	buf_release(&block);
	check_world(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct spoilt *spoilt = NULL;
	struct world_fds mine;
	struct world *w;
	int open;

	if (!said)
		begin();
	open = fds_open();
	while (in.left > 0)
		spoil(&in, &spoilt);
	mine = (struct world_fds){fcntl(fds.said, F_DUPFD_CLOEXEC, 3), fds.shared};
	w = world_map(&mine, true);
	if (w && world_succeed(w, &mine) == 0) {
		check_world(w);
		use(w);
	}
	world_unmap(w);
	close(mine.said);
	CHECK(fds_open() == open);
	input_repair(&spoilt);
	return 0;
}
