/* Which section serves, whom it lets in, what is bound. */
#include "fixture.h"

static const struct interface_address ifs[] = {
        {"lo", {.family = AF_INET, .ip = {127, 0, 0, 1}}},
        {"eth0", {.family = AF_INET, .ip = {10, 1, 2, 3}}},
        {"eth0", {.family = AF_INET, .ip = {10, 1, 2, 4}}},
};

static struct addr at(const char *text, uint16_t port)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	a.port = port;
	return a;
}

/* The host of the first server that serves there, or "". */
static const char *found(const struct config *c, const char *local, uint16_t port)
{
	struct addr a = at(local, port);
	const struct section *s = config_find(c, &a, ifs, ARRAY_LEN(ifs));

	return s ? s->servers[0].host : "";
}

static void the_most_exact_section(void **state)
{
	struct config *c = parse_good("port 80\nserver own\n"
	                              "interface eth0\nserver name\n"
	                              "interface 10.0.0.0/8\nserver shorter\n"
	                              "interface 10.1.2.0/24\nserver longer\n"
	                              "interface 10.1.0.0/16\nserver between\n"
	                              "interface 10.1.2.3\nserver exact\n"
	                              "port 81\ninterface lo\nserver lo\n"
	                              "port 82-84\ninterface 0.0.0.0\nserver any4\n"
	                              "interface 127.0.0.0/8\nserver net\n");

	assert_string_equal(found(c, "10.1.2.3", 80), "exact");
	assert_string_equal(found(c, "10.1.2.4", 80), "longer");
	assert_string_equal(found(c, "10.9.9.9", 80), "shorter");
	assert_string_equal(found(c, "11.1.1.1", 80), "own");
	assert_string_equal(found(c, "::1", 80), "own");
	assert_string_equal(found(c, "127.0.0.1", 81), "lo");
	assert_string_equal(found(c, "10.1.2.3", 81), "");
	assert_string_equal(found(c, "10.1.2.3", 83), "any4");
	assert_string_equal(found(c, "127.0.0.1", 84), "net");
	assert_string_equal(found(c, "::1", 83), "");
	assert_string_equal(found(c, "10.1.2.3", 85), "");
	config_free(c);
}

static void sections_of_several_services(void **state)
{
	struct config *c = parse_good("port 80\nserver own\nport 80\ninterface 10.1.2.3\nserver exact\n");

	assert_string_equal(found(c, "10.1.2.3", 80), "exact");
	assert_string_equal(found(c, "10.1.2.4", 80), "own");
	config_free(c);
}

/* The hosts of the first servers of all that is reached there. */
static const char *reached(const struct config *c, const char *local, uint16_t port)
{
	static char hosts[200];
	const struct section **list;
	struct addr a = at(local, port);
	size_t n = config_sections_at(c, &a, ifs, ARRAY_LEN(ifs), &list);

	hosts[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		strcat(hosts, i ? " " : "");
		strcat(hosts, list[i]->servers[0].host);
	}
	free(list);
	return hosts;
}

static void all_that_is_reached_at_a_socket(void **state)
{
	struct config *c = parse_good("port 80\nserver own\ninterface eth0\nserver name\n"
	                              "interface 10.0.0.0/8\nserver net\ninterface ::1\nserver six\n"
	                              "port 81\ninterface 10.1.2.3\nserver one\ninterface 10.1.2.4\nserver other\n"
	                              "port 80\ninterface 10.9.9.9\nserver far\n");

	assert_string_equal(reached(c, "0.0.0.0", 80), "own name net far");
	assert_string_equal(reached(c, "::", 80), "own name six");
	assert_string_equal(reached(c, "10.1.2.3", 81), "one");
	assert_string_equal(reached(c, "10.1.2.4", 81), "other");
	assert_string_equal(reached(c, "10.1.2.5", 81), "");
	assert_string_equal(reached(c, "0.0.0.0", 82), "");
	config_free(c);
}

static bool let_in(const struct config *c, size_t section, const char *client)
{
	struct addr a = at(client, 5);

	return access_check(&c->sections[section].access, &a).let_in;
}

static void the_first_match_decides(void **state)
{
	struct config *c = parse_good("port 1\nserver a:1\n"
	                              "port 2\nserver a:1\ndeny 10.1.0.0/16\nallow 10.0.0.0/8\n"
	                              "port 3\nserver a:1\ndeny 10.0.0.0/8 fd00::/8\n"
	                              "port 4\nserver a:1\nallow ::1\ndeny all\nallow 1.1.1.1\n");

	assert_true(let_in(c, 0, "1.2.3.4"));
	assert_false(let_in(c, 1, "10.1.2.3"));
	assert_true(let_in(c, 1, "10.2.2.3"));
	assert_false(let_in(c, 1, "11.2.2.3"));
	assert_false(let_in(c, 1, "::1"));
	assert_false(let_in(c, 2, "10.1.2.3"));
	assert_false(let_in(c, 2, "fd00::1"));
	assert_true(let_in(c, 2, "1.2.3.4"));
	assert_true(let_in(c, 3, "::1"));
	assert_false(let_in(c, 3, "1.1.1.1"));
	config_free(c);
}

static void ports_ascending_once(void **state)
{
	struct config *c = parse_good("port 90 8-10\nserver a:1\nport 9\ninterface lo\nserver a:1\n");
	uint16_t *ports;

	assert_int_equal(config_ports(c, &ports), 4);
	assert_int_equal(ports[0], 8);
	assert_int_equal(ports[2], 10);
	assert_int_equal(ports[3], 90);
	free(ports);
	config_free(c);
}

static char *binds(const char *text)
{
	struct config *c = parse_good(text);
	struct addr *list;
	size_t n = config_binds(c, ifs, ARRAY_LEN(ifs), &list);
	struct buf out = BUF_INIT;
	char one[ADDR_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		buf_addf(&out, "%s ", addr_format_port(&list[i], one));
	free(list);
	config_free(c);
	return buf_detach(&out);
}

static void expect_binds(const char *text, const char *expected)
{
	char *got = binds(text);

	assert_string_equal(got, expected);
	free(got);
}

static void what_must_be_bound(void **state)
{
	expect_binds("port 80\nserver a:1\n", "[::]:80 0.0.0.0:80 ");
	expect_binds("port 80\nserver a:1\ninterface 1.2.3.4\ninterface ::1\n", "[::]:80 0.0.0.0:80 ");
	expect_binds("port 80 81\ninterface 1.2.3.4\nserver a:1\ninterface 1.2.3.5\nserver a:1\n",
	             "1.2.3.4:80 1.2.3.5:80 1.2.3.4:81 1.2.3.5:81 ");
	expect_binds("port 80\ninterface eth0\nserver a:1\ninterface 10.0.0.0/8\nserver b:1\n",
	             "10.1.2.3:80 10.1.2.4:80 ");
	expect_binds("port 80\ninterface tun0\nserver a:1\n", "");
	expect_binds("port 80\nserver a:1\nport 80-81\ninterface 127.0.0.1\nserver b:1\n",
	             "[::]:80 0.0.0.0:80 127.0.0.1:81 ");
	expect_binds("port 80\ninterface 0.0.0.0\nserver a:1\ninterface ::1\nserver a:1\n"
	             "interface 1.1.1.1\nserver a:1\n",
	             "[::1]:80 0.0.0.0:80 ");
}

/* ---- addresses of one link ---- */

static uint32_t index_now(void *arg, const char *name)
{
	return *(const uint32_t *)arg;
}

static struct addr on_link(const char *text, uint32_t scope, uint16_t port)
{
	struct addr a = at(text, port);

	a.scope = scope;
	return a;
}

static const char *found_on_link(const struct config *c, uint32_t scope)
{
	struct addr a = on_link("fe80::1", scope, 80);
	const struct section *s = config_find(c, &a, ifs, ARRAY_LEN(ifs));

	return s ? s->servers[0].host : "";
}

static bool let_in_on_link(const struct config *c, uint32_t scope)
{
	struct addr a = on_link("fe80::9", scope, 5);

	return access_check(&c->sections[0].access, &a).let_in;
}

/* An interface that goes, and comes with another index. */
static void a_zone_is_looked_at_again(void **state)
{
	uint32_t index = 0;
	struct config *c;

	fixture_ve0 = 3;
	c = parse_good("port 80\nserver own\nallow fe80::9%ve0\ninterface fe80::1%ve0\nserver link\n"
	               "interface fe80::1%9\nserver number\n");
	assert_string_equal(found_on_link(c, 3), "link");
	assert_string_equal(found_on_link(c, 4), "own");
	assert_true(let_in_on_link(c, 3));
	assert_false(let_in_on_link(c, 4));
	config_look_at_zones(c, index_now, &index);
	assert_string_equal(found_on_link(c, 3), "own");
	assert_false(let_in_on_link(c, 3));
	index = 4;
	config_look_at_zones(c, index_now, &index);
	assert_string_equal(found_on_link(c, 3), "own");
	assert_string_equal(found_on_link(c, 4), "link");
	assert_true(let_in_on_link(c, 4));
	assert_string_equal(found_on_link(c, 9), "number");
	config_free(c);
	fixture_ve0 = 0;
}

static void a_zone_is_bound_where_it_is(void **state)
{
	static const char text[] = "port 80\ninterface fe80::1%ve0\nserver a:1\ninterface 1.2.3.4\nserver b:1\n";

	expect_binds(text, "1.2.3.4:80 "); /* it may come later */
	fixture_ve0 = 3;
	expect_binds(text, "[fe80::1%3]:80 1.2.3.4:80 ");
	fixture_ve0 = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_most_exact_section),
	        cmocka_unit_test(sections_of_several_services),
	        cmocka_unit_test(all_that_is_reached_at_a_socket),
	        cmocka_unit_test(the_first_match_decides),
	        cmocka_unit_test(ports_ascending_once),
	        cmocka_unit_test(what_must_be_bound),
	        cmocka_unit_test(a_zone_is_looked_at_again),
	        cmocka_unit_test(a_zone_is_bound_where_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
