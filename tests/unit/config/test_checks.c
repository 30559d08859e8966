/* check and on-down: what a line is decoded to, what a section inherits, and that the text says the same. */
#include "config/lex.h"
#include "config/steps.h"
#include "fixture.h"

#define SERVED "port 80\nserver a:1\n"

/* The only check of a section with this line. The configuration goes to *ret. */
static const struct check_line *line(const char *words, struct config **ret)
{
	char *text = mem_printf(SERVED "check %s\n", words);

	*ret = parse_good(text);
	free(text);
	assert_int_equal((*ret)->sections[0].n_checks, 1);
	return (*ret)->sections[0].checks;
}

static void what_is_not_said_follows(void **state)
{
	struct config *c;
	const struct check_line *l = line("tcp", &c);

	assert_int_equal(l->every_ms, 2000);
	assert_int_equal(l->timeout_ms, 2000);
	assert_int_equal(l->fast_ms, 500);
	assert_int_equal(l->slow_ms, 2000);
	assert_int_equal(l->rise, 2);
	assert_int_equal(l->fall, 3);
	assert_int_equal(l->port, 0);
	assert_int_equal(l->from.family, AF_UNSPEC);
	assert_string_equal(l->kind, "tcp");
	assert_string_equal(l->what, "tcp");
	assert_int_equal(l->n_steps, 0);
	assert_null(l->user);
	assert_null(l->path);
	assert_null(l->host);
	assert_int_equal(l->status_from, 0);
	config_free(c);
}

static void the_pace_follows_from_every(void **state)
{
	struct config *c;
	const struct check_line *l = line("every=1m tcp", &c);

	assert_int_equal(l->every_ms, 60000);
	assert_int_equal(l->timeout_ms, 10000);
	assert_int_equal(l->fast_ms, 15000);
	assert_int_equal(l->slow_ms, 60000);
	config_free(c);
	l = line("every=100ms tcp", &c);
	assert_int_equal(l->timeout_ms, 100);
	assert_int_equal(l->fast_ms, 100);
	config_free(c);
}

static void all_that_can_be_said(void **state)
{
	struct config *c;
	const struct check_line *l =
	        line("every=5 port=http-alt timeout=20 http /x?a=b rise=4 fall=100 status=200-204 fast=1 "
	             "slow=1d from=fe80::1%ve0 host=www",
	             &c);

	assert_int_equal(l->every_ms, 5000);
	assert_int_equal(l->timeout_ms, 20000);
	assert_int_equal(l->fast_ms, 1000);
	assert_int_equal(l->slow_ms, 86400000);
	assert_int_equal(l->rise, 4);
	assert_int_equal(l->fall, 100);
	assert_int_equal(l->port, 8080);
	assert_int_equal(l->from.family, AF_INET6);
	assert_string_equal(config_zone(c, l->from_zone), "ve0");
	assert_string_equal(l->kind, "http");
	assert_string_equal(l->path, "/x?a=b");
	assert_string_equal(l->host, "www");
	assert_int_equal(l->status_from, 200);
	assert_int_equal(l->status_to, 204);
	assert_string_equal(l->what, "port=8080 from=fe80::1%ve0 http /x?a=b status=200-204 host=www");
	config_free(c);
	l = line("mysql user=check", &c);
	assert_string_equal(l->user, "check");
	config_free(c);
}

static uint32_t index_of_ve0(void *arg, const char *name)
{
	return 7;
}

static void the_interface_of_an_address_is_looked_up(void **state)
{
	struct config *c = parse_good("check from=fe80::1%ve0 tcp\n" SERVED);

	assert_int_equal(c->global.checks->from.scope, ADDR_NO_SCOPE);
	config_look_at_zones(c, index_of_ve0, NULL);
	assert_int_equal(c->sections[0].checks->from.scope, 7);
	config_free(c);
}

/* Whatever the checker knows is known here; two of them need more. */
static void every_kind_of_the_checker(void **state)
{
	static const char *const kinds[] = {
#define KIND(name, ...) #name,
#include "checker/kinds.def"
#undef KIND
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const char *more = !strcmp(kinds[i], "mysql") ? " user=x" : !strcmp(kinds[i], "agent") ? " 9000" : "";
		char *words = mem_printf("%s%s", kinds[i], more);
		struct config *c;

		assert_string_equal(line(words, &c)->kind, kinds[i]);
		config_free(c);
		free(words);
	}
}

static void step_is(const struct check_step *s, enum check_word word, const char *bytes, size_t len)
{
	assert_int_equal(s->word, word);
	assert_int_equal(s->len, len);
	assert_memory_equal(s->bytes, bytes, len);
}

static void steps_in_their_order(void **state)
{
	struct config *c;
	const struct check_line *l =
	        line("port=2 expect-begin \"a \\\"b\\\"\" send \\r\\n\\t\\0\\x41\\x5Cx send-hex \"00 0D0a\" "
	             "expect-hex fF expect-not every=1 expect send",
	             &c);

	assert_string_equal(l->kind, "steps");
	assert_int_equal(l->n_steps, 6);
	step_is(&l->steps[0], CHECK_EXPECT_BEGIN, "a \"b\"", 5);
	step_is(&l->steps[1], CHECK_SEND, "\r\n\t\0A\\x", 7);
	step_is(&l->steps[2], CHECK_SEND, "\0\r\n", 3);
	step_is(&l->steps[3], CHECK_EXPECT, "\xff", 1);
	step_is(&l->steps[4], CHECK_EXPECT_NOT, "every=1", 7);
	step_is(&l->steps[5], CHECK_EXPECT, "send", 4);
	assert_int_equal(l->every_ms, 2000);
	assert_string_equal(l->what,
	                    "port=2 expect-begin \"a \\\"b\\\"\" send \\r\\n\\t\\0A\\x5cx send \\0\\r\\n expect \\xff "
	                    "expect-not every=1 expect send");
	config_free(c);
}

/* Through text and back: no byte is lost, whatever stands beside it. */
static void any_bytes_as_text(void **state)
{
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			const char bytes[] = {(char)a, (char)b, (char)a};
			struct buf text = BUF_INIT, quoted = BUF_INIT;
			struct steps_fault fault;
			struct line l = {0};
			uint32_t column;
			size_t len;
			char *back;

			steps_write_text(bytes, sizeof(bytes), &text);
			lex_quote(text.s, &quoted);
			assert_null(lex_line(&l, quoted.s, quoted.len, &column));
			assert_int_equal(l.n, 1);
			back = steps_read_text(l.words[0].text, &len, &fault);
			assert_non_null(back);
			assert_int_equal(len, sizeof(bytes));
			assert_memory_equal(back, bytes, len);
			free(back);
			line_release(&l);
			buf_release(&text);
			buf_release(&quoted);
		}
	}
}

/* What decides who asks whom: the pace does not. */
static void the_same_is_spelt_the_same(void **state)
{
	static const char *const same[][2] = {
	        {"every=9 rise=1 fall=1 timeout=1 fast=1 slow=1 tcp", "tcp"},
	        {"http / status=200-399", "http"},
	        {"http status=204-204 /a", "http /a status=204"},
	        {"http host=a status=300 /a port=8", "port=8 http /a status=300 host=a"},
	        {"pgsql from=0::1 user=a port=smtp", "port=25 from=::1 pgsql user=a"},
	        {"send-hex 41 expect \"\\x42\"", "send A expect B"},
	};

	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct config *c;

		assert_string_equal(line(same[i][0], &c)->what, same[i][1]);
		config_free(c);
		assert_string_equal(line(same[i][1], &c)->what, same[i][1]);
		config_free(c);
	}
}

static void checks_are(const struct section *s, const char *first, const char *second)
{
	assert_int_equal(s->n_checks, (first != NULL) + (second != NULL));
	if (first)
		assert_string_equal(s->checks[0].what, first);
	if (second)
		assert_string_equal(s->checks[1].what, second);
}

static void on_down_refuse_needs_a_check(void **state)
{
	struct config *c = parse_good("on-down refuse\n" SERVED "interface 10.0.0.1\nserver b:1\non-down reset\n"
	                              "interface 10.0.0.2\nexec /x\n"
	                              "port 81\nserver a:1\ncheck ssh\n"
	                              "port 82\non-down reset\nserver a:1\ninterface lo\non-down refuse\n"
	                              "port 83\ninterface lo\nserver a:1\n");
	const struct section *s = c->sections;

	assert_int_equal(c->global.on_down, ON_DOWN_REFUSE);
	checks_are(&c->global, NULL, NULL);
	checks_are(&s[0], "tcp", NULL);
	assert_true(s[0].checks[0].implied);
	assert_int_equal(s[0].checks[0].every_ms, 2000);
	assert_ptr_equal(s[1].checks, s[0].checks);
	checks_are(&s[2], NULL, NULL); /* a program */
	checks_are(&s[3], "ssh", NULL);
	assert_false(s[3].checks[0].implied);
	checks_are(&s[4], NULL, NULL);
	checks_are(&s[5], "tcp", NULL);
	checks_are(&s[6], NULL, NULL); /* no servers */
	checks_are(&s[7], "tcp", NULL);
	config_free(c);
}

static void the_nearest_section_wins_as_a_whole(void **state)
{
	struct config *c =
	        parse_good("check tcp\ncheck ssh\non-down try\n" SERVED "interface 10.0.0.1\ncheck redis\n"
	                   "interface 10.0.0.2\ncheck off\non-down reset\ninterface 10.0.0.3\nexec /x\n"
	                   "port 81\nserver a:1\ncheck off\ninterface lo\nserver b:1\ncheck imap\ncheck pop3\n"
	                   "port 82\nexec /x\ninterface lo\nserver a:1\n");
	const struct section *s = c->sections;

	checks_are(&c->global, "tcp", "ssh");
	checks_are(&s[0], "tcp", "ssh");
	assert_ptr_equal(s[0].checks, c->global.checks);
	checks_are(&s[1], "redis", NULL);
	checks_are(&s[2], NULL, NULL);
	checks_are(&s[3], NULL, NULL); /* a program */
	checks_are(&s[4], NULL, NULL);
	checks_are(&s[5], "imap", "pop3");
	checks_are(&s[6], NULL, NULL);
	checks_are(&s[7], "tcp", "ssh"); /* past the program that is between */
	assert_int_equal(c->global.on_down, ON_DOWN_TRY);
	assert_int_equal(s[0].on_down, ON_DOWN_TRY);
	assert_int_equal(s[2].on_down, ON_DOWN_RESET);
	assert_int_equal(s[7].on_down, ON_DOWN_TRY);
	config_free(c);
}

static void text_is(const char *text, const char *canonical)
{
	struct config *c = parse_good(text), *again;
	char *first = printed(c), *second;
	struct config_errors errors;

	assert_string_equal(first, canonical);
	again = config_parse("canonical", first, NULL, &errors);
	assert_non_null(again);
	second = printed(again);
	assert_string_equal(second, canonical);
	free(first);
	free(second);
	config_free(c);
	config_free(again);
}

static void the_text_has_what_differs(void **state)
{
	text_is("check every=2 timeout=2 rise=2 fall=3 fast=0.5 slow=2 port=smtp tcp\non-down reset\n" SERVED
	        "interface lo\ncheck off\n",
	        "check port=25 tcp\n\nport 80\n\tserver a:1\n\tinterface lo\n\t\tcheck off\n");
}

static void texts_that_lift(void **state)
{
	text_is("check off\n" SERVED "check off\non-down try\ninterface lo\nserver b:1\non-down reset\n",
	        "port 80\n\tserver a:1\n\ton-down try\n\tinterface lo\n\t\tserver b:1\n\t\ton-down reset\n");
	text_is("check tcp\nport 80\nexec /x\ninterface lo\nexec /y\ncheck off\n",
	        "check tcp\n\nport 80\n\texec /x\n\tinterface lo\n\t\texec /y\n\t\tcheck off\n");
	text_is(SERVED "check every=1m fast=15 slow=1m timeout=10 tcp\ncheck every=0.3 fast=0.1 http\n",
	        "port 80\n\tserver a:1\n\tcheck every=60 tcp\n\tcheck every=0.3 http\n");
}

static void who_waits_and_how_long(void **state)
{
	struct config *c = parse_good("on-down hold 20\n" SERVED "queue 1.5 max=7\ninterface 10.0.0.1\n"
	                              "on-down hold 1m max=1000000\nqueue off\ninterface 10.0.0.2\non-down try\n");
	const struct section *s = c->sections;

	assert_int_equal(s[0].on_down, ON_DOWN_HOLD);
	assert_true(s[0].hold.time_ms == 20000 && s[0].hold.max == 1000);
	assert_true(s[0].queue.time_ms == 1500 && s[0].queue.max == 7);
	assert_true(s[1].hold.time_ms == 60000 && s[1].hold.max == 1000000);
	assert_int_equal(s[1].queue.time_ms, 0);
	assert_int_equal(s[2].on_down, ON_DOWN_TRY);
	assert_int_equal(s[2].hold.time_ms, 0);
	assert_int_equal(s[2].queue.time_ms, 1500);
	config_free(c);
	text_is("on-down hold 20 max=1000\nqueue 30s max=5\n" SERVED "on-down hold 20\nqueue 30\ninterface lo\n"
	        "on-down reset\nqueue off\n",
	        "on-down hold 20\nqueue 30 max=5\n\nport 80\n\tserver a:1\n\tqueue 30\n\tinterface lo\n"
	        "\t\ton-down reset\n\t\tqueue off\n");
}

/* What is sent may be a password. */
static void what_not_everybody_may_know(void **state)
{
	struct config *c = parse_good(SERVED "check port=6379 send \"AUTH secret\" expect OK\n");
	struct buf text = BUF_INIT;

	config_print_public(c, &text);
	assert_string_equal(text.s, "port 80\n\tserver a:1\n\tcheck port=6379 send *** expect OK\n");
	buf_release(&text);
	config_free(c);
}

static void the_command_line_wins(void **state)
{
	const struct config_source sources[] = {
	        {.name = "-o 'check ssh'", .text = "check ssh\n", .origin = "-o"},
	        {.name = "/etc/t.conf",
	         .path = "/etc/t.conf",
	         .text = "check off\n" SERVED "interface lo\ncheck tcp\n"},
	};
	struct config_errors errors;
	struct config *c = config_parse_sources(sources, ARRAY_LEN(sources), &fixture_world, &errors);

	assert_non_null(c);
	checks_are(&c->sections[0], "ssh", NULL);
	checks_are(&c->sections[1], "tcp", NULL);
	config_free(c);
}

static void a_unix_server_needs_no_port(void **state)
{
	config_free(parse_good("port 80-81\nserver unix:/x\nserver a:1\ncheck tcp\n"));
	config_free(parse_good("port 80-81\nserver a\ncheck port=7 tcp\n"));
	config_free(parse_good("port 80\nserver a\ncheck tcp\n"));
	config_free(parse_good("check tcp\nport 80-81\nserver a\ncheck off\n"));
}

/* Each text has one error, at this place, and the message holds these words. */
static const struct {
	const char *text, *place, *words;
} wrong[] = {
        {SERVED "check every=99ms tcp\n", "3:7", "from 100ms"},
        {SERVED "check every=x tcp\n", "3:7", "from 100ms"},
        {SERVED "check tcp fast=25ms\n", "3:11", "from 100ms"},
        {SERVED "check rise=0 tcp\n", "3:7", "from 1 to 100"},
        {SERVED "check port=70000 tcp\n", "3:7", "65535"},
        {SERVED "check port= tcp\n", "3:7", "65535"},
        {SERVED "check tpc\n", "3:7", "did you mean \"tcp\"?"},
        {SERVED "check risee=1 tcp\n", "3:7", "did you mean \"rise=\"?"},
        {SERVED "check tcp rise=1 rise=2\n", "3:18", "twice"},
        {SERVED "check mysql\n", "3:12",
         "\"check mysql\" needs user=NAME: a server blocks hosts that connect and do not log in\n"},
        {SERVED "check send \"a\\\"\\q\"\n", "3:16", "unknown escape \"\\q\""},
        {SERVED "check send \"\\\\r\\q\"\n", "3:16", "unknown escape \"\\q\""},
        {SERVED "check send ab\"c \"\\xg0\n", "3:18", "unknown escape \"\\xg0\""},
        {SERVED "check expect-hex 0\n", "3:18", "two hexadecimal digits"},
        {SERVED "check send A B C\n", "3:14", "expect-not"},
        {SERVED "check send A expect\n", "3:20", "TEXT"},
        {SERVED "check proxy=1x tcp\n", "3:7", "yes or no"},
        {SERVED "check agent\n", "3:12", "needs the port"},
        {SERVED "check off\ncheck tcp\n", "4:1", "/etc/t.conf:3"},
        {SERVED "check tcp\ncheck off\n", "4:1", "/etc/t.conf:3"},
        {SERVED "check off tcp\n", "3:7", "alone"},
        {"check off\ncheck tcp\n" SERVED, "2:1", "/etc/t.conf:1"},
        {"port 80\ncheck tcp\nexec /x\n", "2:1", "there are no servers"},
        {"port 80\nexec /x\ninterface lo\ncheck tcp\n", "4:1", "there are no servers"},
        {"port 80-81\nserver a\ncheck port=1 tcp\ncheck ssh\n", "2:8", "port=PORT"},
        {"check tcp\nport 80 81\nserver a\ninterface lo\ninterface 10.0.0.1\ncheck ssh\n", "3:8", "port=PORT"},
        {SERVED "check tcp\ncheck tcp\ncheck tcp\ncheck tcp\ncheck tcp\ncheck tcp\ncheck tcp\ncheck tcp\ncheck tcp\n",
         "11:1", "at most 8"},
        {SERVED "check off\non-down refuse\n", "3:1", "needs a check"},
        {"on-down refuse\n" SERVED "interface lo\ncheck off\n", "5:1", "needs a check"},
        {SERVED "on-down hold 20 then\n", "3:17", "then refuse"},
        {SERVED "on-down hold 20 max=5 then refuse it\n", "3:23", "then refuse"},
        {SERVED "on-down hold\n", "3:13", "needs a TIME"},
        {SERVED "on-down hold 0\n", "3:14", "a time above 0"},
        {SERVED "on-down hold soon\n", "3:14", "a time above 0"},
        {SERVED "on-down hold 5 max=0\n", "3:16", "from 1 to 1000000"},
        {SERVED "on-down hold 5 max=1000001\n", "3:16", "from 1 to 1000000"},
        {SERVED "on-down hold 5 max=\n", "3:16", "from 1 to 1000000"},
        {SERVED "on-down hold 5 most=5\n", "3:16", "on-down hold TIME [max=N]"},
        {SERVED "on-down hold 5 max=5 max=6\n", "3:22", "too much"},
        {SERVED "queue 0\n", "3:7", "a time above 0"},
        {SERVED "queue 5 7\n", "3:9", "queue TIME [max=N]"},
        {SERVED "queue off 7\n", "3:7", "a time above 0"},
        {SERVED "queue 5\nqueue 6\n", "4:1", "twice"},
        {SERVED "maxqueue 5\n", "3:1", "queue TIME max=N"},
        {SERVED "on-down drop\n", "3:9", "neither reset nor try nor refuse nor hold"},
        {SERVED "on-down try it\n", "3:13", "too much"},
        {SERVED "on-down try\non-down try\n", "4:1", "twice"},
};

static void what_is_wrong(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char *text = parse_bad(wrong[i].text), *place = mem_printf("/etc/t.conf:%s: ", wrong[i].place);

		if (strncmp(text, place, strlen(place)) || !strstr(text, wrong[i].words) ||
		    strchr(text, '\n') != text + strlen(text) - 1)
			fail_msg("%s: %s", wrong[i].text, text);
		free(place);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_not_said_follows),
	        cmocka_unit_test(the_pace_follows_from_every),
	        cmocka_unit_test(all_that_can_be_said),
	        cmocka_unit_test(the_interface_of_an_address_is_looked_up),
	        cmocka_unit_test(every_kind_of_the_checker),
	        cmocka_unit_test(steps_in_their_order),
	        cmocka_unit_test(any_bytes_as_text),
	        cmocka_unit_test(the_same_is_spelt_the_same),
	        cmocka_unit_test(on_down_refuse_needs_a_check),
	        cmocka_unit_test(the_nearest_section_wins_as_a_whole),
	        cmocka_unit_test(the_text_has_what_differs),
	        cmocka_unit_test(texts_that_lift),
	        cmocka_unit_test(who_waits_and_how_long),
	        cmocka_unit_test(what_not_everybody_may_know),
	        cmocka_unit_test(the_command_line_wins),
	        cmocka_unit_test(a_unix_server_needs_no_port),
	        cmocka_unit_test(what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
