/* Servers that the file does not say, as a text that is kept for the next supervisor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ipc/kept.h"
#include "ipc/roster.h"

static void add(struct roster *r, bool added, const char *section, const char *text)
{
	struct server s;

	assert_true(server_parse(text, NULL, &s, NULL));
	roster_add(r, added, section, &s);
	server_release(&s);
}

static char *as_text(const struct roster *r)
{
	struct buf text = BUF_INIT;

	roster_print(r, &text);
	return buf_detach(&text);
}

static void it_is_read_as_it_was_written(void **state)
{
	struct roster r = {0}, again;
	char *text, *twice;

	assert_true(roster_bring(&r, "servers file:/a", "x:1 weight=2\ny:1\n"));
	assert_true(roster_bring(&r, "servers \"file:/b c\"", ""));
	assert_false(roster_bring(&r, "servers file:/a", "x:1 weight=2\ny:1\n"));
	add(&r, true, "25", "z:1 max=3 as last");
	add(&r, false, "25/lan", "q:1");
	assert_true(roster_add_line(&r, "25", "server many:1 each weight=2 as many"));
	assert_true(roster_add_line(&r, "25/lan", "server srv:_a._tcp.b"));
	assert_false(roster_add_line(&r, "25", "server many:1"));
	text = as_text(&r);
	roster_parse(text, &again);
	twice = as_text(&again);
	assert_string_equal(text, twice);
	assert_string_equal(roster_brought(&again, "servers file:/a")->lines, "x:1 weight=2\ny:1\n");
	assert_string_equal(roster_brought(&again, "servers \"file:/b c\"")->lines, "");
	assert_null(roster_brought(&again, "servers file:/c"));
	assert_string_equal(roster_find(&again, "25", "last")->key, "z:1");
	assert_true(roster_find(&again, "25", "z:1")->added);
	assert_false(roster_find(&again, "25/lan", "q:1")->added);
	assert_null(roster_find(&again, "25", "q:1"));
	assert_true(roster_find(&again, "25", "many")->stands);
	assert_string_equal(roster_find(&again, "25", "many:1")->server, "server many:1 each weight=2 as many");
	assert_true(roster_find(&again, "25/lan", "srv:_a._tcp.b")->stands);
	assert_false(roster_find(&again, "25/lan", "q:1")->stands);
	roster_drop(&again, roster_find(&again, "25", "z:1"));
	assert_int_equal(again.n_entries, 3);
	roster_release(&r);
	roster_release(&again);
	free(text);
	free(twice);
}

static void any_text_is_read_as_far_as_it_makes_sense(void **state)
{
	struct roster r;

	roster_parse("member x:1\nadded\nadded 25\nadded 25 \"x\nremoved 25 x:y:z\nwithout\nwithout 25\nwithout 25 "
	             "server a:1\nsource\nwhatever\nadded 25 a:1\nsource s",
	             &r);
	assert_int_equal(r.n_entries, 1);
	assert_int_equal(r.n_brought, 1);
	roster_release(&r);
}

static void what_nobody_wants_is_forgotten(void **state)
{
	struct roster r = {0};

	roster_bring(&r, "a", "x:1\n");
	roster_bring(&r, "b", "y:1\n");
	r.brought[0].wanted = false;
	roster_forget_brought(&r);
	assert_null(roster_brought(&r, "a"));
	assert_non_null(roster_brought(&r, "b"));
	roster_release(&r);
}

static void assert_kept(const struct kept *k, const char *text)
{
	char *got = kept_read(k);

	assert_string_equal(got, text);
	free(got);
}

static void the_old_one_or_the_new_one_is_kept(void **state)
{
	struct kept *k = mem_alloc(sizeof(*k));
	char *much = mem_alloc(KEPT_MAX + 1);

	assert_kept(k, "");
	assert_true(kept_write(k, "one", 3));
	assert_kept(k, "one");
	k->halves[0].len = UINT32_MAX; /* who writes the next one dies */
	memcpy(k->halves[0].text, "tw", 2);
	assert_kept(k, "one");
	assert_true(kept_write(k, "three", 5));
	assert_kept(k, "three");
	assert_false(kept_write(k, much, KEPT_MAX + 1));
	assert_kept(k, "three");
	assert_true(kept_write(k, NULL, 0));
	assert_kept(k, "");
	atomic_store(&k->which, 7);
	k->halves[1].len = KEPT_MAX + 1; /* it may say anything */
	assert_kept(k, "");
	free(much);
	free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(it_is_read_as_it_was_written),
	        cmocka_unit_test(any_text_is_read_as_far_as_it_makes_sense),
	        cmocka_unit_test(what_nobody_wants_is_forgotten),
	        cmocka_unit_test(the_old_one_or_the_new_one_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
