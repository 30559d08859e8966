/* Text to sections: nesting, inheritance, files, and every message with its place. */
#include "fixture.h"

#define SERVED "port 80\nserver a:1\n"

static void the_example_of_old(void **state)
{
	struct config *c = parse_good("port 25\n"
	                              "interface 192.7.100.114\n"
	                              "server mail.internal.com\n"
	                              "interface 192.168.1.1\n"
	                              "server mail.provider.com\n");

	assert_true(c->standalone);
	assert_int_equal(c->n_services, 1);
	assert_int_equal(c->n_sections, 3);
	assert_false(c->services[0].wildcard);
	assert_int_equal(c->services[0].n_sections, 2);
	assert_string_equal(c->sections[1].origin, "/etc/t.conf:2");
	assert_string_equal(c->sections[2].servers[0].host, "mail.provider.com");
	assert_int_equal(c->sections[2].servers[0].port, 0);
	config_free(c);
}

static void the_nearest_wins(void **state)
{
	struct config *c = parse_good("timeout 5\nallow 10.0.0.0/8\nenv A=1 B=1\n"
	                              "port 80\nserver a:1\ntimeout 6\ndeny all\nenv B=2\n"
	                              "interface 1.1.1.1\n"
	                              "interface 1.1.1.2\ntimeout 7\nserver b:1\nallow all\n"
	                              "port 81\nserver c:1\n");
	const struct section *s = c->sections;

	assert_int_equal(c->n_sections, 4);
	assert_int_equal(s[0].timeout_ms, 6000);
	assert_int_equal(s[1].timeout_ms, 6000);
	assert_string_equal(s[1].servers[0].host, "a");
	assert_int_equal(s[1].access.n, 1);
	assert_false(s[1].access.rules[0].allow);
	assert_string_equal(s[1].env[0], "A=1");
	assert_string_equal(s[1].env[1], "B=2");
	assert_int_equal(s[2].timeout_ms, 7000);
	assert_int_equal(s[2].n_servers, 1);
	assert_string_equal(s[2].servers[0].host, "b");
	assert_true(s[2].access.rules[0].allow);
	assert_int_equal(s[3].timeout_ms, 5000);
	assert_int_equal(s[3].access.n, 1);
	assert_string_equal(s[3].env[1], "B=1");
	config_free(c);
}

static void limits_of_all_and_of_each(void **state)
{
	struct config *c = parse_good("max-connections 9\nmax-connections-per-client 3\n" SERVED
	                              "port 81\nmax-connections 4\nserver a:1\n");

	assert_int_equal(c->max_connections, 9);
	assert_int_equal(c->sections[0].max_connections, 0);
	assert_int_equal(c->sections[0].max_connections_per_client, 3);
	assert_int_equal(c->sections[1].max_connections, 4);
	config_free(c);
}

static void waiting_without_end(void **state)
{
	struct config *c = parse_good("wait yes\nport 1\nserver a:1\n"
	                              "port 2\nserver a:1\nwait no\n"
	                              "port 3\nserver a:1\nhalf-close-timeout 5\n"
	                              "port 4\nserver a:1\nwait yes\nhalf-close-timeout 5\n");

	assert_int_equal(c->sections[0].half_close_timeout_ms, 0);
	assert_int_equal(c->sections[1].half_close_timeout_ms, 3600000);
	assert_int_equal(c->sections[2].half_close_timeout_ms, 5000);
	assert_int_equal(c->sections[3].half_close_timeout_ms, 0);
	config_free(c);
}

static void the_longest_stop_counts(void **state)
{
	struct config *c = parse_good("stop-timeout 3\n" SERVED "port 81\nserver a:1\nstop-timeout 8\n");

	assert_int_equal(c->stop_timeout_ms, 8000);
	config_free(c);
	c = parse_good(SERVED "stop-timeout 8\nport 81\nserver a:1\n");
	assert_int_equal(c->stop_timeout_ms, 0);
	config_free(c);
}

static void servers(void **state)
{
	struct config *c = parse_good("port smtp\n"
	                              "server [::1]:smtp weight=3 backup max=7 disabled\n"
	                              "server 10.0.0.1\n"
	                              "server unix:run/x.sock\n"
	                              "port 8070-http-alt\nexec ./h -x \"a b\"\n"
	                              "port 9\nserver /bin/cat -u\n");
	const struct server *s = c->sections[0].servers;

	assert_int_equal(c->services[0].ports[0].first, 25);
	assert_string_equal(s[0].key, "[::1]:25");
	assert_int_equal(s[0].addr.family, AF_INET6);
	assert_int_equal(s[0].weight, 3);
	assert_int_equal(s[0].max, 7);
	assert_true(s[0].backup && s[0].disabled);
	assert_int_equal(s[1].addr.family, AF_INET);
	assert_int_equal(s[1].port, 0);
	assert_int_equal(s[2].kind, SERVER_UNIX);
	assert_string_equal(s[2].path, "/etc/run/x.sock");
	assert_int_equal(c->services[1].ports[0].first, 8070);
	assert_int_equal(c->services[1].ports[0].last, 8080);
	s = c->sections[1].servers;
	assert_int_equal(s->kind, SERVER_PROGRAM);
	assert_string_equal(s->path, "/etc/h");
	assert_string_equal(s->argv[2], "a b");
	assert_string_equal(s->key, "/etc/h -x \"a b\"");
	assert_int_equal(c->sections[2].servers->kind, SERVER_PROGRAM);
	config_free(c);
}

static void names(void **state)
{
	struct config *c = parse_good("port 80 81 as web.site_1-a\n"
	                              "server a:1 max=3 as a1\nserver unix:/s as sock\nserver b:1\n"
	                              "interface 1.1.1.1 as inside\nserver a:1 backup as a1\n"
	                              "interface 1.1.1.2\n"
	                              "port 82\nserver a:1 as a1\ninterface as as own\nserver as as a2\n"
	                              "port 85 as smtp\nserver a:1 as http-alt\n"
	                              "port 83\nexec /bin/x as y\nport 84\nserver /bin/x as y\n");
	const struct section *s = c->sections;

	assert_int_equal(c->services[0].n_ports, 2);
	assert_string_equal(section_called(c, &s[0]), "web.site_1-a");
	assert_string_equal(section_called(c, &s[1]), "inside");
	assert_string_equal(section_called(c, &s[2]), "web.site_1-a");
	assert_null(s[2].called);
	assert_null(section_called(c, &s[3]));
	assert_string_equal(section_called(c, &s[4]), "own");
	assert_string_equal(s[4].name, "as");
	assert_string_equal(server_label(&s[0].servers[0]), "a1");
	assert_string_equal(s[0].servers[0].key, "a:1");
	assert_string_equal(server_label(&s[0].servers[1]), "sock");
	assert_string_equal(server_label(&s[0].servers[2]), "b:1");
	assert_string_equal(server_label(&s[2].servers[0]), "a1");
	assert_string_equal(server_label(&s[3].servers[0]), "a1");
	assert_string_equal(s[4].servers[0].host, "as");
	assert_string_equal(section_called(c, &s[5]), "smtp"); /* of another port */
	assert_null(s[6].servers[0].called);
	assert_string_equal(s[6].servers[0].argv[2], "y");
	assert_string_equal(s[7].servers[0].key, "/bin/x as y");
	config_free(c);
}

static void names_of_the_command_line(void **state)
{
	struct config_source sources[] = {
	        {.name = "-b lo", .text = "port 80", .origin = "-b:lo"},
	        {.name = "-b lo", .text = "interface 127.0.0.1", .origin = "-b:lo"},
	        {.name = "-o x", .text = "server a:1 as x", .origin = "command-line"},
	        {.name = "-b lo", .text = "interface ::1", .origin = "-b:lo"},
	        {.name = "-o x", .text = "server a:1 as x", .origin = "command-line"},
	};
	struct config_errors errors;
	struct config *c = config_parse_sources(sources, 5, &fixture_world, &errors);

	assert_non_null(c);
	config_free(c);
	sources[4].text = "server b:1 as x";
	sources[4].name = "-o y";
	assert_null(config_parse_sources(sources, 5, &fixture_world, &errors));
	assert_int_equal(errors.n, 1);
	assert_string_equal(errors.list[0].message,
	                    "-o y: \"x\" is the name of another server of this service already, by -o x");
	config_errors_release(&errors);
}

static void files_are_read(void **state)
{
	static const struct fixture_file files[] = {
	        {"/etc/a.d/1.conf", "server one:1\ninclude sub/list.inc\n"},
	        {"/etc/a.d/2.conf", "server two:1\n"},
	        {"/etc/a.d/sub/list.inc", "deny file:nets\n"},
	        {"/etc/a.d/sub/nets", "# those\n10.0.0.0/8\n\n  fd00::/8 # and these\n"},
	        {NULL, NULL},
	};
	struct config *c;

	fixture_files = files;
	c = parse_good("port 1\ninclude a.d/*.conf\ninclude none.d/*\n");
	assert_int_equal(c->sections[0].n_servers, 2);
	assert_string_equal(c->sections[0].servers[1].host, "two");
	assert_int_equal(c->sections[0].access.n, 2);
	assert_string_equal(c->files[0], "/etc/t.conf");
	assert_string_equal(c->files[1], "/etc/a.d/1.conf");
	assert_non_null(c->files[4]);
	assert_null(c->files[5]);
	config_free(c);
	fixture_files = NULL;
}

static void empty_lists_mean_what_they_say(void **state)
{
	static const struct fixture_file files[] = {{"/etc/none", "# nobody\n"}, {NULL, NULL}};
	const struct addr client = {.family = AF_INET, .ip = {1, 2, 3, 4}};
	struct config *c;

	fixture_files = files;
	c = parse_good("deny all\n" SERVED "allow file:none\nport 81\nserver a:1\ndeny file:none\n"
	               "port 82\nserver a:1\ndeny 9.9.9.9\nallow file:none\n");
	assert_false(access_check(&c->sections[0].access, &client).let_in);
	assert_true(access_check(&c->sections[1].access, &client).let_in);
	assert_false(access_check(&c->sections[2].access, &client).let_in);
	config_free(c);
	c = parse_good("allow file:none\nport 80\nserver a:1\ninterface lo\nport 81\nserver a:1\n"
	               "deny file:none\ninterface lo\n");
	assert_false(access_check(&c->sections[1].access, &client).let_in);
	assert_true(access_check(&c->sections[3].access, &client).let_in);
	config_free(c);
	fixture_files = NULL;
}

static void the_command_line_wins(void **state)
{
	const struct config_source sources[] = {
	        {.name = "-t", .path = "/", .text = "timeout 3", .origin = "command-line"},
	        {.name = "-t", .path = "/", .text = "timeout 4", .origin = "command-line"},
	        {.name = "-l", .path = "/", .text = "log journal", .origin = "command-line"},
	        {.name = "-o", .path = "/", .text = "user a", .origin = "command-line"},
	        {.name = "f",
	         .path = "/f",
	         .text = "timeout 9\nlog stderr\nuser b:c\n" SERVED "port 81\ntimeout 5\nserver a:1\n"},
	};
	struct config_errors errors;
	struct config *c = config_parse_sources(sources, 5, &fixture_world, &errors);

	assert_non_null(c);
	assert_int_equal(c->sections[0].timeout_ms, 4000);
	assert_int_equal(c->sections[1].timeout_ms, 5000);
	assert_int_equal(c->n_logs, 1);
	assert_int_equal(c->logs[0].kind, LOG_TO_JOURNAL);
	assert_string_equal(c->user, "a");
	assert_null(c->group);
	config_free(c);
}

static void all_errors_at_once(void **state)
{
	char *text = parse_bad("usr x\ntimeout abc\nport 80\nserver\nport 0\nworkers 5\n");

	assert_string_equal(
	        text,
	        "/etc/t.conf:1:1: unknown directive \"usr\"; did you mean \"user\"?\n"
	        "/etc/t.conf:2:9: \"abc\" is no time: write seconds, or a number with ms, s, m, h or "
	        "d\n"
	        "/etc/t.conf:4:7: \"server\" needs a value: server HOST[:PORT] "
	        "[each]|srv:_NAME._PROTO.DOMAIN|unix:PATH|original [weight=N] "
	        "[backup] [max=N] [disabled] [send-proxy=v1|v2|off] [netns=NAME] [device=NAME] [mptcp] [as NAME]\n"
	        "/etc/t.conf:5:6: \"0\" is no port: they go from 1 to 65535\n"
	        "/etc/t.conf:5:7: this port leads nowhere: a \"server\" or \"exec\" line is missing\n"
	        "/etc/t.conf:6:1: \"workers\" holds for the whole program: it belongs before the first "
	        "\"port\", not behind this \"port\"\n");
	free(text);
}

#define LONG "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" /* just not too long */

/* Each text has one error, at this place, and the message holds these words. */
static const struct {
	const char *text, *place, *words;
} wrong[] = {
        {"", "1:1", "no port is opened"},
        {"# x\n\ntimeout 3", "3:10", "no port is opened"},
        {"listen 80\n", "1:1", "\"port 8080\""},
        {"server a:1\n", "1:1", "behind a \"port\""},
        {"interface 1.2.3.4\n", "1:1", "behind a \"port\""},
        {SERVED "  bind 1\n", "3:3", "\"interface ADDRESS\""},
        {SERVED "roundrobin\n", "3:1", "round-robin"},
        {SERVED "only_from 1\n", "3:1", "allow"},
        {SERVED "balance leastconn\n", "3:9", "least-connections"},
        {SERVED "check program x\n", "3:15", "no path"},
        {SERVED "check proxy=maybe tcp\n", "3:7", "yes or no"},
        {SERVED "on-down hold 5 then reset\n", "3:16", "then refuse"},
        {SERVED "route /x\n", "3:1", "not yet"},
        {SERVED "accept-proxy optional\n", "3:14", "\"optional\" needs \"from\""},
        {SERVED "accept-proxy from x\n", "3:19", "neither an address"},
        {SERVED "accept-proxy 1.2.3.4\n", "3:14", "accept-proxy [from"},
        {SERVED "proxy-timeout 0\n", "3:15", "above 0"},
        {SERVED "send-proxy v3\n", "3:12", "\"send-proxy\" needs v1 or v2"},
        {SERVED "send-proxy\n", "3:11", "\"send-proxy\" needs v1 or v2"},
        {SERVED "send-proxy off v1\n", "3:16", "nothing belongs"},
        {SERVED "send-proxy v1 authority\n", "3:15", "\"send-proxy v1\" carries no \"authority\": say v2"},
        {SERVED "send-proxy v2 tls\n", "3:15", "not yet"},
        {SERVED "send-proxy v2 autority\n", "3:15", "\"authority\""},
        {SERVED "send-proxy v2 pass=EA\n", "3:15", "pass=0xEA"},
        {SERVED "send-proxy v2 pass=0x03\n", "3:15", "checksum"},
        {SERVED "send-proxy v2 tlv=0x05:x\n", "3:15", "0xE0"},
        {SERVED "send-proxy v2 tlv=0xE0\n", "3:15", "tlv=0xE0:TEXT"},
        {"admin 1.2.3.4\n" SERVED, "1:7", "ADDR:PORT"},
        {"admin somewhere:80\n" SERVED, "1:7", "ADDR:PORT"},
        {"admin 127.0.0.1:0\n" SERVED, "1:7", "ADDR:PORT"},
        {"admin 127.0.0.1:80\nadmin localhost:80\n" SERVED, "2:7", "named twice"},
        {"admin 127.0.0.1:80 secret\n" SERVED, "1:20", "token=FILE"},
        {"admin unix:\n" SERVED, "1:7", "path"},
        {"admin unix:/x token=y\n" SERVED, "1:15", "token"},
        {"admin unix:/x name=y\n" SERVED, "1:15", "a name belongs to ADDR:PORT"},
        {"admin 127.0.0.1:80 name=\n" SERVED, "1:20", "name=HOST"},
        {"admin 127.0.0.1:80 name=a:80\n" SERVED, "1:20", "without a port"},
        {"admin 127.0.0.1:80 name=a token=/x name=b\n" SERVED, "1:36", "too much"},
        {SERVED "access-log never\n", "3:12", "none of"},
        {SERVED "access-log interval\n", "3:20", "needs a time"},
        {SERVED "log-format \"{x}\"\n", "3:12", "no key"},
        {SERVED "log-format \"{id\"\n", "3:12", "no key"},
        {SERVED "server srv:x\n", "3:8", "srv:_NAME"},
        {SERVED "standalone yes\n", "3:1", "before the first \"port\""},
        {SERVED "timeout 1\ntimeout 1\n", "4:1", "/etc/t.conf:3"},
        {"user a\nuid b\n" SERVED, "2:1", "twice"},
        {"user root\n" SERVED, "1:6", "never serves as root"},
        {"uid 00\n" SERVED, "1:5", "never serves as root"},
        {"pidfile 8080\n" SERVED, "1:9", "path"},
        {"log 8080\n" SERVED, "1:5", "did you mean -b"},
        {"log syslog:foo\n" SERVED, "1:5", "facility"},
        {"log stderr\nlog stderr+json\n" SERVED, "2:5", "already"},
        {"workers 0\n" SERVED, "1:9", "from 1 to 128"},
        {"standalone maybe\n" SERVED, "1:12", "yes nor no"},
        {"resolver foo\n" SERVED, "1:10", "name server"},
        {"resolver fe80::1%lo\n" SERVED, "1:10", "one link"},
        {"resolver 1.1.1.1 [fe80::1%gone]:54\n" SERVED, "1:18", "one link"},
        {SERVED "connect-timeout 0\n", "3:17", "above 0"},
        {SERVED "keepalive 0.5\n", "3:11", "whole seconds"},
        {SERVED "timeout -1\n", "3:9", "no time"},
        {SERVED "timeout 5 6\n", "3:11", "too much"},
        {SERVED "source 1.2.3.4:5\n", "3:8", "without a port"},
        {SERVED "setenv 1X\n", "3:8", "variable"},
        {SERVED "env FOO\n", "3:5", "NAME=VALUE"},
        {SERVED "acp foo\n", "3:5", "begins with / or ."},
        {SERVED "allow host\n", "3:7", "neither an address"},
        {SERVED "allow 10.0.0.0/33\n", "3:7", "neither an address"},
        {SERVED "allow file:gone\n", "3:7", "no such file"},
        {SERVED "max-connections many\n", "3:17", "no number"},
        {SERVED "server a:0\n", "3:8", "port"},
        {SERVED "server a:70000\n", "3:8", "port"},
        {SERVED "server a:\n", "3:8", "missing"},
        {SERVED "server :25\n", "3:8", "host is missing"},
        {SERVED "server ::1\n", "3:8", "brackets"},
        {SERVED "server [::1\n", "3:8", "not closed"},
        {SERVED "server [1.2.3.4]:5\n", "3:8", "IPv6"},
        {SERVED "server 256.1.1.1\n", "3:8", "no IPv4 address"},
        {SERVED "server 8080\n", "3:8", "all digits"},
        {SERVED "server a..b\n", "3:8", "empty"},
        {SERVED "server a!b\n", "3:8", "letters"},
        {SERVED "server b:1 weight=1001\n", "3:12", "0 to 1000"},
        {SERVED "server b:1 maxconn=4\n", "3:12", "max="},
        {SERVED "server b:1 bakup\n", "3:12", "backup"},
        {SERVED "server b:1 c:1\n", "3:12", "line of its own"},
        {SERVED "exec /bin/x\n", "3:1", "alone"},
        {SERVED "exec x\n", "3:6", "begins with / or ."},
        {"port 80\nexec /bin/x\nserver a\n", "3:1", "alone"},
        {"port 1-2-3\nserver a:1\n", "1:6", "no port"},
        {"port 20-10\nserver a:1\n", "1:6", "backwards"},
        {"port 80,81\nserver a:1\n", "1:6", "several"},
        {"port foo\nserver a:1\n", "1:6", "no port"},
        {"port 1-10 5\nserver a:1\n", "1:11", "twice"},
        {"port 80 # x\n", "1:8", "leads nowhere"},
        {"port 80\ninterface 1.2.3.4\nserver a:1\ninterface 1.2.3.5\n", "4:18", "leads nowhere"},
        {SERVED SERVED, "3:1", "/etc/t.conf:1"},
        {"port 1-10\nserver a:1\nport 20 10-12\nserver a:1\n", "3:1", "port 10 is opened twice"},
        {SERVED "interface 1.2.3.4\ninterface 1.2.3.4/32\n", "4:1", "/etc/t.conf:3"},
        {SERVED "interface fe80::1%gone\ninterface fe80::1%gone\n", "4:1", "/etc/t.conf:3"},
        {SERVED "server [fe80::1%a/b]:5\n", "3:8", "IPv6"},
        {SERVED "interface lo\nport 80\ninterface lo\nserver b:1\n", "5:1", "/etc/t.conf:3"},
        {SERVED "interface *\n", "3:11", "without \"interface\""},
        {SERVED "interface localhost\n", "3:11", "127.0.0.1"},
        {SERVED "interface 1.2.3.4:80\n", "3:11", "\"port\" line"},
        {SERVED "interface averyveryverylongname\n", "3:11", "neither an address"},
        {SERVED "interface lo eth0\n", "3:14", "too much"},
        {"port 80 as\nserver a:1\n", "1:11", "missing after \"as\""},
        {"port 80 as mail 81\nserver a:1\n", "1:17", "ends the line"},
        {"port 80 as 25\nserver a:1\n", "1:12", "needs a letter"},
        {"port 80 as \"\"\nserver a:1\n", "1:12", "needs a letter"},
        {"port 80 as \"my mail\"\nserver a:1\n", "1:12", "letters, digits"},
        {"port 80 as a/b\nserver a:1\n", "1:12", "letters, digits"},
        {"port 80 as m\303\244il\nserver a:1\n", "1:12", "letters, digits"},
        {"port 25 as smtp\nserver a:1\n", "1:12", "port 25 of this service"},
        {"port 20-30\nserver a:1 as smtp\n", "2:15", "port 25 of this service"},
        {"port 80 as " LONG "x\nserver a:1\n", "1:12", "64 characters"},
        {"port as mail\nserver a:1\n", "1:6", "missing before \"as\""},
        {SERVED "interface lo as\nserver b:1\n", "3:16", "missing after \"as\""},
        {SERVED "server b:1 as x backup\n", "3:17", "ends the line"},
        {SERVED "server b:1 as x\nserver c:1 as x\n", "4:15", "/etc/t.conf:3"},
        {SERVED "server b:1 as x\nserver b:1 as x\n", "4:15", "/etc/t.conf:3"},
        {SERVED "server b:1 as x\ninterface lo\nserver c:1 as x\n", "5:15", "/etc/t.conf:3"},
        {"port 80 as x\nserver a:1\nport 81 as x\nserver a:1\n", "3:12", "/etc/t.conf:1"},
        {"port 80 as x\nserver a:1\ninterface lo as x\n", "3:17", "/etc/t.conf:1"},
        {SERVED "server b:1 as a\n", "3:15", "the host of a server"},
        {SERVED "server b as b\n", "3:13", "the host of a server"},
        {"port 80 as a\nserver a:1\ninterface lo\nserver a:2\n", "1:12", "the host of a server"},
        {SERVED "include gone\n", "3:9", "no such file"},
        {SERVED "include \"\"\n", "3:9", "empty"},
        {SERVED "server \"b\n", "3:8", "not closed"},
        {SERVED "server \1\n", "3:8", "control character"},
};

static void every_message_has_its_place(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char *text = parse_bad(wrong[i].text);
		char *place = mem_printf("/etc/t.conf:%s: ", wrong[i].place);

		if (strncmp(text, place, strlen(place)) || !strstr(text, wrong[i].words) ||
		    strchr(text, '\n') != strrchr(text, '\n'))
			fail_msg("%s\nwanted %s%s, got\n%s", wrong[i].text, place, wrong[i].words, text);
		free(text);
		free(place);
	}
}

static void different_ports_of_one_interface(void **state)
{
	config_free(parse_good("port 80\ninterface 1.1.1.1\nserver a:1\n"
	                       "port 80\ninterface 1.1.1.2\nserver a:1\n"
	                       "port 81\ninterface 1.1.1.1\nserver a:1\n" SERVED));
}

static void one_address_of_two_links(void **state)
{
	config_free(parse_good("port 80\ninterface fe80::1%gone\nserver a:1\ninterface fe80::1%ve0\nserver a:1\n"));
}

static void errors_of_included_files(void **state)
{
	static const struct fixture_file files[] = {
	        {"/etc/loop", "include loop\n"},
	        {"/etc/bad", "\nserver ::1\n"},
	        {"/etc/nets", "10.0.0.0/8\n10.0.0.1 10.0.0.2\nx\n"},
	        {NULL, NULL},
	};
	char *text;

	fixture_files = files;
	text = parse_bad("port 80\ninclude none/*\n");
	assert_string_equal(text, "/etc/t.conf:1:8: this port leads nowhere: a \"server\" or \"exec\" "
	                          "line is missing\n");
	free(text);
	text = parse_bad("port 80\ninclude bad\n");
	assert_int_equal(strncmp(text, "/etc/bad:2:8: ", 14), 0);
	free(text);
	text = parse_bad(SERVED "include loop\n");
	assert_string_equal(text, "/etc/loop:1:9: \"/etc/loop\" includes itself\n");
	free(text);
	text = parse_bad(SERVED "allow file:nets\n");
	assert_non_null(strstr(text, "/etc/nets:2:10: "));
	assert_non_null(strstr(text, "/etc/nets:3:1: "));
	free(text);
	fixture_files = NULL;
}

static void a_long_unix_path(void **state)
{
	char path[109], *text, *message;

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[107] = '\0';
	text = mem_printf("port 1\nserver unix:%s\n", path);
	config_free(parse_good(text));
	free(text);
	path[107] = 'x';
	path[108] = '\0';
	text = mem_printf("port 1\nserver unix:%s\n", path);
	message = parse_bad(text);
	assert_non_null(strstr(message, "107"));
	free(message);
	free(text);
}

static void huge_ranges_are_quick(void **state)
{
	struct buf text = BUF_INIT;

	config_free(parse_good("port 1-16384\nserver a:1\n"));
	config_free(parse_good("port 1-32768\ninterface 1.1.1.1\nserver a:1\n"));
	free(parse_bad("port 1-16385\nserver a:1\n"));
	for (int i = 0; i < 5; i++)
		buf_adds(&text, "port 1-65535\nserver a:1\ninterface 1.1.1.1\ninterface 1.1.1.2\n");
	free(parse_bad(text.s));
	buf_clear(&text);
	for (unsigned int i = 0; i < 16000; i++)
		buf_addf(&text, "port %u\ninterface 10.0.%u.%u\nserver a:1\n", i % 1000 + 1, i >> 8, i & 255);
	config_free(parse_good(text.s));
	buf_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_example_of_old),
	        cmocka_unit_test(the_nearest_wins),
	        cmocka_unit_test(limits_of_all_and_of_each),
	        cmocka_unit_test(waiting_without_end),
	        cmocka_unit_test(the_longest_stop_counts),
	        cmocka_unit_test(servers),
	        cmocka_unit_test(names),
	        cmocka_unit_test(names_of_the_command_line),
	        cmocka_unit_test(files_are_read),
	        cmocka_unit_test(empty_lists_mean_what_they_say),
	        cmocka_unit_test(the_command_line_wins),
	        cmocka_unit_test(all_errors_at_once),
	        cmocka_unit_test(every_message_has_its_place),
	        cmocka_unit_test(different_ports_of_one_interface),
	        cmocka_unit_test(one_address_of_two_links),
	        cmocka_unit_test(errors_of_included_files),
	        cmocka_unit_test(a_long_unix_path),
	        cmocka_unit_test(huge_ranges_are_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
