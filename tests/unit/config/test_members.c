/* Servers that the file does not say: lists, and what tcpproxyctl has added or taken out, in their place in the pool. */
#include "fixture.h"

static const char *brought; /* what every source has */
static const char *added;   /* to every pool */
static const char *removed; /* this one of every pool */

static char *members(void *arg, const struct config *c, const struct section *s, const struct source *source)
{
	const char *lines = source ? brought : added;

	return lines ? mem_strdup(lines) : NULL;
}

static bool is_removed(void *arg, const struct config *c, const struct section *s, const struct server *server,
                       const struct source *source)
{
	return removed && strcmp(server->key, removed) == 0;
}

static const struct config_ops world = {.members = members, .removed = is_removed};

static struct config *with_members(const char *text)
{
	struct config *read = parse_good(text), *c;
	struct config_errors errors;

	c = config_with_members(read, &world, &errors);
	assert_non_null(c);
	config_free(read);
	return c;
}

static int nothing_yet(void **state)
{
	brought = added = removed = NULL;
	return 0;
}

static void assert_pool(const struct section *s, const char *keys)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < s->n_servers; i++)
		buf_addf(&text, "%s%s", i ? " " : "", s->servers[i].key);
	assert_string_equal(text.s ? text.s : "", keys);
	buf_release(&text);
}

static void the_line_stays_and_its_servers_stand_in_its_place(void **state)
{
	static const char text[] = "port 1\n\tserver a:1\n\tservers file:/l\n\tserver b:1\n";
	struct config *c;
	char *again;

	brought = "x:1 weight=2\ny:1\n";
	c = with_members(text);
	assert_pool(&c->sections[0], "a:1 x:1 y:1 b:1");
	assert_int_equal(c->sections[0].servers[1].from, FROM_SOURCE);
	assert_int_equal(c->sections[0].servers[1].weight, 2);
	assert_int_equal(c->sections[0].servers[3].from, FROM_FILE);
	again = printed(c);
	assert_string_equal(again, text);
	free(again);
	assert_string_equal(c->sections[0].origin, "/etc/t.conf:1");
	config_free(c);
}

static void packed_texts_have_them_in_it(void **state)
{
	const struct config_ops packed = {.packed = true};
	struct buf text = BUF_INIT, twice = BUF_INIT;
	struct config_errors errors;
	struct config *c, *worker;

	brought = "x:1 max=3 as one\n";
	added = "z:1\n";
	removed = "a:1";
	c = with_members("port 1\nserver a:1\nservers file:/l\nserver b:1\nservers file:/m\n");
	assert_pool(&c->sections[0], "x:1 b:1 z:1"); /* which both lists bring */
	config_print_packed(c, &text);
	worker = config_parse("", text.s, &packed, &errors);
	assert_non_null(worker);
	assert_pool(&worker->sections[0], "x:1 b:1 z:1");
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(worker->sections[0].servers[i].from, c->sections[0].servers[i].from);
		assert_int_equal(worker->sections[0].servers[i].source, c->sections[0].servers[i].source);
	}
	assert_string_equal(worker->sections[0].servers[0].called, "one");
	config_print_packed(worker, &twice);
	assert_string_equal(text.s, twice.s);
	config_free(worker);
	config_free(c);
	buf_release(&text);
	buf_release(&twice);
}

static void words_of_packed_texts_are_no_directives(void **state)
{
	static const char *const words[] = {"pool", "member a:1", "added a:1"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		char *text = mem_printf("port 1\nserver b:1\n%s\n", words[i]), *why = parse_bad(text);

		assert_non_null(strstr(why, "unknown directive"));
		free(why);
		free(text);
	}
}

static void an_empty_pool_serves(void **state)
{
	struct config *c;

	removed = "a:1";
	c = with_members("port 1\nserver a:1\nport 2\nservers file:/l\ninterface 10.0.0.1\ntimeout 1\n");
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(c->sections[i].n_servers, 0);
		assert_true(c->sections[i].has_pool);
	}
	assert_true(c->services[0].wildcard && c->services[1].wildcard);
	assert_ptr_equal(c->sections[2].servers, c->sections[1].servers);
	config_free(c);
}

static void a_line_that_stands_for_many_is_taken_out_with_all_that_it_brings(void **state)
{
	struct config *c;
	struct server s;

	brought = "10.0.0.1:1\n10.0.0.2:1\n";
	removed = "a:1";
	c = with_members("port 1\nserver b:1\nserver a:1 each weight=2\nserver c:1\n");
	assert_pool(&c->sections[0], "b:1 c:1");
	assert_int_equal(c->sections[0].n_sources, 1);
	assert_true(source_parse(c->sections[0].sources[0].line, &s));
	assert_string_equal(s.key, "a:1");
	assert_int_equal(s.weight, 2);
	server_release(&s);
	config_free(c);
	removed = NULL;
	c = with_members("port 1\nserver b:1\nserver a:1 each weight=2\nserver c:1\n");
	assert_pool(&c->sections[0], "b:1 10.0.0.1:1 10.0.0.2:1 c:1");
	config_free(c);
}

static void what_is_no_such_line_is_no_source(void **state)
{
	static const char *const lines[] = {
	        "",          "server a:1",        "servers file:/a", "server a:1 each\nserver b:1",
	        "timeout 5", "server a:1 each x", "exec /bin/cat"};
	struct server s;

	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		assert_false(source_parse(lines[i], &s));
	assert_true(source_parse("server srv:_a._tcp.b max=3 as x", &s));
	assert_string_equal(s.called, "x");
	server_release(&s);
}

static void who_inherits_has_them_too(void **state)
{
	struct config *c;

	brought = "x:1\n";
	added = "z:1\n";
	c = with_members("port 2\nservers file:/l\ninterface 10.0.0.1\ntimeout 1\ninterface 10.0.0.2\nserver o:1\n");
	assert_pool(&c->sections[0], "x:1 z:1");
	assert_pool(&c->sections[1], "x:1 z:1");
	assert_pool(&c->sections[2], "o:1 z:1");
	config_free(c);
}

static void what_is_wrong_with_a_member_is_a_warning(void **state)
{
	struct config *c;

	brought = "x:1 as a\ny:1 as two\nz:1 as two\nx:y:z\n";
	c = with_members("port 1\nserver a:1\nservers file:/l\n");
	assert_pool(&c->sections[0], "a:1 x:1 y:1 z:1");
	assert_int_equal(c->warnings.n, 3);
	for (size_t i = 0; i < c->warnings.n; i++)
		assert_string_equal(c->warnings.list[i].file, "/l");
	config_free(c);
}

static void a_pool_has_an_end(void **state)
{
	struct buf text = BUF_INIT, file = BUF_INIT;
	struct config *c;
	char *why;

	for (int i = 0; i < POOL_MAX + 10; i++)
		buf_addf(&text, "h%d:1\n", i);
	brought = text.s;
	c = with_members("port 1\nserver a:1\nservers file:/l\nserver b:1\n");
	assert_int_equal(c->sections[0].n_servers, POOL_MAX);
	assert_int_equal(c->warnings.n, 1);
	config_free(c);
	buf_adds(&file, "port 1\n");
	for (int i = 0; i < POOL_MAX + 10; i++)
		buf_addf(&file, "server h%d:1\n", i);
	why = parse_bad(file.s);
	assert_string_equal(why, "/etc/t.conf:4098:1: more than 4096 servers in one pool\n");
	free(why);
	buf_release(&text);
	buf_release(&file);
}

/* ---- lists ---- */

static void assert_list(const char *text, const char *lines)
{
	struct config_errors errors;
	char *got = list_parse("/l", text, &fixture_world, &errors);

	assert_non_null(got);
	assert_string_equal(got, lines);
	free(got);
}

static void assert_no_list(const char *text, uint32_t line, uint32_t column, const char *why)
{
	struct config_errors errors;

	assert_null(list_parse("/l", text, &fixture_world, &errors));
	assert_true(errors.n > 0);
	assert_string_equal(errors.list[0].file, "/l");
	assert_int_equal(errors.list[0].line, line);
	assert_int_equal(errors.list[0].column, column);
	assert_non_null(strstr(errors.list[0].message, why));
	config_errors_release(&errors);
}

static void a_list_is_servers(void **state)
{
	assert_list("a:1\n# two\n\n\tb:smtp weight=2 backup # \"x\n[::1]:9\nunix:/s\nunix:s\n",
	            "a:1\nb:25 weight=2 backup\n[::1]:9\nunix:/s\nunix:/s\n");
	assert_list("none\n", "");
	assert_list(" none # at all\n", "");
	assert_list("none:1\n", "none:1\n");
}

static void a_list_is_whole_or_not_at_all(void **state)
{
	assert_no_list("", 1, 1, "empty");
	assert_no_list("# nothing\n", 1, 1, "no server");
	assert_no_list("a:1\nb:1", 2, 4, "newline");
	assert_no_list("a:1\nb:1 c:1\n", 2, 5, "line of its own");
	assert_no_list("a:1\nnone\n", 2, 1, "alone");
	assert_no_list("none\na:1\n", 2, 1, "alone");
	assert_no_list("/bin/x\n", 1, 1, "no server of a list");
	assert_no_list("srv:_a._tcp.b\n", 1, 1, "no server of a list");
	assert_no_list("a:1 as x\nb:1 as x\n", 2, 8, "name");
	assert_no_list("a:1\n\"b\n", 2, 1, "");
}

static void one_server(void **state)
{
	struct buf why = BUF_INIT;
	struct server s;

	assert_true(server_parse("a:1 weight=3 as x", NULL, &s, NULL));
	assert_string_equal(s.key, "a:1");
	assert_string_equal(s.called, "x");
	assert_int_equal(s.weight, 3);
	server_release(&s);
	assert_false(server_parse("a:1 fast", NULL, &s, &why));
	assert_non_null(strstr(why.s, "\"fast\""));
	buf_release(&why);
	assert_false(server_parse("a:1\nb:1", NULL, &s, NULL));
	assert_false(server_parse("none", NULL, &s, NULL));
	assert_false(server_parse("", NULL, &s, NULL));
}

#define TEST(name) cmocka_unit_test_setup(name, nothing_yet)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_line_stays_and_its_servers_stand_in_its_place),
	        TEST(packed_texts_have_them_in_it),
	        TEST(words_of_packed_texts_are_no_directives),
	        TEST(an_empty_pool_serves),
	        TEST(a_line_that_stands_for_many_is_taken_out_with_all_that_it_brings),
	        TEST(what_is_no_such_line_is_no_source),
	        TEST(who_inherits_has_them_too),
	        TEST(what_is_wrong_with_a_member_is_a_warning),
	        TEST(a_pool_has_an_end),
	        TEST(a_list_is_servers),
	        TEST(a_list_is_whole_or_not_at_all),
	        TEST(one_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
