/* fuzz_sniff.c - the first bytes of anybody: more of them never change what was said for sure; and a section that some lead to is one of
 * those that there are, whatever was there before. */
#include "config/openings.h"
#include "input.h"

static const char text[] = "port 443\n"
                           "sni a.test *.b.test .c.test none alpn=h2,x\n server 192.0.2.1:1\n"
                           "sni a.test *.d.test\n server 192.0.2.1:1\n"
                           "protocol ssh http socks\n server 192.0.2.1:2\n"
                           "protocol postgres redis hex:1603?? text:GETX text:GET\n server 192.0.2.1:3\n"
                           "protocol other\n server 192.0.2.1:4\n"
                           "port 444\nprotocol tls\n server 192.0.2.1:1\n"
                           "port 445\nserver 192.0.2.1:1\nsni a.test\n server 192.0.2.1:2\n";

static void grows(enum sniff_word word, const uint8_t *bytes, size_t n)
{
	enum sniff_fit before = SNIFF_MAYBE;

	for (size_t i = 1; i <= n && i <= SNIFF_MOST; i++) {
		size_t more = 0;
		enum sniff_fit fit = sniff_fits(word, bytes, i, &more);

		CHECK(before == SNIFF_MAYBE || fit == before);
		if (fit == SNIFF_MAYBE)
			CHECK(more > i && more <= SNIFF_MOST);
		before = fit;
	}
}

static void leads(const struct config *c, const struct section *s, const uint8_t *bytes, size_t n)
{
	static struct hello_reader hello;
	const struct section *all[16];
	size_t n_all = openings_all(c, s, all), i = 0;
	struct heard heard = openings_hear(c, s, bytes, n, false, &hello), last;

	if (heard.kind == HEARD_MORE) {
		CHECK(heard.more > n || heard.more <= SNIFF_MOST);
		heard = last = openings_hear(c, s, bytes, n, true, &hello);
	} else {
		last = openings_hear(c, s, bytes, n, true, &hello);
		CHECK(last.kind == heard.kind && last.section == heard.section);
	}
	CHECK((heard.kind == HEARD_SECTION) == (heard.section != NULL));
	while (heard.section && i < n_all && all[i] != heard.section)
		i++;
	CHECK(i < n_all || !heard.section);
	if (heard.kind == HEARD_NO_ROUTE || heard.kind == HEARD_BAD_TLS)
		CHECK(why_name(heard.why));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *c;
	struct config_errors errors;

	if (!c)
		c = config_parse("/fuzz", text, &(struct config_ops){0}, &errors);
	CHECK(c);
	if (size == 0)
		return 0;
	for (enum sniff_word w = SNIFF_TLS; w < SNIFF_OTHER; w++)
		grows(w, data, size);
	for (size_t i = 0; i < c->n_services; i++)
		leads(c, &c->sections[c->services[i].root], data, size);
	return 0;
}
