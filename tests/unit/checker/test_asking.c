/* Which checks a configuration wants, and who wants to know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "checker/asking.h"

static struct world *world;
static struct asking *asking;

static int setup(void **state)
{
	world = world_new_private();
	asking = NULL;
	return 0;
}

static int teardown(void **state)
{
	asking_free(asking);
	munmap(world, sizeof(*world));
	return 0;
}

static void ask(const char *text)
{
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("", text, &nothing, &errors);

	if (!c)
		fail_msg("%s", errors.list[0].message);
	world_take(world, c);
	asking_free(asking);
	asking = asking_new(c, world);
}

static void the_same_question_is_asked_once(void **state)
{
	ask("port 25\ncheck tcp\ncheck smtp\nserver h1\ninterface 10.0.0.1\nport 26\ncheck tcp\nserver h1:25\n"
	    "port 27\ncheck every=3s tcp\nserver h1:25\n");
	/* "h1" and "h1:25" are two spellings; h1 has one seat in the two sections of port 25 */
	assert_int_equal(asking->n_places, 2);
	assert_int_equal(asking->n_wants, 3);
	assert_int_equal(asking->n_asked, 3);
	ask("port 25\ncheck tcp\nserver h1:25\nport 26\ncheck tcp\ncheck ssh\nserver h1:25\nport 27\nserver h1:25\n");
	assert_int_equal(asking->n_places, 2);
	assert_int_equal(asking->n_wants, 3);
	assert_int_equal(asking->n_asked, 2); /* "tcp" for both */
}

static void no_two_have_one_key(void **state)
{
	struct check *list;

	ask("port 25\ncheck tcp\ncheck port=26 tcp\ncheck every=9s tcp\ncheck from=10.0.0.1 tcp\nserver h1\nserver "
	    "h2\n");
	assert_int_equal(asking->n_asked, 8);
	list = asking_checks(asking);
	for (size_t i = 0; i < asking->n_asked; i++) {
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(list[i].key, list[k].key);
		assert_ptr_equal(list[i].owner, &asking->asked[i]);
		assert_int_equal(asking->asked[i].port, asking->asked[i].line->port ? 26 : 25);
		script_release(&list[i].script);
	}
	free(list);
}

static void nothing_is_asked_of_programs(void **state)
{
	ask("check tcp\nport 25\nexec /bin/true\nport 26\nserver h1\ncheck off\n");
	assert_int_equal(asking->n_places, 0);
	assert_int_equal(asking->n_asked, 0);
}

static struct asked *asked_kind(const char *kind)
{
	for (size_t i = 0; i < asking->n_asked; i++)
		if (strcmp(asking->asked[i].line->kind, kind) == 0)
			return &asking->asked[i];
	fail();
	return NULL;
}

/* A checker dies at any moment; the next one goes on with what it had found out. */
static void counts_go_on(void **state)
{
	static const char text[] = "port 25\ncheck tcp\ncheck ssh\nserver h1:25\nport 26\ncheck tcp\nserver h1:25\n";
	const struct place *p;
	struct health *h;

	ask(text);
	p = asking->places[0].section->n_checks == 2 ? &asking->places[0] : &asking->places[1];
	h = &world->health[p->seat];
	health_begin(h, p->asks);
	atomic_store(&h->pulses[1], PULSE_UP | 2 << 8);
	ask(text);
	assert_int_equal(asked_kind("ssh")->pulse.state, PULSE_UP);
	assert_int_equal(asked_kind("ssh")->pulse.row, 2);
	assert_int_equal(asked_kind("tcp")->pulse.state, PULSE_UNKNOWN);
	atomic_store(&h->pulses[1], 77); /* whatever that is */
	ask(text);
	assert_int_equal(asked_kind("ssh")->pulse.state, PULSE_UNKNOWN);
	atomic_store(&h->pulses[1], PULSE_DOWN);
	atomic_store(&h->asks, 1); /* it is about another seat */
	ask(text);
	assert_int_equal(asked_kind("ssh")->pulse.state, PULSE_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(the_same_question_is_asked_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(no_two_have_one_key, setup, teardown),
	        cmocka_unit_test_setup_teardown(nothing_is_asked_of_programs, setup, teardown),
	        cmocka_unit_test_setup_teardown(counts_go_on, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
