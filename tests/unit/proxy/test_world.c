/* What the supervisor says of the world: who may write it, what the next supervisor believes of it, and what services and servers
 * are known by. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../child.h"
#include "base/clock.h"
#include "os/shm.h"
#include "ipc/world.h"

static struct world *world;
static struct world_fds fds;
static struct config *config;

static int setup(void **state)
{
	assert_int_equal(world_new(&world, &fds), 0);
	config = NULL;
	return 0;
}

static int teardown(void **state)
{
	config_free(config);
	world_unmap(world);
	close(fds.said);
	close(fds.shared);
	return 0;
}

static struct server server_named(char *key)
{
	return (struct server){.kind = SERVER_HOST, .key = key, .host = key};
}

/* As a worker has it. */
static void a_worker_reads_and_cannot_write(void **state)
{
	struct server s = server_named((char *)"mail:25");
	struct world *w = world_map(&fds, true);

	assert_non_null(w);
	assert_int_equal(targets_add(&world->targets, world->experience, &s, 0), 0);
	assert_string_equal(w->targets.list[0].key, "mail:25");
	atomic_fetch_add(&w->next_id, 1); /* that is its own */
	assert_int_equal(atomic_load(&world->next_id), 2);
	assert_int_equal(mprotect(w, WORLD_PAGE, PROT_READ | PROT_WRITE), -1);
	assert_ptr_equal(mmap(NULL, WORLD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds.said, 0), MAP_FAILED);
	assert_int_equal(pwrite(fds.said, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fds.said, 0), -1);
	world_unmap(w);
}

static struct world *liar; /* what a trio hands to the next supervisor, as if it were what the last one has said */
static struct world_fds lies;

static void tell_lies(void)
{
	memset(liar->targets.list[0].key, 'x', sizeof(liar->targets.list[0].key));
	memset(liar->targets.list[0].called, 'x', sizeof(liar->targets.list[0].called));
	liar->targets.list[0].admin_state = 77;
	liar->targets.list[0].n = 9999;
	liar->targets.list[0].sequence = 1;
	liar->targets.list[0].state = 77;
	liar->targets.list[0].changed = (struct changed){
	        .weight = UINT32_MAX, .max = UINT32_MAX, .force = 77, .drained_ms = INT64_MAX, .disabled = 77};
	liar->targets.list[1].changed = (struct changed){.weight = 1u << 16 | 1001, .drained_ms = INT64_MIN};
	liar->targets.list[2].changed =
	        (struct changed){.weight = 5, .max = 8, .force = FORCE_DOWN}; /* no kind of weight */
	liar->targets.list[1].state = TARGET_PARTIAL;                         /* of which there is no address */
	liar->totals.started_wall_us = INT64_MIN;
	liar->totals.reload_wall_us = INT64_MAX;
	liar->targets.list[0].addrs[0] = (struct addr){.family = AF_INET};
	liar->targets.list[0].addrs[1] = (struct addr){.family = 12345};
	memset(liar->labels.text[0], 'x', LABEL_MAX);
	memset(liar->services.list[0].ports, 'x', sizeof(liar->services.list[0].ports));
	liar->services.list[0].admin_state = 77;
	liar->services.list[0].within = UINT32_MAX;
	liar->targets.n = liar->labels.n = liar->services.n = UINT32_MAX;
	liar->seats.n = UINT32_MAX;
	liar->seats.list[0].target = UINT32_MAX;
	liar->seats.list[0].left_ms = INT64_MIN;
	liar->seats.list[1].left_ms = INT64_MAX;
	liar->n_workers = liar->log_level = UINT32_MAX;
}

static void the_next_supervisor_believes_what_can_be(void **state)
{
	struct addr addrs[TARGET_ADDRS];
	struct world *w;

	assert_int_equal(world_new(&liar, &lies), 0);
	tell_lies();
	w = world_map(&lies, true);
	assert_non_null(w);
	assert_int_equal(world_succeed(w, &lies), 0);
	assert_int_equal(w->targets.n, TARGETS_MAX);
	assert_int_equal(w->labels.n, WORLD_LABELS);
	assert_int_equal(w->services.n, COUNTED_SERVICES);
	assert_true(w->n_workers <= WORLD_WORKERS);
	assert_int_equal(strlen(w->targets.list[0].key), TARGET_KEY_MAX - 1);
	assert_int_equal(strlen(w->labels.text[0]), LABEL_MAX - 1);
	assert_int_equal(strlen(w->services.list[0].ports), sizeof(w->services.list[0].ports) - 1);
	assert_int_equal(w->targets.list[0].admin_state, ADMIN_STATE_BY_FILE);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(changed_weight(&w->targets.list[i].changed, 7), 7);
		assert_int_equal(w->targets.list[i].changed.drained_ms, 0);
	}
	assert_int_equal(changed_max(&w->targets.list[0].changed, 7), 7);
	assert_int_equal(changed_force(&w->targets.list[0].changed), FORCE_NOT_SAID);
	assert_int_equal(w->targets.list[0].changed.disabled, 1);
	assert_int_equal(changed_max(&w->targets.list[2].changed, 0), 7); /* that can be */
	assert_int_equal(changed_force(&w->targets.list[2].changed), FORCE_DOWN);
	assert_int_equal(w->targets.list[0].state, TARGET_UNKNOWN);
	assert_int_equal(w->targets.list[1].state, TARGET_UNKNOWN);
	assert_in_range(w->totals.started_wall_us, 1, clock_wall_us());
	assert_int_equal(w->totals.reload_wall_us, 0);
	assert_int_equal(w->services.list[0].admin_state, ADMIN_STATE_BY_FILE);
	assert_int_equal(w->services.list[0].within, 0);
	assert_int_equal(w->seats.n, SEATS_MAX);
	assert_true(w->seats.list[0].target < TARGETS_MAX);
	assert_in_range(w->seats.list[0].left_ms, 1, clock_mono_ms());
	assert_in_range(w->seats.list[1].left_ms, 1, clock_mono_ms());
	assert_int_equal(target_addrs(&w->targets.list[0], addrs), 1);
	/* and it is its own from now on: the one before may say what it likes */
	liar->targets.n = 3;
	assert_int_equal(w->targets.n, TARGETS_MAX);
	world_unmap(w);
	world_unmap(liar);
	close(lies.said);
	close(lies.shared);
}

/* An address that stands in the configuration is what it says, whoever has handed over another. */
static void an_address_of_the_file_is_not_told_by_others(void **state)
{
	struct server s = server_named((char *)"10.0.0.2:25"),
	              path = {.kind = SERVER_UNIX, .key = (char *)"unix:/run/x"};
	struct addr other = {.family = AF_INET, .ip = {6, 6, 6, 6}}, addrs[TARGET_ADDRS];
	struct target *t = &world->targets.list[0];

	assert_true(addr_parse("10.0.0.2", &s.addr));
	assert_int_equal(targets_add(&world->targets, world->experience, &s, 0), 0);
	assert_int_equal(targets_add(&world->targets, world->experience, &path, 0), 1);
	target_set_addrs(t, (struct addr[]){other, s.addr}, 2, false);
	atomic_store(&world->targets.list[1].state, TARGET_UNRESOLVED);
	assert_int_equal(targets_add(&world->targets, world->experience, &s, 0), 0);
	assert_int_equal(targets_add(&world->targets, world->experience, &path, 0), 1);
	assert_int_equal(target_addrs(t, addrs), 1);
	assert_true(addr_same_host(&addrs[0], &s.addr));
	assert_int_equal(world->targets.list[1].state, TARGET_RESOLVED);
	atomic_store(&t->state, TARGET_UNRESOLVED);
	assert_int_equal(targets_add(&world->targets, world->experience, &s, 0), 0);
	assert_int_equal(t->state, TARGET_RESOLVED);
}

static void what_was_said_goes_on(void **state)
{
	struct server a = server_named((char *)"a:1"), b = server_named((char *)"b:2"), c = server_named((char *)"c:3");
	struct world *w = world_map(&fds, true);
	struct world_fds next = {fcntl(fds.said, F_DUPFD_CLOEXEC, 3), fds.shared};

	targets_add(&world->targets, world->experience, &a, 0);
	targets_add(&world->targets, world->experience, &b, 0);
	atomic_store(&world->targets.list[1].admin_state, ADMIN_STATE_DISABLED);
	changed_set_weight(&world->targets.list[1].changed, WEIGHT_PERCENT, 50);
	labels_add(&world->labels, "/etc/x:1");
	atomic_store(&world->totals.reloads, 7);
	assert_int_equal(world_succeed(w, &next), 0);
	assert_int_equal(targets_find(&w->targets, "b:2", NULL, 0), 1);
	assert_int_equal(w->targets.list[1].admin_state, ADMIN_STATE_DISABLED);
	assert_int_equal(changed_weight(&w->targets.list[1].changed, 8), 4);
	assert_string_equal(labels_text(&w->labels, 0), "/etc/x:1");
	assert_int_equal(w->totals.reloads, 7);
	/* a worker hears it at the same place */
	assert_int_equal(targets_add(&w->targets, w->experience, &c, 0), 2);
	assert_int_equal(world->targets.n, 2);
	assert_int_equal(world_listen(world, next.said), 0);
	assert_int_equal(world->targets.n, 3);
	world_unmap(w);
	close(next.said);
}

static void other_memory_is_not_mapped(void **state)
{
	void *map;
	int small = shm_new("small", WORLD_PAGE, &map);
	int large = memfd_create("large", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct world_fds mixed = {fds.shared, fds.said}, short_ones = {small, fds.shared}, loose = {large, fds.shared};

	assert_null(world_map(&mixed, true));
	assert_null(world_map(&short_ones, true));
	assert_int_equal(ftruncate(large, (off_t)((char *)&world->next_id - (char *)world)), 0);
	assert_null(world_map(&loose, true)); /* it could still be made smaller, and kill who reads it */
	assert_true(world_listen(world, small) < 0);
	munmap(map, WORLD_PAGE);
	close(small);
	close(large);
}

/* The configuration from now on. */
static void take(const char *text)
{
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};

	config_free(config);
	config = config_parse("", text, &nothing, &errors);
	if (!config)
		fail_msg("%s", errors.list[0].message);
	world_take(world, config);
}

static uint32_t service(size_t section)
{
	return world_service(world, config, &config->sections[section]);
}

static const char *label(size_t section)
{
	return service_label(&world->services.list[service(section)]);
}

static uint32_t target(size_t section, size_t server)
{
	const struct section *s = &config->sections[section];

	return world_target(world, config, s, &s->servers[server]);
}

static struct target *entry(size_t section, size_t server)
{
	assert_int_not_equal(target(section, server), TARGET_NONE);
	return &world->targets.list[target(section, server)];
}

static struct experience *experience(size_t section, size_t server)
{
	return &world->experience[entry(section, server) - world->targets.list];
}

static void services_are_called_by_the_nearest_name(void **state)
{
	take("port 25 2525 as mail\nserver a:1\ninterface 10.0.0.1 as inside\ninterface 10.0.0.2\n"
	     "port 8000-8010\nserver a:1\ninterface 10.0.0.1 as own\n");
	assert_string_equal(label(0), "mail");
	assert_string_equal(label(1), "inside");
	assert_string_equal(label(2), "mail");
	assert_string_equal(label(3), "8000-8010");
	assert_string_equal(label(4), "own");
	assert_int_equal(world->services.n, 4);
	assert_int_equal(world->services.list[service(1)].within, service(0) + 1);
	assert_string_equal(world->services.list[service(1)].ports, "25,2525");
	take("port 25 2525 as mail\nserver a:1\n"); /* again: nothing new */
	assert_int_equal(world->services.n, 4);
}

static void two_services_of_one_port_are_told_apart_by_their_names(void **state)
{
	take("port 25 as one\ninterface 10.0.0.1\nserver a:1 as x\nport 25 as two\ninterface 10.0.0.2\nserver b:1 as "
	     "x\n"
	     "port 26\ninterface 10.0.0.1\nserver a:1\nport 26\ninterface 10.0.0.2\nserver a:1\n");
	assert_int_not_equal(service(1), service(3));
	assert_int_not_equal(target(1, 0), target(3, 0));
	assert_int_equal(service(5), service(7));
	assert_int_equal(target(5, 0), target(7, 0));
}

static void a_service_that_is_given_a_name_stays_as_it_was_told_to_be(void **state)
{
	take("port 25\nserver a:1\n");
	atomic_store(&world->services.list[service(0)].admin_state, ADMIN_STATE_DISABLED);
	take("port 25 as mail\nserver a:1\ninterface 10.0.0.1 as inside\n");
	assert_int_equal(service(0), 1);
	assert_true(service_is_out(&world->services, service(0)));
	assert_true(service_is_out(&world->services, service(1))); /* it is a section of that */
	atomic_store(&world->services.list[service(0)].admin_state, ADMIN_STATE_ENABLED);
	assert_false(service_is_out(&world->services, service(1)));
	atomic_store(&world->services.list[service(1)].admin_state, ADMIN_STATE_DISABLED);
	assert_true(service_is_out(&world->services, service(1)));
	assert_false(service_is_out(&world->services, service(0)));
	assert_false(service_is_out(&world->services, COUNTED_SERVICES));
}

static void a_server_with_a_name_is_one_in_its_service(void **state)
{
	take("port 25\nserver a:1\nserver b:1 as x\ninterface 10.0.0.1\nserver b:1 backup as x\nserver b:1\n"
	     "port 26\nserver a:1\nserver b:1 as x\nserver b:1 as y\n");
	assert_int_equal(target(0, 0), target(2, 0));
	assert_int_equal(target(0, 1), target(1, 0));
	assert_int_not_equal(target(0, 1), target(1, 1));
	assert_int_not_equal(target(0, 1), target(2, 1));
	assert_int_not_equal(target(2, 1), target(2, 2));
	assert_string_equal(target_label(entry(0, 1)), "x");
	assert_string_equal(entry(0, 1)->key, "b:1");
	assert_string_equal(target_label(entry(1, 1)), "b:1");
	assert_int_equal(world->targets.n, 5);
}

static void a_server_that_is_given_a_name_stays_what_it_was(void **state)
{
	const struct addr addr = {.family = AF_INET, .ip = {10, 0, 0, 9}};
	struct addr got[TARGET_ADDRS];

	take("port 25\nserver a:1\nserver b:1\n");
	target_set_addrs(entry(0, 0), &addr, 1, false);
	atomic_store(&entry(0, 0)->admin_state, ADMIN_STATE_DISABLED);
	target_failed(experience(0, 0), 5, ECONNREFUSED);
	take("port 25\nserver a:1 as x\nserver b:1\n");
	assert_int_equal(target(0, 0), 2);
	assert_int_equal(entry(0, 0)->admin_state, ADMIN_STATE_DISABLED);
	assert_true(target_is_avoided(experience(0, 0), 6));
	assert_int_equal(target_health(experience(0, 0)).finding, FAILS);
	assert_int_equal(entry(0, 0)->state, TARGET_RESOLVED);
	assert_int_equal(target_addrs(entry(0, 0), got), 1);
	assert_int_equal(got[0].ip[3], 9);
	take("port 25\nserver a:1 as y\nserver b:1\n"); /* another one */
	assert_int_equal(entry(0, 0)->admin_state, ADMIN_STATE_DISABLED);
	/* in another service it is another server, at the same addresses */
	take("port 25\nserver b:1\nport 26\nserver a:1 as y\n");
	assert_int_equal(entry(1, 0)->admin_state, ADMIN_STATE_BY_FILE);
	assert_int_equal(entry(1, 0)->state, TARGET_RESOLVED);
	assert_int_equal(target_addrs(entry(1, 0), got), 1);
}

static void names_of_another_program_are_found_or_the_nearest(void **state)
{
	const struct services *s = &world->services;

	take("port 25 as mail\nserver a:1 as x\nserver b:1\ninterface 10.0.0.1 as inside\nserver c:1 as z\n");
	assert_int_equal(services_search(s, 25, "mail"), service(0));
	assert_int_equal(services_search(s, 25, "inside"), service(1));
	assert_int_equal(services_search(s, 25, ""), service(0));
	assert_int_equal(services_search(s, 25, "gone"), service(0));
	assert_int_equal(services_search(s, 26, "mail"), COUNTED_SERVICES);
	assert_int_equal(targets_search(world, "a:1", "x", service(0)), target(0, 0));
	assert_int_equal(targets_search(world, "c:1", "z", service(1)), target(1, 0));
	assert_int_equal(targets_search(world, "a:1", "", service(0)), target(0, 0));
	assert_int_equal(targets_search(world, "b:1", "gone", COUNTED_SERVICES), target(0, 1));
	assert_int_equal(targets_search(world, "d:1", "x", service(0)), TARGET_NONE);
}

static void more_services_than_there_is_room_for(void **state)
{
	struct buf text = BUF_INIT;

	for (int i = 1; i <= COUNTED_SERVICES + 10; i++)
		buf_addf(&text, "port %d as s%d\nserver a:1 as x\n", i, i);
	take(text.s);
	buf_release(&text);
	assert_int_equal(world->services.n, COUNTED_SERVICES);
	assert_int_equal(service(COUNTED_SERVICES - 1), COUNTED_SERVICES - 1);
	assert_int_equal(service(COUNTED_SERVICES + 5), COUNTED_SERVICES);
	assert_int_not_equal(target(COUNTED_SERVICES + 5, 0), TARGET_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_worker_reads_and_cannot_write),
	        TEST(the_next_supervisor_believes_what_can_be),
	        TEST(an_address_of_the_file_is_not_told_by_others),
	        TEST(what_was_said_goes_on),
	        TEST(other_memory_is_not_mapped),
	        TEST(services_are_called_by_the_nearest_name),
	        TEST(two_services_of_one_port_are_told_apart_by_their_names),
	        TEST(a_service_that_is_given_a_name_stays_as_it_was_told_to_be),
	        TEST(a_server_with_a_name_is_one_in_its_service),
	        TEST(a_server_that_is_given_a_name_stays_what_it_was),
	        TEST(names_of_another_program_are_found_or_the_nearest),
	        TEST(more_services_than_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
