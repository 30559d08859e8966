/* Which of the sections behind sni and protocol it is, by names and by bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "config/openings.h"

static struct config *c;
static const struct section *root;

static void parse(const char *text)
{
	struct config_errors errors;

	c = config_parse("/etc/t.conf", text, &(struct config_ops){0}, &errors);
	assert_non_null(c);
	root = &c->sections[c->services[0].root];
}

/* The first server's host says which section it is; NULL: none. */
static const char *host(struct heard heard)
{
	if (heard.kind != HEARD_SECTION)
		return NULL;
	return heard.section->servers[0].host;
}

static const char *by_name(const char *name, const char *alpn, size_t n)
{
	return host(openings_find(c, root, SNIFF_TLS, name, (const uint8_t *)alpn, n));
}

static const char *by_word(enum sniff_word word)
{
	return host(openings_find(c, root, word, "", NULL, 0));
}

static struct heard by_bytes(const char *bytes, size_t n, bool last)
{
	static struct hello_reader hello;

	return openings_hear(c, root, (const uint8_t *)bytes, n, last, &hello);
}

static void names(void **state)
{
	parse("port 1\nserver rest:1\n"
	      "sni www.example.com\nserver exact:1\nsni *.example.com\nserver short:1\n"
	      "sni *.deep.example.com alpn=h2\nserver protocol:1\nsni .example.net none\nserver both:1\n");
	assert_string_equal(by_name("www.example.com", NULL, 0), "exact");
	assert_string_equal(by_name("WWW.example.COM.", NULL, 0), "exact");
	assert_string_equal(by_name("x.deep.example.com", NULL, 0), "short");
	assert_string_equal(by_name("x.deep.example.com", "\2h2", 3), "protocol");
	assert_string_equal(by_name("x.deep.example.com", "\3h22", 4), "short");
	assert_string_equal(by_name("example.net", NULL, 0), "both");
	assert_string_equal(by_name("a.b.example.net", NULL, 0), "both");
	assert_string_equal(by_name("", NULL, 0), "both");
	assert_string_equal(by_name("example.com", NULL, 0), "rest");
	assert_string_equal(by_name(".example.com", NULL, 0), "rest");
	assert_string_equal(by_word(SNIFF_SSH), "rest");
	assert_string_equal(by_word(SNIFF_SILENT), "rest");
	config_free(c);
}

static void words(void **state)
{
	parse("port 1\nprotocol ssh http\nserver words:1\nprotocol other\nserver other:1\n");
	assert_string_equal(by_word(SNIFF_HTTP), "words");
	assert_string_equal(by_word(SNIFF_TLS), "other");
	assert_string_equal(by_word(SNIFF_OTHER), "other");
	assert_int_equal(openings_silent(c, root).why, WHY_SILENT);
	assert_null(openings_rest(c, root));
	config_free(c);
}

static void bytes(void **state)
{
	struct heard heard;

	parse("port 1\nprotocol text:\"GET /a\"\nserver text:1\nprotocol http\nserver http:1\nprotocol "
	      "hex:47??54\nserver hex:1\n");
	heard = by_bytes("GE", 2, false);
	assert_true(heard.kind == HEARD_MORE && heard.more == 3);
	assert_int_equal(by_bytes("GE", 2, true).kind, HEARD_MORE);
	heard = by_bytes("GET /", 5, false);
	assert_true(heard.kind == HEARD_MORE && heard.more == 6);
	assert_string_equal(host(by_bytes("GET /", 5, true)), "hex");
	assert_string_equal(host(by_bytes("GET /a", 6, false)), "text");
	assert_string_equal(host(by_bytes("GET /b", 6, false)), "hex");
	assert_string_equal(host(by_bytes("POST /a", 7, false)), "http");
	heard = by_bytes("\1", 1, false);
	assert_true(heard.kind == HEARD_NO_ROUTE && heard.why == WHY_PROTOCOL && heard.word == SNIFF_OTHER);
	config_free(c);
}

/* Nothing below an interface waits that has servers of its own; one that has nothing goes by the sections of its port. */
static void interfaces(void **state)
{
	const struct section *all[8];

	parse("port 1\nserver rest:1\nsni a\nserver a:1\n"
	      "interface 10.0.0.1\nserver own:1\ninterface 10.0.0.2\ntimeout 5\ninterface 10.0.0.3\nsni b\nserver "
	      "b:1\n");
	assert_int_equal(c->n_sections, 6);
	assert_ptr_equal(openings_of(c, root), root);
	assert_ptr_equal(opening_outer(c, &c->sections[1]), root);
	assert_null(openings_of(c, &c->sections[1]));
	assert_null(openings_of(c, &c->sections[2]));
	assert_ptr_equal(openings_of(c, &c->sections[3]), root);
	assert_ptr_equal(openings_of(c, &c->sections[4]), &c->sections[4]);
	assert_int_equal(openings_all(c, &c->sections[3], all), 2);
	assert_int_equal(openings_all(c, &c->sections[2], all), 1);
	assert_ptr_equal(all[0], &c->sections[2]);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(names),
	        cmocka_unit_test(words),
	        cmocka_unit_test(bytes),
	        cmocka_unit_test(interfaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
