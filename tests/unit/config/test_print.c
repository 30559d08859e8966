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
	expect("standalone yes\ntimeout 0\nwait no\nport 80\nserver a:1 weight=1\n",
	       "port 80\n\tserver a:1\n");
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
	    cmocka_unit_test(only_what_differs),
	    cmocka_unit_test(every_directive),
	    cmocka_unit_test(long_lists_take_several_lines),
	    cmocka_unit_test(files_are_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
