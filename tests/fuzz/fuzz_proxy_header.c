/* fuzz_proxy_header.c - a header of the PROXY protocol, from anybody: it is the same however it comes, and not a byte after it is
 * taken. What was read can be written, and is read the same again. */
#include "base/proxy_header.h"
#include "input.h"

static struct proxy_reader whole, parts, again;

static size_t read_whole(struct proxy_reader *r, const void *bytes, size_t n)
{
	memset(r, 0, sizeof(*r));
	return proxy_read(r, bytes, n);
}

static size_t read_in_parts(struct input bytes, struct input sizes)
{
	size_t took = 0;

	memset(&parts, 0, sizeof(parts));
	while (bytes.left > 0 && parts.state == PROXY_MORE) {
		size_t n = input_u8(&sizes), got;

		if (n == 0 || n > bytes.left)
			n = bytes.left;
		got = proxy_read(&parts, bytes.at, n);
		CHECK(got == n || parts.state != PROXY_MORE);
		took += got;
		bytes.at += n;
		bytes.left -= n;
	}
	return took;
}

static void check_tlvs(const struct proxy_reader *r)
{
	size_t at = 0;

	CHECK(r->n_tlvs <= PROXY_TLVS_MAX);
	while (at < r->n_tlvs) {
		CHECK(at + 3 <= r->n_tlvs);
		at += 3 + (size_t)(r->tlvs[at + 1] << 8 | r->tlvs[at + 2]);
	}
	CHECK(at == r->n_tlvs);
}

static void write_and_read(const struct proxy_reader *r, bool crc)
{
	struct buf b = BUF_INIT;

	if (r->own)
		proxy_begin_v2(&b, NULL, NULL);
	else
		proxy_begin_v2(&b, &r->from, &r->to);
	for (size_t at = 0; at < r->n_tlvs;) {
		size_t len = (size_t)(r->tlvs[at + 1] << 8 | r->tlvs[at + 2]);

		proxy_add_tlv(&b, r->tlvs[at], r->tlvs + at + 3, len);
		at += 3 + len;
	}
	proxy_end_v2(&b, crc);
	CHECK(read_whole(&again, b.s, b.len) == b.len && again.state == PROXY_WHOLE);
	CHECK(again.own == r->own && memcmp(&again.from, &r->from, sizeof(r->from)) == 0 &&
	      memcmp(&again.to, &r->to, sizeof(r->to)) == 0);
	CHECK(again.n_tlvs == r->n_tlvs && memcmp(again.tlvs, r->tlvs, r->n_tlvs) == 0);
	buf_release(&b);
	if (r->own)
		return;
	proxy_put_v1(&b, &r->from, &r->to);
	CHECK(b.len <= PROXY_V1_MAX);
	CHECK(read_whole(&again, b.s, b.len) == b.len && again.state == PROXY_WHOLE);
	CHECK(memcmp(&again.from, &r->from, sizeof(r->from)) == 0 && memcmp(&again.to, &r->to, sizeof(r->to)) == 0);
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size}, sizes = {data, size < 8 ? size : 8};
	size_t took;

	in.at += sizes.left;
	in.left -= sizes.left;
	took = read_whole(&whole, in.at, in.left);
	read_in_parts(in, sizes);
	CHECK(whole.state == parts.state);
	if (whole.state == PROXY_MORE)
		CHECK(took == in.left && proxy_wanted(&whole) > 0);
	if (whole.state == PROXY_WRONG)
		CHECK(whole.why == parts.why && *proxy_why_text(whole.why));
	if (whole.state != PROXY_WHOLE)
		return 0;
	CHECK(memcmp(&whole, &parts, sizeof(whole)) == 0);
	CHECK(took == whole.length && took <= PROXY_V2_MAX);
	check_tlvs(&whole);
	write_and_read(&whole, took & 1);
	return 0;
}
