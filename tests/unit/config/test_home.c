/* Servers that are ourselves: what is an error, what is said, and what is nothing of that kind. */
#include "fixture.h"

static struct interface_address ifs[] = {
        {.name = "lo", .addr = {.family = AF_INET, .ip = {127, 0, 0, 1}}},
        {.name = "lo", .addr = {.family = AF_INET6, .ip = {[15] = 1}}},
        {.name = "eth0", .addr = {.family = AF_INET, .ip = {192, 168, 1, 1}}},
        {.name = "eth0", .addr = {.family = AF_INET6, .ip = {0xfd, [15] = 1}}},
};

static int asked; /* how often for the addresses */
static size_t n_ifs;

static size_t addresses(void *arg, struct interface_address **ret)
{
	asked++;
	*ret = mem_alloc(sizeof(ifs));
	memcpy(*ret, ifs, sizeof(ifs));
	return n_ifs;
}

static int setup(void **state)
{
	asked = 0;
	n_ifs = ARRAY_LEN(ifs);
	return 0;
}

/* "12:8 " for each place that is said in the one list; free(). */
static char *places(const struct config_errors *e)
{
	struct buf text = BUF_INIT;

	buf_adds(&text, "");
	for (size_t i = 0; i < e->n; i++)
		buf_addf(&text, "%s%u:%u", i ? " " : "", e->list[i].line, e->list[i].column);
	return buf_detach(&text);
}

/* errors: where they are said; NULL: there are none. warnings: likewise, without errors. */
static void check(const char *text, const char *errors, const char *warnings)
{
	struct config_ops world = fixture_world;
	struct config_errors e;
	struct config *c;
	char *where;

	world.addresses = addresses;
	c = config_parse("/etc/t.conf", text, &world, &e);
	where = places(c ? &c->warnings : &e);
	if (!!c != !errors)
		fail_msg("%s: %s", text, c ? "is taken" : e.list[0].message);
	assert_string_equal(where, errors ? errors : warnings);
	free(where);
	config_errors_release(&e);
	config_free(c);
}

static void assert_wrong(const char *server)
{
	char *text = mem_printf("port 8080\nserver %s\n", server);

	check(text, "2:8", NULL);
	free(text);
}

static void assert_right(const char *server)
{
	char *text = mem_printf("port 8080\nserver %s\n", server);

	check(text, NULL, "");
	free(text);
}

static void a_port_that_leads_to_itself_is_an_error(void **state)
{
	static const char *const all[] = {"localhost", "LocalHost", "localhost.", "127.0.0.1",   "127.9.9.9",
	                                  "[::1]",     "0.0.0.0",   "[::]",       "192.168.1.1", "[fd00::1]"};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		char *with_port = mem_printf("%s:8080", all[i]), *by_name = mem_printf("%s:http-alt", all[i]);

		assert_wrong(all[i]);
		assert_wrong(with_port);
		assert_wrong(by_name);
		free(with_port);
		free(by_name);
	}
}

static void other_servers_are_none_of_us(void **state)
{
	assert_right("192.168.1.2");
	assert_right("[fd00::2]:8080");
	assert_right("localhost:80");
	assert_right("127.0.0.1:8081");
	assert_right("some.name"); /* nothing is resolved for this */
	assert_int_equal(asked, 2);
	assert_right("unix:/run/localhost");
	assert_right("/bin/localhost");
	assert_int_equal(asked, 2); /* they may not be, whatever the addresses */
}

static void where_nobody_else_can_be_told_there_is_no_warning(void **state)
{
	struct config_errors e;
	struct config *c = config_parse("/etc/t.conf", "port 8080\nserver localhost\n", &fixture_world, &e);

	assert_non_null(c); /* a world that does not know its addresses */
	assert_int_equal(c->warnings.n, 0);
	config_free(c);
	check("standalone no\nport 8080\nserver localhost\n", NULL, ""); /* somebody else listens */
}

static void only_at_addresses_where_we_listen(void **state)
{
	/* the daemon on the loopback address is another program's */
	check("port 25\ninterface 192.168.1.1\nserver 127.0.0.1\n", NULL, "");
	check("port 25\ninterface 192.168.1.1\nserver localhost:25\n", NULL, "");
	check("port 25\ninterface 192.168.1.1\nserver 192.168.1.1\n", "3:8", NULL);
	check("port 25\ninterface eth0\nserver [fd00::1]\n", "3:8", NULL);
	check("port 25\ninterface fd00::/8\nserver [fd00::1]\n", "3:8", NULL);
	check("port 25\ninterface fd00::/8\nserver [fd01::1]\n", NULL, "");
	check("port 25\ninterface 0.0.0.0\nserver 127.0.0.1\n", "3:8", NULL);
	check("port 25\ninterface 0.0.0.0\nserver [::1]\n", NULL, "");
}

static void localhost_is_as_many_addresses_as_there_are(void **state)
{
	check("port 25\ninterface 127.0.0.1\nserver localhost\n", NULL, "3:8"); /* ::1 may be another's */
	n_ifs = 1;
	check("port 25\ninterface 127.0.0.1\nserver localhost\n", "3:8", NULL);
	n_ifs = 0; /* no interface is up: it cannot be told */
	check("port 25\ninterface 127.0.0.1\nserver localhost\n", NULL, "");
}

static void another_port_of_ours_is_told(void **state)
{
	check("port 8080\nserver 127.0.0.1:8081\nport 8081\nserver far\n", NULL, "2:8");
	check("port 8080\nserver 127.0.0.1:8081\nport 8081\nserver [::1]:8080\n", NULL,
	      "2:8 4:8"); /* round in a circle */
	check("port 8080\nserver far\nserver localhost:8081 backup\nport 8081\nserver far\n", NULL, "3:8");
	/* sections of one service: the other one has a way out */
	check("port 25\ninterface 127.0.0.1\nserver 127.0.0.2\ninterface 127.0.0.2\nserver far\n", NULL, "3:8");
}

static void a_pool_is_wrong_if_all_of_it_is(void **state)
{
	check("port 8080\nserver localhost\nserver 127.0.0.1:8080 backup\nserver 192.168.1.1 disabled\n", "2:8", NULL);
	check("port 8080\nserver localhost\nserver far\n", NULL, "2:8");
	check("port 8080\nserver localhost\nserver unix:/x\n", NULL, "2:8");
}

static void so_is_a_service(void **state)
{
	check("port 25\ninterface 127.0.0.1\nserver 127.0.0.2\ninterface 127.0.0.2\nserver 127.0.0.1\n", "3:8 5:8",
	      NULL);
	check("port 25\nserver far\ninterface 127.0.0.2\nserver 127.0.0.2\n", "4:8", NULL);
}

static void every_port_of_a_range_counts(void **state)
{
	check("port 8000-8010\nserver localhost\n", "2:8", NULL);
	check("port 8000-8010\nserver localhost:8005\n", "2:8", NULL);
	check("port 8000-8010 9000\nserver localhost:8005\n", "2:8", NULL);
	check("port 8000-8010\nserver localhost:8011\n", NULL, "");
	/* each port of the one leads to the same one of the other, where there is one */
	check("port 8000-8010\ninterface 127.0.0.1\nserver 127.0.0.2\nport 8003\ninterface 127.0.0.2\nserver far\n",
	      NULL, "3:8");
}

static void what_is_said_in_common_is_said_once(void **state)
{
	check("port 8080\nserver far\ninterface 127.0.0.1\nserver localhost:8081\ninterface 127.0.0.2\ntimeout 5\n"
	      "port 8081\nserver 127.0.0.1:8080\ninterface 127.0.0.9\ntimeout 5\n",
	      NULL, "4:8 8:8");
}

static void other_errors_are_reported_too(void **state)
{
	check("port 8080\nserver localhost\ntimeout soon\nport 8081\nserver localhost\n", "2:8 3:9 5:8", NULL);
	/* what was not understood may have been a way out */
	check("port 8080\nserver localhost\nserverr far\nport 8081\nserver localhost\n", "3:1 5:8", NULL);
	check("port 8080\nserver localhost\nserver far bogus\n", "3:12", NULL);
}

static void the_words(void **state)
{
	struct config_ops world = fixture_world;
	struct config_errors e;
	struct buf text = BUF_INIT;
	struct config *c;

	world.addresses = addresses;
	assert_null(config_parse("/etc/t.conf", "port 8080\nserver localhost\nserver [::]\n", &world, &e));
	config_error_format(&e.list[0], &text);
	assert_string_equal(text.s,
	                    "/etc/t.conf:2:8: \"localhost\" and all other servers here lead back to this port itself, "
	                    "so no client would ever reach a server: name the host and port of the real one");
	config_errors_release(&e);
	buf_clear(&text);
	c = config_parse("/etc/t.conf", "port 8080\nserver localhost:8081\nport 8081\nserver far\n", &world, &e);
	assert_non_null(c);
	config_error_format(&c->warnings.list[0], &text);
	assert_string_equal(
	        text.s, "/etc/t.conf:2:8: \"localhost:8081\" is a port of this tcpproxy itself (/etc/t.conf:3): its "
	                "clients pass through both services, and one that comes back to a service is reset");
	buf_release(&text);
	config_free(c);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_port_that_leads_to_itself_is_an_error),
	        TEST(other_servers_are_none_of_us),
	        TEST(where_nobody_else_can_be_told_there_is_no_warning),
	        TEST(only_at_addresses_where_we_listen),
	        TEST(localhost_is_as_many_addresses_as_there_are),
	        TEST(another_port_of_ours_is_told),
	        TEST(a_pool_is_wrong_if_all_of_it_is),
	        TEST(so_is_a_service),
	        TEST(every_port_of_a_range_counts),
	        TEST(what_is_said_in_common_is_said_once),
	        TEST(other_errors_are_reported_too),
	        TEST(the_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
