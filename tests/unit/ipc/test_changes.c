/* What tcpproxyctl has changed: as commands, and when the file beats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "ipc/changes.h"

static struct world *world;
static struct config *config;
static struct buf told; /* what was forgotten */

static int setup(void **state)
{
	world = world_new_private();
	config = NULL;
	return world ? 0 : -1;
}

static int teardown(void **state)
{
	config_free(config);
	munmap(world, sizeof(*world));
	buf_release(&told);
	return 0;
}

static void forgotten(void *arg, const char *server, bool gone, const char *commands)
{
	buf_addf(&told, "%s: %s", server, commands);
}

/* The configuration from now on; what that makes forgotten. */
static const char *take(const char *text)
{
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};

	config_free(config);
	config = config_parse("", text, &nothing, &errors);
	if (!config)
		fail_msg("%s", errors.list[0].message);
	buf_clear(&told);
	world_take(world, config);
	changes_take(world, config, forgotten, NULL);
	return told.len > 0 ? told.s : "";
}

static struct target *target(const char *key)
{
	uint32_t i = targets_like(&world->targets, key);

	assert_int_not_equal(i, TARGET_NONE);
	return &world->targets.list[i];
}

static const char *commands(const char *key)
{
	static struct buf text;

	buf_release(&text);
	changes_of(world,
	           &(struct spoken){&target(key)->admin_state, &target(key)->changed,
	                            (uint32_t)(target(key) - world->targets.list), COUNTED_SERVICES},
	           1000, &text);
	return text.s ? text.s : "";
}

static void change(const char *key)
{
	changed_set_weight(&target(key)->changed, WEIGHT_NUMBER, 5);
	atomic_store(&target(key)->changed.max, 0 + 1);
	atomic_store(&target(key)->changed.force, FORCE_UP);
}

static void changes_are_commands(void **state)
{
	take("port 25 as mail\nserver a:1\nserver b:1 as x\nserver [::1]:7\n");
	assert_string_equal(commands("a:1"), "");
	change("a:1");
	assert_string_equal(commands("a:1"), "weight a:1 5\nmax a:1 0\nforce a:1 up\n");
	changed_set_weight(&target("b:1")->changed, WEIGHT_PERCENT, 0);
	atomic_store(&target("b:1")->admin_state, ADMIN_STATE_DRAINING);
	atomic_store(&target("b:1")->changed.drained_ms, 1000 + 61000);
	assert_string_equal(commands("b:1"), "drain mail/x within 61\nweight mail/x 0%\n");
	atomic_store(&target("[::1]:7")->changed.force, FORCE_DOWN);
	assert_string_equal(commands("[::1]:7"), "force '[::1]:7' down\n"); /* a pattern of the shell */
}

static void a_weight_is_of_what_the_file_says(void **state)
{
	struct changed c = {0};

	assert_int_equal(changed_weight(&c, 7), 7);
	changed_set_weight(&c, WEIGHT_PERCENT, 50);
	assert_int_equal(changed_weight(&c, 7), 3);
	changed_set_weight(&c, WEIGHT_PERCENT, 1);
	assert_int_equal(changed_weight(&c, 7), 1); /* 0 is only what was said */
	assert_int_equal(changed_weight(&c, 0), 0);
	changed_set_weight(&c, WEIGHT_PERCENT, 0);
	assert_int_equal(changed_weight(&c, 7), 0);
	changed_set_weight(&c, WEIGHT_NUMBER, 0);
	assert_int_equal(changed_weight(&c, 7), 0);
	changed_set_weight(&c, WEIGHT_BY_FILE, 9);
	assert_int_equal(changed_weight(&c, 7), 7);
}

static void the_file_wins_where_it_speaks(void **state)
{
	take("port 25\nserver a:1\nserver b:1\n");
	change("a:1");
	change("b:1");
	assert_string_equal(take("port 25\ntimeout 5\nserver b:1\nserver a:1 weight=1\n"), ""); /* that says the same */
	assert_string_equal(take("port 25\nserver a:1 max=3\nserver b:1\n"),
	                    "a:1: weight a:1 5\nmax a:1 0\nforce a:1 up\n");
	assert_string_equal(commands("a:1"), "");
	assert_string_equal(take("port 25\nserver a:1 max=3\n"), "b:1: weight b:1 5\nmax b:1 0\nforce b:1 up\n");
	assert_string_equal(take("port 25\nserver a:1 max=3\nserver b:1\n"), "");
	assert_string_equal(commands("b:1"), "");
}

static void a_server_of_several_sections_has_several_lines(void **state)
{
	take("port 25\nserver a:1\nport 26\nserver a:1 weight=2\n");
	change("a:1");
	assert_string_equal(take("port 26\nserver a:1 weight=2\nport 25\nserver a:1\nport 27\nserver a:1\n"), "");
	assert_string_not_equal(take("port 25\nserver a:1\nport 26\nserver a:1 weight=3\n"), "");
	change("a:1");
	assert_string_not_equal(take("port 25\nserver a:1\n"), "");
}

static void in_one_service_it_is_said_with_its_name(void **state)
{
	struct buf text = BUF_INIT;
	struct spoken of;
	struct words words;
	struct spot *p;

	take("port 25 as mail\nserver a:1\nport 26\nserver a:1 disabled\n");
	p = changes_spot(world, config, 1, 0);
	words = words_of_spot(p);
	of = spoken_of_spot(p);
	atomic_store(words.admin_state, ADMIN_STATE_ENABLED);
	changed_set_weight(words.changed, WEIGHT_NUMBER, 5);
	changes_of(world, &of, 0, &text);
	assert_string_equal(text.s, "enable 26/a:1\nweight 26/a:1 5\n");
	assert_string_equal(commands("a:1"), "");
	buf_release(&text);
}

static void the_file_wins_where_it_speaks_of_it_there(void **state)
{
	struct words one, two;

	take("port 25 as mail\nserver a:1\nport 26\nserver a:1\n");
	one = words_of_spot(changes_spot(world, config, 0, 0));
	two = words_of_spot(changes_spot(world, config, 1, 0));
	changed_set_weight(one.changed, WEIGHT_NUMBER, 5);
	atomic_store(&two.changed->max, 7 + 1);
	atomic_store(two.admin_state, ADMIN_STATE_DISABLED);
	assert_string_equal(take("port 26\nserver a:1\nport 25 as mail\nserver a:1\nport 27\nserver a:1\n"), "");
	assert_string_equal(take("port 25 as mail\nserver a:1 max=3\nport 26\nserver a:1\n"),
	                    "mail/a:1: weight mail/a:1 5\n");
	assert_string_equal(take("port 25 as mail\nserver a:1 max=3\n"), "26/a:1: disable 26/a:1\nmax 26/a:1 7\n");
	assert_int_equal(atomic_load(two.admin_state), ADMIN_STATE_DISABLED); /* until the file says that word */
	assert_int_equal(atomic_load(&two.changed->line), 0);
}

/* Who has taken a server out does not expect it to come back with its weight. */
static void whether_clients_may_come_is_forgotten_by_that_word_alone(void **state)
{
	take("port 25\nserver a:1\n");
	atomic_store(&target("a:1")->admin_state, ADMIN_STATE_DISABLED);
	assert_string_equal(take("port 25\nserver a:1 weight=3\n"), "");
	assert_string_equal(commands("a:1"), "disable a:1\n");
	assert_string_equal(take("port 25\nserver a:1 weight=3 disabled\n"), "a:1: disable a:1\n");
	assert_string_equal(commands("a:1"), "");
	atomic_store(&target("a:1")->admin_state, ADMIN_STATE_ENABLED);
	assert_string_equal(commands("a:1"), "enable a:1\n");
	assert_string_equal(take("port 25\nserver a:1 disabled as x\n"),
	                    ""); /* the same server still, which has a name */
	assert_string_equal(commands("a:1"), "enable 25/x\n");
	assert_string_equal(take("port 25\nserver a:1 as x\n"), "25/x: enable 25/x\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(changes_are_commands),
	        TEST(a_weight_is_of_what_the_file_says),
	        TEST(the_file_wins_where_it_speaks),
	        TEST(a_server_of_several_sections_has_several_lines),
	        TEST(in_one_service_it_is_said_with_its_name),
	        TEST(the_file_wins_where_it_speaks_of_it_there),
	        TEST(whether_clients_may_come_is_forgotten_by_that_word_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
