/* The text of `state FILE`: written, and read again line by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ipc/changes.h"
#include "ipc/state.h"

static struct buf heard;

static bool command(void *arg, char **words, size_t n, struct buf *why)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(&heard, "%s<%s>", i ? " " : "", words[i]);
	buf_addc(&heard, '\n');
	if (strcmp(words[0], "bad") == 0)
		buf_adds(why, "it is bad");
	return why->len == 0;
}

static void said(void *arg, const char *server, uint64_t line, bool disabled)
{
	buf_addf(&heard, "%s said %llx%s\n", server, (unsigned long long)line, disabled ? " disabled" : "");
}

static void wrong(void *arg, uint32_t line, const char *text, const char *why)
{
	buf_addf(&heard, "%u %s %s\n", line, text, why);
}

static struct state_read read_text(const char *text)
{
	const struct state_reader r = {.command = command, .said = said, .wrong = wrong};
	char *copy = mem_strdup(text);
	struct state_read ret;

	buf_clear(&heard);
	ret = state_read(copy, &r);
	free(copy);
	return ret;
}

static int teardown(void **state)
{
	buf_release(&heard);
	return 0;
}

static void each_line_is_a_command(void **state)
{
	struct state_read r = read_text("weight db1 5\n\n  # a comment\ndrain 'a b' within 40 # more\nmax db1 3");

	assert_int_equal(r.taken, 3);
	assert_int_equal(r.wrong, 0);
	assert_string_equal(heard.s, "<weight> <db1> <5>\n<drain> <a b> <within> <40>\n<max> <db1> <3>\n");
}

static void what_the_file_said_stands_before(void **state)
{
	struct state_read r = read_text("#: db1 0123456789abcdef\n#: 'a b' fedcba9876543210 disabled\n");

	assert_int_equal(r.taken + r.wrong, 0);
	assert_string_equal(heard.s, "db1 said 123456789abcdef\na b said fedcba9876543210 disabled\n");
}

static void what_only_looks_so_is_a_comment(void **state)
{
	struct state_read r =
	        read_text("#:\n#: db1\n#: db1 123\n#: db1 0123456789abcdeg\n#: db1 0123456789ABCDEF\n"
	                  "#: db1 0123456789abcdef enabled\n#: db1 0123456789abcdef disabled more\n#: 'db1\n");

	assert_int_equal(r.taken + r.wrong, 0);
	assert_int_equal(heard.len, 0);
}

static void what_is_wrong_is_told_and_the_rest_goes_on(void **state)
{
	struct state_read r = read_text("bad\n'open\n\x01\nweight db1 5\n");

	assert_int_equal(r.taken, 1);
	assert_int_equal(r.wrong, 3);
	assert_string_equal(heard.s, "<bad>\n1 \"bad\" it is bad\n2 \"'open\" a ' is missing at its end\n"
	                             "3 \"?\" a character is no text\n<weight> <db1> <5>\n");
}

static void messages_have_an_end(void **state)
{
	char text[4 * 1000 + 1] = "";
	struct state_read r;

	for (int i = 0; i < 1000; i++)
		strcat(text + 4 * i, "bad\n");
	r = read_text(text);
	assert_int_equal(r.wrong, 1000);
	assert_null(strstr(heard.s, "\n21 "));
	assert_non_null(strstr(heard.s, "\n20 "));
}

/* ---- writing ---- */

static void a_server_is_written_with_what_the_file_said(void **state)
{
	struct world *w = world_new_private();
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("", "port 25 as mail\nserver a:1 disabled as one\nserver \"unix:/x y\"\n",
	                                &(struct config_ops){0}, &errors);
	struct spoken one = world_spoken_of(w, 0), two = world_spoken_of(w, 1);
	struct buf text = BUF_INIT;
	struct target *t;

	assert_non_null(w);
	assert_non_null(c);
	world_take(w, c);
	changes_take(w, c, NULL, NULL);
	t = &w->targets.list[0];
	state_of(w, &one, 0, &text);
	assert_int_equal(text.len, 0);
	changed_set_weight(&t->changed, WEIGHT_PERCENT, 50);
	atomic_store(&t->admin_state, ADMIN_STATE_ENABLED);
	state_of(w, &one, 0, &text);
	read_text(text.s);
	assert_non_null(strstr(heard.s, "mail/one said "));
	assert_non_null(strstr(heard.s, " disabled\n<enable> <mail/one>\n<weight> <mail/one> <50%>\n"));
	buf_clear(&text);
	atomic_store(&t->changed.line, 0); /* the file does not have it */
	state_of(w, &one, 0, &text);
	assert_string_equal(text.s, "enable mail/one\nweight mail/one 50%\n");
	buf_clear(&text);
	changed_set_weight(&w->targets.list[1].changed, WEIGHT_NUMBER, 2);
	state_of(w, &two, 0, &text);
	read_text(text.s);
	assert_non_null(strstr(heard.s, "unix:/x y said "));
	assert_non_null(strstr(heard.s, "\n<weight> <unix:/x y> <2>\n"));
	buf_release(&text);
	config_free(c);
	munmap(w, sizeof(*w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_line_is_a_command),
	        cmocka_unit_test(what_the_file_said_stands_before),
	        cmocka_unit_test(what_only_looks_so_is_a_comment),
	        cmocka_unit_test(what_is_wrong_is_told_and_the_rest_goes_on),
	        cmocka_unit_test(messages_have_an_end),
	        cmocka_unit_test(a_server_is_written_with_what_the_file_said),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
