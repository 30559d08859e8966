/* The canonical text: short, and it parses back to itself without a world. */
#include "fixture.h"

/* Parses, prints, parses that without files and names, prints again. */
static char *round_trip(const char *text)
{
	struct config *c = parse_good(text), *again;
	struct config_errors errors;
	char *first = printed(c), *second;

	again = config_parse("canonical", first, NULL, &errors);
	assert_non_null(again);
	assert_int_equal(again->n_sections, c->n_sections);
	assert_int_equal(again->n_services, c->n_services);
	for (size_t i = 0; i < c->n_sections; i++)
		assert_int_equal(again->sections[i].kind, c->sections[i].kind);
	second = printed(again);
	assert_string_equal(first, second);
	free(second);
	config_free(c);
	config_free(again);
	return first;
}

static void expect(const char *text, const char *canonical)
{
	char *got = round_trip(text);

	assert_string_equal(got, canonical);
	free(got);
}

static void only_what_differs(void **state)
{
	expect("standalone yes\ntimeout 0\nwait no\nport 80\nserver a:1 weight=1\n", "port 80\n\tserver a:1\n");
	expect("timeout 300s\nport smtp 8000-8010\nserver a\ntimeout 5m\nacp-timeout 10.0\n",
	       "timeout 5m\n\nport 25 8000-8010\n\tserver a\n");
	expect("timeout 5m\nport 80\nserver a\ntimeout 0\ninterface lo\ntimeout 5m\n",
	       "timeout 5m\n\nport 80\n\tserver a\n\ttimeout 0\n\tinterface lo\n\t\ttimeout 5m\n");
}

static void every_directive(void **state)
{
	expect("standalone no\nuid a:b\npidfile x.pid\nlog syslog\nlog file:/l+json\nworkers 3\n"
	       "resolver 1.1.1.1 [::1]:54\nmax-connections 5\n"
	       "port 80\nserver [::1]:80 disabled max=2 backup weight=9\nserver unix:/s\n"
	       "allow 10.1.2.3/8 all\ndeny ::1\nacp /a \"b c\"\nacp-timeout 3\nsetenv X_\n"
	       "env A= \"B=1 2\"\nnumeric yes\nconnect-timeout 250ms\ntimeout 1d\nwait yes\n"
	       "keepalive 0\nstop-timeout 1\nsource ::2\nmax-connections 3\n"
	       "max-connections-per-client 2\ninterface 10.0.0.0/8\nexec /x \"\"\n",
	       "standalone no\nuser a\ngroup b\npidfile /etc/x.pid\nlog syslog:daemon\n"
	       "log file:/l+json\nworkers 3\nresolver 1.1.1.1:53\nresolver [::1]:54\n"
	       "max-connections 5\n\n"
	       "port 80\n\tserver [::1]:80 weight=9 backup max=2 disabled\n\tserver unix:/s\n"
	       "\tallow 10.0.0.0/8 all\n\tdeny ::1\n\tmax-connections 3\n"
	       "\tmax-connections-per-client 2\n\tacp /a \"b c\"\n\tacp-timeout 3\n\tsetenv X_\n"
	       "\tenv A=\n\tenv \"B=1 2\"\n\tnumeric yes\n\tconnect-timeout 0.25\n\ttimeout 1d\n"
	       "\thalf-close-timeout 0\n\tkeepalive 0\n\tstop-timeout 1\n\tsource ::2\n"
	       "\tinterface 10.0.0.0/8\n\t\texec /x \"\"\n");
}

/* An interface may be made anew, with another index: its name is what was said. */
static void the_zone_of_an_address(void **state)
{
	static const char text[] = "admin [fe80::7%ve0]:9090\n\n"
	                           "port 80\n\tserver [fe80::1%ve0]:80\n\tserver [fe80::2%7]\n"
	                           "\tallow fe80::1%ve0/64 fe80::9%lo\n\tsource fe80::5%ve0\n"
	                           "\tinterface fe80::3%ve0\n\t\tserver a\n\t\tsource fe80::5%ve1\n"
	                           "\tinterface fe80::%ve0/64\n\t\tserver b\n";
	static const char canonical[] = "admin [fe80::7%ve0]:9090\n\n"
	                                "port 80\n\tserver [fe80::1%ve0]:80\n\tserver [fe80::2%7]\n"
	                                "\tallow fe80::%ve0/64 fe80::9%lo\n\tsource fe80::5%ve0\n"
	                                "\tinterface fe80::3%ve0\n\t\tserver a\n\t\tsource fe80::5%ve1\n"
	                                "\tinterface fe80::%ve0/64\n\t\tserver b\n";

	for (fixture_ve0 = 0; fixture_ve0 < 8; fixture_ve0 += 7)
		expect(text, canonical);
	fixture_ve0 = 0;
}

static void what_not_everybody_may_know(void **state)
{
	struct config *c = parse_good("env A=secret\nport 80\nserver a:1\nenv B=secret \"C=x=secret\" D=\n");
	struct buf text = BUF_INIT;

	config_print_public(c, &text);
	assert_string_equal(text.s, "env A=***\n\nport 80\n\tserver a:1\n\tenv B=***\n\tenv C=***\n\tenv D=***\n");
	buf_release(&text);
	config_free(c);
}

static void names_stand_last(void **state)
{
	expect("port smtp 8000-8010 as mail\nserver a:1 as a1\n"
	       "interface 10.0.0.0/8 as inside\nserver \"unix:/a b\" disabled backup as s\n"
	       "interface lo as lo\nserver [::1]:80 weight=2 as db.1\n",
	       "port 25 8000-8010 as mail\n\tserver a:1 as a1\n"
	       "\tinterface 10.0.0.0/8 as inside\n\t\tserver \"unix:/a b\" backup disabled as s\n"
	       "\tinterface lo as lo\n\t\tserver [::1]:80 weight=2 as db.1\n");
}

static void long_lists_take_several_lines(void **state)
{
	struct buf text = BUF_INIT;
	struct config *c;
	char *got;

	buf_adds(&text, "port 80\nserver a:1\nallow");
	for (unsigned int i = 0; i < 300; i++)
		buf_addf(&text, " 10.0.%u.%u", i >> 8, i & 255);
	got = round_trip(text.s);
	c = parse_good(got);
	assert_int_equal(c->sections[0].access.n, 300);
	for (const char *line = got; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") < 120);
	config_free(c);
	free(got);
	buf_release(&text);
}

static void files_are_in_it(void **state)
{
	static const struct fixture_file files[] = {
	        {"/etc/none", ""}, {"/etc/nets", "10.0.0.0/8\n1.1.1.1\n"}, {NULL, NULL}};

	fixture_files = files;
	expect("port 1\nserver a:1\nallow file:nets\nport 2\nserver a:1\nallow file:none\n"
	       "port 3\nserver a:1\ndeny file:none\n",
	       "port 1\n\tserver a:1\n\tallow 10.0.0.0/8 1.1.1.1\n\n"
	       "port 2\n\tserver a:1\n\tdeny all\n\nport 3\n\tserver a:1\n\tallow all\n");
	fixture_files = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(only_what_differs),      cmocka_unit_test(every_directive),
	        cmocka_unit_test(the_zone_of_an_address), cmocka_unit_test(what_not_everybody_may_know),
	        cmocka_unit_test(names_stand_last),       cmocka_unit_test(long_lists_take_several_lines),
	        cmocka_unit_test(files_are_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
