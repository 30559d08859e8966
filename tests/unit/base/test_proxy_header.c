/* Headers of the PROXY protocol, read in pieces of every size, and written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/proxy_header.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_reader r;

/* In pieces of this size; returns how many bytes were the header's. */
static size_t read_in(const void *bytes, size_t n, size_t piece)
{
	size_t took = 0;

	memset(&r, 0, sizeof(r));
	for (size_t at = 0; at < n && r.state == PROXY_MORE; at += piece)
		took += proxy_read(&r, (const char *)bytes + at, n - at < piece ? n - at : piece);
	return took;
}

static const char *addr(const struct addr *a)
{
	static char text[2][ADDR_TEXT_MAX];
	static int turn;

	return addr_format_port(a, text[turn++ % 2]);
}

/* Data behind it is not looked at, whatever the pieces; and each beginning of it wants more. */
static void whole(const char *bytes, size_t n, const char *from, const char *to)
{
	char *more = malloc(n + 6);

	memcpy(more, bytes, n);
	memcpy(more + n, "PROXY ", 6); /* a second one is data */
	for (size_t piece = 1; piece <= n + 6; piece++) {
		assert_int_equal(read_in(more, n + 6, piece), n);
		assert_int_equal(r.state, PROXY_WHOLE);
		assert_int_equal(r.length, n);
		assert_string_equal(addr(&r.from), from);
		assert_string_equal(addr(&r.to), to);
		assert_int_equal(r.own, strcmp(from, "-") == 0);
		assert_int_equal(proxy_wanted(&r), 0);
	}
	for (size_t part = 0; part < n; part++) {
		assert_int_equal(read_in(bytes, part, part + 1), part);
		assert_int_equal(r.state, PROXY_MORE);
		assert_in_range(proxy_wanted(&r), 1, n - part);
	}
	free(more);
}

static void is_wrong(const char *bytes, size_t n, enum proxy_why why)
{
	for (size_t piece = 1; piece <= n; piece++) {
		read_in(bytes, n, piece);
		assert_int_equal(r.state, PROXY_WRONG);
		assert_int_equal(r.why, why);
	}
}

#define WHOLE(text, from, to) whole(text, sizeof(text) - 1, from, to)
#define WRONG(text, why)      is_wrong(text, sizeof(text) - 1, why)

static void lines(void **state)
{
	WHOLE("PROXY TCP4 192.0.2.1 198.51.100.7 4711 25\r\n", "192.0.2.1:4711", "198.51.100.7:25");
	WHOLE("PROXY TCP6 2001:db8::1 2001:DB8::2 1 65535\r\n", "[2001:db8::1]:1", "[2001:db8::2]:65535");
	WHOLE("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 0\r\n", "192.0.2.1:0", "[::1]:0");
	WHOLE("PROXY UNKNOWN\r\n", "-", "-");
	WHOLE("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "-", "-");
}

static void the_longest_line(void **state)
{
	char line[PROXY_V1_MAX + 1];

	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	line[PROXY_V1_MAX - 2] = '\r';
	line[PROXY_V1_MAX - 1] = '\n';
	whole(line, PROXY_V1_MAX, "-", "-");
	line[PROXY_V1_MAX - 2] = 'x';
	line[PROXY_V1_MAX - 1] = '\r';
	line[PROXY_V1_MAX] = '\n';
	is_wrong(line, sizeof(line), PROXY_SYNTAX);
}

static void lines_that_are_wrong(void **state)
{
	static const char *const list[] = {
	        "PROXY TCP4 1.2.3.4 5.6.7.8 080 80\r\n",  "PROXY TCP4 1.2.3.4 5.6.7.8 80 65536\r\n",
	        "PROXY TCP4 01.2.3.4 5.6.7.8 80 80\r\n",  "PROXY TCP4 ::1 5.6.7.8 80 80\r\n",
	        "PROXY TCP6 1.2.3.4 ::1 80 80\r\n",       "PROXY TCP6 [::1] ::1 80 80\r\n",
	        "PROXY TCP6 fe80::1%lo ::1 80 80\r\n",    "PROXY TCP4  1.2.3.4 5.6.7.8 80 80\r\n",
	        "PROXY TCP4 1.2.3.4 5.6.7.8 80 80 \r\n",  "PROXY TCP4 1.2.3.4 5.6.7.8 80 80 1\r\n",
	        "PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n",      "PROXY TCP4 1.2.3.4 5.6.7.8 80 \r\n",
	        "PROXY UDP4 1.2.3.4 5.6.7.8 80 80\r\n",   "PROXY \r\n",
	        "PROXY TCP4 1.2.3.4 5.6.7.8 80 80\n",     "PROXY TCP4 1.2.3.4 5.6.7.8 +80 80\r\n",
	        "PROXY TCP4 1.2.3.4 5.6.7.8 80 80\t\r\n", "PROXY TCP4 1.2.3 5.6.7.8 80 80\r\n",
	        "PROXY tcp4 1.2.3.4 5.6.7.8 80 80\r\n",
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		is_wrong(list[i], strlen(list[i]), PROXY_SYNTAX);
	WRONG("PROXY TCP4 1.2.3.4\0", PROXY_SYNTAX);
}

static void what_is_no_header(void **state)
{
	static const char *const list[] = {"G", "PROXX", "PROXY\t", "proxy ", "\x16\x03\x01", "\r\n\r\n\r", "\n"};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		read_in(list[i], strlen(list[i]), 1);
		assert_int_equal(r.state, PROXY_NONE);
		read_in(list[i], strlen(list[i]), 100);
		assert_int_equal(r.state, PROXY_NONE);
	}
}

static void version_2(void **state)
{
	WHOLE(V2 "\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\0\x19", "192.0.2.1:4711", "198.51.100.7:25");
	WHOLE(V2 "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
	         "\0\x01\xff\xff",
	      "[2001:db8::1]:1", "[2001:db8::2]:65535");
	WHOLE(V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x02"
	         "\0\x01\0\x02",
	      "192.0.2.1:1", "192.0.2.2:2");
	WHOLE(V2 "\x21\0\0\0", "-", "-");
	WHOLE(V2 "\x20\0\0\0", "-", "-");
	/* a family without a kind, or a kind without a family */
	WHOLE(V2 "\x21\x10\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\0\x19", "-", "-");
	WHOLE(V2 "\x21\x01\0\0", "-", "-");
	/* LOCAL: whatever stands there, the connection is the sender's */
	WHOLE(V2 "\x20\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\0\x19", "-", "-");
	WHOLE(V2 "\x20\x11\0\x03"
	         "abc",
	      "-", "-");
	WHOLE(V2 "\x20\xff\0\x03"
	         "abc",
	      "-", "-");
}

static void a_unix_client_has_no_address(void **state)
{
	static char header[PROXY_V2_HEAD + 216 + 4] = V2 "\x21\x31\0\xdc";

	memcpy(header + PROXY_V2_HEAD + 216, "\xe1\0\x01x", 4);
	whole(header, sizeof(header), "-", "-");
	read_in(header, sizeof(header), 7);
	assert_memory_equal(r.tlvs, "\xe1\0\x01x", 4);
}

static void version_2_that_is_wrong(void **state)
{
	WRONG(V2 "\x11\x11\0\x0c", PROXY_VERSION);
	WRONG(V2 "\x31\x11\0\x0c", PROXY_VERSION);
	WRONG(V2 "\x22\x11\0\x0c", PROXY_SYNTAX);
	WRONG(V2 "\x21\x41\0\x0c", PROXY_SYNTAX);
	WRONG(V2 "\x21\x13\0\x0c", PROXY_SYNTAX);
	WRONG(V2 "\x21\x10\0\x0b", PROXY_SYNTAX);
	WRONG(V2 "\x21\x02\0\0", PROXY_DATAGRAM);
	WRONG(V2 "\x21\x11\0\x0b", PROXY_SYNTAX);
	WRONG(V2 "\x21\x21\0\x23", PROXY_SYNTAX);
	WRONG(V2 "\x21\x31\0\xd7", PROXY_SYNTAX);
	WRONG(V2 "\x21\x12\0\x0c", PROXY_DATAGRAM);
	WRONG(V2 "\x21\x22\0\x24", PROXY_DATAGRAM);
}

#define TCP4(length, rest) V2 "\x21\x11\0" length "\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\0\x19" rest

static void tlvs_are_kept(void **state)
{
	const uint8_t *value;
	size_t len;

	WHOLE(TCP4("\x16", "\x02\0\x04mail\xe1\0\0"), "192.0.2.1:4711", "198.51.100.7:25");
	read_in(TCP4("\x16", "\x02\0\x04mail\xe1\0\0"), 38, 1);
	assert_int_equal(r.n_tlvs, 10);
	value = proxy_tlv(&r, PROXY_TYPE_AUTHORITY, &len);
	assert_int_equal(len, 4);
	assert_memory_equal(value, "mail", 4);
	assert_non_null(proxy_tlv(&r, 0xe1, &len));
	assert_int_equal(len, 0);
	assert_null(proxy_tlv(&r, PROXY_TYPE_UNIQUE_ID, &len));
}

static void tlvs_add_up(void **state)
{
	WRONG(TCP4("\x0d", "\x02"), PROXY_TLV);
	WRONG(TCP4("\x0f", "\x02\0\x01"), PROXY_TLV);
	WRONG(TCP4("\x13", "\x02\0\x05mail"), PROXY_TLV);
	WRONG(V2 "\x21\0\0\x02xx", PROXY_TLV);
	WRONG(V2 "\x20\0\0\x02xx", PROXY_TLV);
}

/* The sums were made by another program. */
static void a_checksum(void **state)
{
	WHOLE(TCP4("\x1a", "\x02\0\x04mail\x03\0\x04\x1a\x1b\x46\x9a"), "192.0.2.1:4711", "198.51.100.7:25");
	assert_int_equal(r.n_tlvs, 7);
	WRONG(TCP4("\x1a", "\x02\0\x04mail\x03\0\x04\x1a\x1b\x46\x9b"), PROXY_CRC);
	WRONG(TCP4("\x1a", "\x02\0\x04nail\x03\0\x04\x1a\x1b\x46\x9a"), PROXY_CRC);
	WRONG(TCP4("\x12", "\x03\0\x03\x1a\x1b\x46"), PROXY_CRC);
	WRONG(TCP4("\x1a", "\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0"), PROXY_CRC);
}

/* The longest there is, whose TLVs are more than are kept. */
static void the_longest_header(void **state)
{
	uint8_t *header = calloc(1, PROXY_V2_MAX + 1);
	size_t at = PROXY_V2_HEAD, len;

	memcpy(header, V2 "\x21\0\xff\xff", PROXY_V2_HEAD);
	for (unsigned type = 0xe0; at < PROXY_V2_MAX; type++) {
		size_t left = PROXY_V2_MAX - at - 3, value = left < 5000 ? left : type == 0xe0 ? 4000 : 4093;

		header[at] = (uint8_t)type;
		header[at + 1] = (uint8_t)(value >> 8);
		header[at + 2] = (uint8_t)value;
		at += 3 + value;
	}
	assert_int_equal(read_in(header, PROXY_V2_MAX + 1, 1), PROXY_V2_MAX);
	assert_int_equal(r.state, PROXY_WHOLE);
	assert_int_equal(r.n_tlvs, 4003); /* the first one */
	assert_true(r.tlvs_left_out);
	assert_non_null(proxy_tlv(&r, 0xe0, &len));
	assert_int_equal(len, 4000);
	assert_null(proxy_tlv(&r, 0xe1, &len));
	assert_int_equal(read_in(header, PROXY_V2_MAX, 4096), PROXY_V2_MAX);
	assert_int_equal(r.state, PROXY_WHOLE);
	free(header);
}

/* What is kept is the beginning: none after one that is left out. */
static void as_much_is_kept_as_there_is_room_for(void **state)
{
	static const size_t values[] = {PROXY_TLVS_MAX - 3, PROXY_TLVS_MAX - 2};

	for (int i = 0; i < 2; i++) {
		uint8_t *header = calloc(1, PROXY_V2_HEAD + 3 + values[i] + 4);
		size_t n = 3 + values[i] + 4;

		memcpy(header, V2 "\x21\0", 14);
		header[14] = (uint8_t)(n >> 8);
		header[15] = (uint8_t)n;
		header[16] = 0xe0;
		header[17] = (uint8_t)(values[i] >> 8);
		header[18] = (uint8_t)values[i];
		header[16 + 3 + values[i]] = 0xe1;
		header[16 + 3 + values[i] + 2] = 1;
		assert_int_equal(read_in(header, PROXY_V2_HEAD + n, 100), PROXY_V2_HEAD + n);
		assert_int_equal(r.state, PROXY_WHOLE);
		assert_int_equal(r.n_tlvs, i == 0 ? PROXY_TLVS_MAX : 0);
		assert_true(r.tlvs_left_out);
		free(header);
	}
}

static void spoilt_memory_is_not_followed(void **state)
{
	size_t len;

	memset(&r, 0xff, sizeof(r));
	assert_null(proxy_tlv(&r, 1, &len));
	r.n_tlvs = PROXY_TLVS_MAX;
	memset(r.tlvs, 0, sizeof(r.tlvs));
	assert_null(proxy_tlv(&r, 1, &len));
}

/* ---- writing ---- */

static struct addr address(const char *text, uint16_t port)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	a.port = port;
	return a;
}

static void puts_v1(const char *from, const char *to, const char *line)
{
	struct addr a = address(from, 1), b = address(to, 65535);
	struct buf out = BUF_INIT;

	proxy_put_v1(&out, &a, &b);
	assert_string_equal(out.s, line);
	buf_release(&out);
}

static void lines_are_written(void **state)
{
	const struct addr none = {.family = AF_UNSPEC}, local = {.family = AF_UNIX}, four = address("1.2.3.4", 5);
	struct buf out = BUF_INIT;

	puts_v1("192.0.2.1", "198.51.100.7", "PROXY TCP4 192.0.2.1 198.51.100.7 1 65535\r\n");
	puts_v1("2001:db8::1", "::1", "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
	puts_v1("192.0.2.1", "::1", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 65535\r\n");
	puts_v1("::1", "192.0.2.1", "PROXY TCP6 ::1 ::ffff:192.0.2.1 1 65535\r\n");
	proxy_put_v1(&out, &none, &four);
	proxy_put_v1(&out, &local, &four);
	assert_string_equal(out.s, "PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n");
	buf_release(&out);
}

/* Both ways in one: what is written is read. */
static void what_is_written_is_read(void **state)
{
	static const char *const list[][2] = {
	        {"192.0.2.1", "198.51.100.7"}, {"2001:db8::1", "::1"}, {"192.0.2.1", "::1"}, {"::1", "192.0.2.1"}};

	for (int crc = 0; crc < 2; crc++)
		for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
			struct addr from = address(list[i][0], 4711), to = address(list[i][1], 25);
			struct buf out = BUF_INIT;
			char wanted[2][ADDR_TEXT_MAX];

			proxy_begin_v2(&out, &from, &to);
			proxy_add_tlv(&out, PROXY_TYPE_UNIQUE_ID, "0123", 4);
			proxy_end_v2(&out, crc);
			addr_format_port(&from, wanted[0]);
			addr_format_port(&to, wanted[1]);
			whole(out.s, out.len, wanted[0], wanted[1]);
			assert_int_equal(read_in(out.s, out.len, out.len), out.len);
			assert_memory_equal(r.tlvs,
			                    "\x05\0\x04"
			                    "0123",
			                    7);
			assert_int_equal(r.n_tlvs, 7);
			assert_int_equal(r.crc_there, crc);
			buf_release(&out);
		}
}

static void headers_without_an_address(void **state)
{
	const struct addr none = {.family = AF_UNSPEC};
	struct buf out = BUF_INIT;

	proxy_begin_v2(&out, NULL, NULL);
	proxy_end_v2(&out, false);
	assert_int_equal(out.len, PROXY_V2_HEAD);
	assert_memory_equal(out.s, V2 "\x20\0\0\0", PROXY_V2_HEAD);
	buf_release(&out);
	proxy_begin_v2(&out, &none, &none);
	proxy_end_v2(&out, false);
	assert_memory_equal(out.s, V2 "\x21\0\0\0", PROXY_V2_HEAD);
	buf_release(&out);
}

static void what_has_no_room_is_left_out(void **state)
{
	const struct addr none = {.family = AF_UNSPEC};
	static char much[65536];
	struct buf out = BUF_INIT;

	proxy_begin_v2(&out, &none, &none);
	proxy_add_tlv(&out, 0xe0, much, sizeof(much));
	assert_int_equal(out.len, PROXY_V2_HEAD);
	proxy_add_tlv(&out, 0xe0, much, 65535 - 3 - 7);
	proxy_add_tlv(&out, 0xe1, "", 0);
	proxy_end_v2(&out, true);
	assert_int_equal(out.len, PROXY_V2_MAX);
	assert_int_equal(read_in(out.s, out.len, 1000), PROXY_V2_MAX);
	assert_int_equal(r.state, PROXY_WHOLE);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lines),
	        cmocka_unit_test(the_longest_line),
	        cmocka_unit_test(lines_that_are_wrong),
	        cmocka_unit_test(what_is_no_header),
	        cmocka_unit_test(version_2),
	        cmocka_unit_test(a_unix_client_has_no_address),
	        cmocka_unit_test(version_2_that_is_wrong),
	        cmocka_unit_test(tlvs_are_kept),
	        cmocka_unit_test(tlvs_add_up),
	        cmocka_unit_test(a_checksum),
	        cmocka_unit_test(the_longest_header),
	        cmocka_unit_test(as_much_is_kept_as_there_is_room_for),
	        cmocka_unit_test(spoilt_memory_is_not_followed),
	        cmocka_unit_test(lines_are_written),
	        cmocka_unit_test(what_is_written_is_read),
	        cmocka_unit_test(headers_without_an_address),
	        cmocka_unit_test(what_has_no_room_is_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
