/* What holds for a server: what tcpproxyctl says of it, of its line, its agent, the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ipc/world.h"

#define ASKS 7

static struct world *world;
static struct standing member; /* of a line, checked by an agent; the file says weight 4 and not disabled */

static int setup(void **state)
{
	struct server line = {.kind = SERVER_HOST, .key = (char *)"many:1"};
	struct server a = {.kind = SERVER_HOST, .key = (char *)"10.0.0.1:1"};

	world = world_new_private();
	member = (struct standing){.line = targets_add(&world->targets, world->experience, &line, 0),
	                           .target = targets_add(&world->targets, world->experience, &a, 0),
	                           .asks = ASKS,
	                           .service = COUNTED_SERVICES,
	                           .whole = COUNTED_SERVICES,
	                           .weight = 4};
	atomic_store(&world->targets.list[member.target].of, member.line + 1);
	member.seat = seats_add(&world->seats, member.target, ASKS, 1);
	health_begin(&world->health[member.seat], ASKS);
	return 0;
}

static int teardown(void **state)
{
	world_unmap(world);
	return 0;
}

static struct target *own(void)
{
	return &world->targets.list[member.target];
}

static struct target *line(void)
{
	return &world->targets.list[member.line];
}

static void agent_says(int32_t weight, int64_t max, bool drain)
{
	agent_set(&world->health[member.seat],
	          &(struct agent_view){.weight = weight, .in_percent = true, .max = max, .drain = drain});
}

static void the_nearest_weight_counts(void **state)
{
	assert_int_equal(world_weight(world, &member), 4);
	agent_says(50, -1, false);
	assert_int_equal(world_weight(world, &member), 2);
	changed_set_weight(&line()->changed, WEIGHT_PERCENT, 200);
	assert_int_equal(world_weight(world, &member), 8);
	changed_set_weight(&own()->changed, WEIGHT_NUMBER, 3);
	assert_int_equal(world_weight(world, &member), 3);
	changed_set_weight(&line()->changed, WEIGHT_NUMBER, 9); /* whichever came first */
	assert_int_equal(world_weight(world, &member), 3);
	assert_true(world_has_weight(world, &member));
	changed_set_weight(&own()->changed, WEIGHT_BY_FILE, 0); /* then its agent speaks again */
	assert_int_equal(world_weight(world, &member), 2);
	assert_false(world_has_weight(world, &member));
	changed_set_weight(&own()->changed, WEIGHT_NOT_SAID, 0);
	assert_int_equal(world_weight(world, &member), 9);
}

static void the_nearest_max_counts(void **state)
{
	assert_int_equal(world_max(world, &member, 30), 30);
	agent_says(-1, 20, false);
	assert_int_equal(world_max(world, &member, 30), 20);
	atomic_store(&line()->changed.max, 10 + 1);
	assert_int_equal(world_max(world, &member, 30), 10);
	atomic_store(&own()->changed.max, 0 + 1); /* no limit */
	assert_int_equal(world_max(world, &member, 30), 0);
	atomic_store(&own()->changed.max, CHANGED_BY_FILE);
	assert_int_equal(world_max(world, &member, 30), 20);
}

static void the_nearest_force_counts(void **state)
{
	assert_int_equal(world_force(world, &member), FORCE_AUTO);
	atomic_store(&line()->changed.force, FORCE_DOWN);
	assert_int_equal(world_force(world, &member), FORCE_DOWN);
	assert_int_equal(world_known(world, &member, 1000), KNOWN_DOWN);
	atomic_store(&own()->changed.force, FORCE_UP);
	assert_int_equal(world_force(world, &member), FORCE_UP);
	atomic_store(&own()->changed.force, FORCE_AUTO);
	assert_int_equal(world_force(world, &member), FORCE_AUTO);
}

static void so_does_the_nearest_that_says_whether_clients_may_come(void **state)
{
	agent_says(-1, -1, true);
	assert_true(world_is_out(world, &member));
	atomic_store(&line()->admin_state, ADMIN_STATE_ENABLED);
	assert_false(world_is_out(world, &member));
	atomic_store(&own()->admin_state, ADMIN_STATE_DRAINING);
	assert_true(world_is_out(world, &member));
	assert_int_equal(world_admin_state(world, &member), ADMIN_STATE_DRAINING);
	atomic_store(&own()->admin_state, ADMIN_STATE_ENABLED);
	changed_set_weight(&line()->changed, WEIGHT_NUMBER, 0);
	assert_true(world_is_out(world, &member));
	changed_set_weight(&own()->changed, WEIGHT_BY_FILE, 0);
	assert_false(world_is_out(world, &member));
}

/* In the section, in its service, everywhere; then of its line. */
static void in_one_service_is_nearer_than_in_all(void **state)
{
	struct standing elsewhere = member;
	struct spot *own_here, *own_whole, *line_here;

	member.service = 3;
	member.whole = 2;
	elsewhere.service = 4;
	elsewhere.whole = COUNTED_SERVICES;
	line_here = spots_add(&world->spots, 3, member.line);
	changed_set_weight(&line_here->changed, WEIGHT_NUMBER, 10);
	assert_int_equal(world_weight(world, &member), 10);
	changed_set_weight(&own()->changed, WEIGHT_NUMBER, 20);
	assert_int_equal(world_weight(world, &member), 20);
	own_whole = spots_add(&world->spots, 2, member.target);
	changed_set_weight(&own_whole->changed, WEIGHT_NUMBER, 30);
	own_here = spots_add(&world->spots, 3, member.target);
	assert_int_equal(world_weight(world, &member), 30);
	changed_set_weight(&own_here->changed, WEIGHT_NUMBER, 40);
	assert_int_equal(world_weight(world, &member), 40);
	assert_int_equal(world_weight(world, &elsewhere), 20);
	atomic_store(&own_whole->admin_state, ADMIN_STATE_DISABLED);
	assert_true(world_is_out(world, &member));
	assert_false(world_is_out(world, &elsewhere));
}

static void what_is_farther_is_known(void **state)
{
	struct spoken list[SPOKEN_MAX], of;

	world->services.list[3].within = 2 + 1;
	spots_add(&world->spots, 2, member.target);
	of = spoken_of_spot(spots_add(&world->spots, 3, member.target));
	assert_int_equal(world_farther(world, &of, list), 3);
	assert_int_equal(list[0].service, 2);
	assert_int_equal(list[1].service, COUNTED_SERVICES);
	assert_int_equal(list[2].target, member.line);
	of = world_spoken_of(world, member.line);
	assert_int_equal(world_farther(world, &of, list), 0);
}

static void wherever_it_stands_it_is_of_its_line(void **state)
{
	struct standing of = world_standing_anywhere(world, member.target);

	assert_int_equal(of.line, member.line);
	assert_int_equal(world_standing_anywhere(world, member.line).line, TARGET_NONE);
	assert_int_equal(world_standing_anywhere(world, TARGET_NONE).line, TARGET_NONE);
	atomic_store(&own()->of, UINT32_MAX);
	assert_int_equal(world_standing_anywhere(world, member.target).line, TARGET_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(the_nearest_weight_counts, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_nearest_max_counts, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_nearest_force_counts, setup, teardown),
	        cmocka_unit_test_setup_teardown(so_does_the_nearest_that_says_whether_clients_may_come, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(in_one_service_is_nearer_than_in_all, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_is_farther_is_known, setup, teardown),
	        cmocka_unit_test_setup_teardown(wherever_it_stands_it_is_of_its_line, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
