/* The hello of a client of TLS: the same however it comes, in segments and in records, to the last byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/hello.h"

static struct hello_reader r;

/* ---- making one ---- */

static void put(struct buf *b, size_t size, size_t n)
{
	while (size-- > 0)
		buf_addc(b, (char)(n >> 8 * size));
}

static void put_vector(struct buf *b, size_t size, const void *value, size_t n)
{
	put(b, size, n);
	buf_add(b, value, n);
}

static void put_extension(struct buf *b, unsigned type, const void *value, size_t n)
{
	put(b, 2, type);
	put_vector(b, 2, value, n);
}

static void put_name(struct buf *b, unsigned type, const char *name, size_t n)
{
	struct buf list = BUF_INIT, value = BUF_INIT;

	put(&list, 1, type);
	put_vector(&list, 2, name, n);
	put_vector(&value, 2, list.s, list.len);
	put_extension(b, 0, value.s, value.len);
	buf_release(&list);
	buf_release(&value);
}

static void put_protocols(struct buf *b, const char *wire, size_t n)
{
	struct buf value = BUF_INIT;

	put_vector(&value, 2, wire, n);
	put_extension(b, 16, value.s, value.len);
	buf_release(&value);
}

/* With these extensions; NULL: without the field. */
static struct buf message(const struct buf *extensions)
{
	static const char fixed[34] = "\3\3";
	struct buf body = BUF_INIT, ret = BUF_INIT;

	buf_add(&body, fixed, sizeof(fixed));
	put_vector(&body, 1, "sessionsessionsessionsessionsess", 32);
	put_vector(&body, 2, "\x13\x01\x2a\x2a", 4);
	put_vector(&body, 1, "", 1);
	if (extensions)
		put_vector(&body, 2, extensions->s, extensions->len);
	put(&ret, 1, 1);
	put_vector(&ret, 3, body.s, body.len);
	buf_release(&body);
	return ret;
}

static struct buf in_records(const struct buf *m, size_t size)
{
	struct buf ret = BUF_INIT;

	for (size_t at = 0; at < m->len; at += size) {
		put(&ret, 3, 0x160301);
		put_vector(&ret, 2, m->s + at, m->len - at < size ? m->len - at : size);
	}
	return ret;
}

static struct buf hello(const char *name, const char *alpn, size_t n_alpn)
{
	struct buf extensions = BUF_INIT, m, ret;

	put_extension(&extensions, 0x1a1a, "", 0);
	if (name)
		put_name(&extensions, 0, name, strlen(name));
	put_extension(&extensions, 43, "\4\x03\x04\x03\x03", 5);
	if (alpn)
		put_protocols(&extensions, alpn, n_alpn);
	m = message(&extensions);
	ret = in_records(&m, 16384);
	buf_release(&extensions);
	buf_release(&m);
	return ret;
}

/* ---- reading one ---- */

static void read_in(const struct buf *b, size_t piece)
{
	memset(&r, 0, sizeof(r));
	for (size_t at = 0; at < b->len && r.state == HELLO_MORE; at += piece) {
		assert_in_range(hello_wanted(&r), 1, b->len - at);
		hello_read(&r, b->s + at, b->len - at < piece ? b->len - at : piece);
	}
}

static void is_whole(const struct buf *b, const char *name, const char *alpn)
{
	char joined[256];

	for (size_t piece = 1; piece <= b->len; piece++) {
		read_in(b, piece);
		assert_int_equal(r.state, HELLO_WHOLE);
		assert_int_equal(hello_wanted(&r), 0);
		assert_string_equal(r.name, name);
		assert_int_equal(r.n_name, strlen(name));
		joined[hello_join(r.alpn, r.n_alpn, joined, sizeof(joined) - 1)] = '\0';
		assert_string_equal(joined, alpn);
	}
	/* it is not whole before its last byte */
	memset(&r, 0, sizeof(r));
	hello_read(&r, b->s, b->len - 1);
	assert_int_equal(r.state, HELLO_MORE);
	assert_int_equal(hello_wanted(&r), 1);
}

static void is_wrong(struct buf *b, enum hello_why why)
{
	for (size_t piece = 1; piece <= b->len; piece += piece < 20 ? 1 : 97) {
		memset(&r, 0, sizeof(r));
		for (size_t at = 0; at < b->len; at += piece)
			hello_read(&r, b->s + at, b->len - at < piece ? b->len - at : piece);
		assert_int_equal(r.state, HELLO_WRONG);
		assert_int_equal(r.why, why);
	}
	buf_release(b);
}

static void in_any_pieces(void **state)
{
	struct buf b = hello("www.example.com", "\2h2\x08http/1.1", 12);

	is_whole(&b, "www.example.com", "h2,http/1.1");
	read_in(&b, b.len);
	assert_true(hello_offers(r.alpn, r.n_alpn, "h2") && hello_offers(r.alpn, r.n_alpn, "http/1.1"));
	assert_false(hello_offers(r.alpn, r.n_alpn, "h") || hello_offers(r.alpn, r.n_alpn, "http/1"));
	buf_release(&b);
	b = hello(NULL, NULL, 0);
	is_whole(&b, "", "");
	buf_release(&b);
}

static void in_any_records(void **state)
{
	struct buf extensions = BUF_INIT, m, b;

	put_name(&extensions, 0, "a.test", 6);
	put_protocols(&extensions, "\2h2", 3);
	m = message(&extensions);
	for (size_t size = 1; size <= m.len; size++) {
		b = in_records(&m, size);
		for (size_t piece = 1; piece < 12; piece++) {
			read_in(&b, piece);
			assert_int_equal(r.state, HELLO_WHOLE);
			assert_string_equal(r.name, "a.test");
		}
		buf_release(&b);
	}
	buf_release(&m);
	buf_release(&extensions);
}

static void without_extensions(void **state)
{
	struct buf m = message(NULL), b = in_records(&m, 16384);

	is_whole(&b, "", "");
	buf_release(&m);
	buf_release(&b);
}

static void of_grease(void **state)
{
	struct buf b = hello("a.test", "\2\x1a\x1a\2h2\2\xfa\xfa\2\x1a\x2a\3\xaa\xaa\xaa", 16);

	is_whole(&b, "a.test", "h2,\x1a\x2a,\xaa\xaa\xaa");
	buf_release(&b);
}

static void of_ssl_2(void **state)
{
	struct buf b = BUF_INIT;

	buf_add(&b, "\x80\x2e\x01\x03\x01", 5);
	is_whole(&b, "", "");
	buf_release(&b);
	memset(&r, 0, sizeof(r));
	hello_read(&r, "\x80\x2e\x02", 3);
	assert_int_equal(r.state, HELLO_NONE);
}

static void what_is_none(void **state)
{
	static const char *const list[] = {"GET / HTTP/1.1", "SSH-2.0", "\x16\x03\x09", "\x15\x03\x01", "\x16\x02"};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		memset(&r, 0, sizeof(r));
		hello_read(&r, list[i], strlen(list[i]));
		assert_int_equal(r.state, HELLO_NONE);
	}
}

/* 16 KiB may be; a byte more may not, nor more than 20 KiB with the heads of its records. */
static void as_long_as_may_be(void **state)
{
	struct buf extensions = BUF_INIT, m, b;
	size_t before;
	char *rest;

	put_name(&extensions, 0, "a.test", 6);
	m = message(&extensions);
	before = m.len;
	buf_release(&m);
	rest = calloc(1, HELLO_MAX + 1);
	put_extension(&extensions, 21, rest, HELLO_MAX - (before - 4) - 4);
	m = message(&extensions);
	assert_int_equal(m.len, HELLO_MAX + 4);
	b = in_records(&m, 16384);
	read_in(&b, 1000);
	assert_int_equal(r.state, HELLO_WHOLE);
	assert_string_equal(r.name, "a.test");
	buf_release(&b);
	b = in_records(&m, 10);
	is_wrong(&b, HELLO_SIZE);
	buf_release(&m);
	put_extension(&extensions, 21, "", 0);
	m = message(&extensions);
	b = in_records(&m, 16384);
	is_wrong(&b, HELLO_SIZE);
	buf_release(&m);
	buf_release(&extensions);
	free(rest);
}

static struct buf of_name(const char *name, size_t n)
{
	struct buf extensions = BUF_INIT, m, ret;

	put_name(&extensions, 0, name, n);
	m = message(&extensions);
	ret = in_records(&m, 16384);
	buf_release(&extensions);
	buf_release(&m);
	return ret;
}

static void names(void **state)
{
	static const char *const good[] = {"a",         "a.test.",     "A_b-c.TEST",
	                                   "192.0.2.1", "2001:db8::1", "xn--bcher-kva.test"};
	static const char *const bad[] = {"a b", "a\nb", "a/b",       "..",  ".a",  "a..b", "a\"b", "a\\b",
	                                  "a=b", "$(a)", "b\xc3\xbc", "a;b", "*.a", "a'b",  "a`b",  "\x7f"};
	char longest[256];
	struct buf b;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		b = of_name(good[i], strlen(good[i]));
		is_whole(&b, good[i], "");
		buf_release(&b);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		b = of_name(bad[i], strlen(bad[i]));
		is_wrong(&b, HELLO_NAME);
	}
	b = of_name("a\0b", 3);
	is_wrong(&b, HELLO_NAME);
	b = of_name("", 0);
	is_wrong(&b, HELLO_NAME);
	memset(longest, 'x', sizeof(longest));
	b = of_name(longest, 255);
	read_in(&b, 7);
	assert_int_equal(r.state, HELLO_WHOLE);
	assert_int_equal(r.n_name, 255);
	buf_release(&b);
	b = of_name(longest, 256);
	is_wrong(&b, HELLO_NAME);
}

/* Of a list the first host counts; two lists are no hello. */
static void several_names(void **state)
{
	static const char list[] = "\0\x13\1\0\1x\0\0\6a.test\0\0\3b.c";
	struct buf extensions = BUF_INIT, m, b;

	put_extension(&extensions, 0, list, sizeof(list) - 1);
	m = message(&extensions);
	b = in_records(&m, 16384);
	is_whole(&b, "a.test", "");
	buf_release(&b);
	buf_release(&m);
	put_name(&extensions, 0, "a.test", 6);
	m = message(&extensions);
	b = in_records(&m, 16384);
	is_wrong(&b, HELLO_NAME);
	buf_release(&m);
	buf_release(&extensions);
}

/* Each length in it, one too many and one too few. */
static void lengths_that_do_not_add_up(void **state)
{
	static const size_t at[] = {8, 77, 82, 85};
	struct buf b = hello("a.test", "\2h2", 3);

	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++)
		for (int by = -1; by <= 1; by += 2) {
			b.s[at[i]] = (char)(b.s[at[i]] + by);
			memset(&r, 0, sizeof(r));
			hello_read(&r, b.s, b.len);
			if (r.state == HELLO_WHOLE || (r.state == HELLO_MORE && at[i] != 8))
				fail_msg("byte %zu by %d: state %d", at[i], by, r.state);
			b.s[at[i]] = (char)(b.s[at[i]] - by);
		}
	buf_release(&b);
}

static struct buf spoilt(size_t at, char byte)
{
	struct buf b = hello("a.test", "\2h2", 3);

	b.s[at] = byte;
	return b;
}

static void what_is_broken(void **state)
{
	struct buf b = spoilt(5, 2), m, extensions = BUF_INIT;

	is_wrong(&b, HELLO_BROKEN); /* no hello of a client */
	b = spoilt(43, 33);
	is_wrong(&b, HELLO_BROKEN); /* a session of 33 bytes */
	b = spoilt(3, 0x7f);
	is_wrong(&b, HELLO_BROKEN); /* a record that is too long */
	m = message(NULL);
	b = in_records(&m, 20);
	b.s[25] = 21;
	is_wrong(&b, HELLO_BROKEN); /* an alert in between */
	b = in_records(&m, 20);
	b.s[28] = b.s[29] = 0;
	is_wrong(&b, HELLO_BROKEN); /* an empty record */
	buf_release(&m);
	put_protocols(&extensions, "\2h2", 3);
	put_protocols(&extensions, "\2h2", 3);
	m = message(&extensions);
	b = in_records(&m, 16384);
	is_wrong(&b, HELLO_BROKEN);
	buf_release(&m);
	buf_release(&extensions);
	put_protocols(&extensions, "\0", 1);
	m = message(&extensions);
	b = in_records(&m, 16384);
	is_wrong(&b, HELLO_BROKEN);
	buf_release(&m);
	buf_release(&extensions);
}

/* More protocols than there is room for: those that fit are whole. */
static void many_protocols(void **state)
{
	struct buf wire = BUF_INIT, b;
	char joined[40];

	for (int i = 0; i < 200; i++)
		buf_add(&wire, "\x08protocol", 9);
	b = hello("a.test", wire.s, wire.len);
	read_in(&b, 11);
	assert_int_equal(r.state, HELLO_WHOLE);
	assert_int_equal(r.n_alpn, HELLO_ALPN_MAX / 9 * 9);
	assert_int_equal(hello_join(r.alpn, r.n_alpn, joined, sizeof(joined)), 4 * 9 - 1);
	buf_release(&wire);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(in_any_pieces),      cmocka_unit_test(in_any_records),
	        cmocka_unit_test(without_extensions), cmocka_unit_test(of_grease),
	        cmocka_unit_test(of_ssl_2),           cmocka_unit_test(what_is_none),
	        cmocka_unit_test(as_long_as_may_be),  cmocka_unit_test(names),
	        cmocka_unit_test(several_names),      cmocka_unit_test(lengths_that_do_not_add_up),
	        cmocka_unit_test(what_is_broken),     cmocka_unit_test(many_protocols),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
