/* Which kinds of blank sockets a configuration needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/socket.h>
#include "base/buf.h"
#include "network/kinds.h"
#include "network/network.h"

static struct config *c;
static struct blank_kind kinds[BLANK_KINDS_MAX];

static size_t kinds_for(const char *text)
{
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};

	config_free(c);
	c = config_parse("", text, &nothing, &errors);
	assert_non_null(c);
	return kinds_of(c, kinds);
}

static bool has(size_t n, uint32_t family, uint32_t transparent, uint32_t mark, uint32_t netns)
{
	struct blank_list l = {.n = (uint32_t)n};

	for (size_t i = 0; i < n; i++)
		l.kinds[i] = kinds[i];
	return blank_find(&l, &(struct blank_kind){family, transparent, mark, netns}) >= 0;
}

static void without_such_words_there_are_none(void **state)
{
	assert_int_equal(kinds_for("port 1\nserver a:1\nsource 10.0.0.1\ndevice eth0\ndscp ef\n"), 0);
	assert_false(network_is_needed(c));
	/* nor for a section that serves nobody */
	assert_int_equal(
	        kinds_for("port 1\nmark 7\nsource client\ninterface 10.0.0.1\nserver a:1\nmark off\nsource auto\n"), 0);
}

static void source_client_needs_four(void **state)
{
	size_t n = kinds_for("source client\nport 1\nserver a:1\nport 2\nserver b:1\n");

	assert_int_equal(n, 4);
	for (int i = 0; i < 2; i++) {
		assert_true(has(n, i ? AF_INET6 : AF_INET, 1, 0, 0));
		assert_true(has(n, i ? AF_INET6 : AF_INET, 1, 0x100000, 0));
	}
}

static void a_mark_needs_two_and_beside_source_client_four_more(void **state)
{
	size_t n = kinds_for("port 1\nserver a:1\nmark 7\nport 2\nserver b:1\nmark 7\nport 3\nserver b:1\n");

	assert_int_equal(n, 2);
	assert_true(has(n, AF_INET, 0, 7, 0) && has(n, AF_INET6, 0, 7, 0));
	n = kinds_for("routes mark=0x10\nport 1\nserver a:1\nmark 7\nsource client\n");
	assert_int_equal(n, 6);
	assert_true(has(n, AF_INET, 0, 7, 0) && has(n, AF_INET, 1, 7, 0) && has(n, AF_INET6, 1, 0x17, 0));
}

static void namespaces_are_told_apart(void **state)
{
	size_t n = kinds_for("port 1\nserver a:1\nnetns blue\nport 2\nserver a:1\nnetns red\nport 3\nserver a:1\nnetns "
	                     "/run/netns/blue\n");

	assert_int_equal(n, 4);
	assert_true(has(n, AF_INET, 0, 0, netns_id(c->sections[0].netns)));
	assert_true(has(n, AF_INET, 0, 0, netns_id(c->sections[1].netns)));
	assert_int_equal(netns_id(c->sections[0].netns), netns_id(c->sections[2].netns));
	assert_int_not_equal(netns_id(c->sections[0].netns), 0);
}

static void there_may_be_too_many(void **state)
{
	struct buf text = BUF_INIT;

	for (int i = 1; i <= 20; i++)
		buf_addf(&text, "port %d\nserver a:1\nmark %d\n", i, i);
	assert_int_equal(kinds_for(text.s), 40);
	buf_release(&text);
}

static void a_reload_may_want_what_there_is(void **state)
{
	struct network n = NETWORK_NONE;

	n.blanks.n = (uint32_t)kinds_for("port 1\nserver a:1\nsource client\nport 2\nserver a:1\nmark 7\n");
	for (uint32_t i = 0; i < n.blanks.n; i++)
		n.blanks.kinds[i] = kinds[i];
	kinds_for("port 5\nserver b:1\nmark 7\n");
	assert_null(network_too_late(&n, c));
	kinds_for("port 5\nserver b:1\nmark 8\n");
	assert_string_equal(network_too_late(&n, c), "\"mark\" takes effect at the next start");
	kinds_for("port 5\nserver b:1\nnetns blue\n");
	assert_string_equal(network_too_late(&n, c), "\"netns\" takes effect at the next start");
	n.blanks.n = 0;
	kinds_for("port 5\nserver b:1\nsource client\n");
	assert_string_equal(network_too_late(&n, c), "\"source client\" takes effect at the next start");
	kinds_for("port 5\nserver b:1\n");
	assert_null(network_too_late(&n, c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(without_such_words_there_are_none),
	        cmocka_unit_test(source_client_needs_four),
	        cmocka_unit_test(a_mark_needs_two_and_beside_source_client_four_more),
	        cmocka_unit_test(namespaces_are_told_apart),
	        cmocka_unit_test(there_may_be_too_many),
	        cmocka_unit_test(a_reload_may_want_what_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
