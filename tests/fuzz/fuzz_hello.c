/* fuzz_hello.c - what a client of TLS says first, from anybody: it is the same however it comes, no more than may be is read of it, and a
 * name is one of a host. */
#include "base/hello.h"
#include "input.h"

static struct hello_reader whole, parts;

static void read_in_parts(struct input bytes, struct input sizes)
{
	memset(&parts, 0, sizeof(parts));
	while (bytes.left > 0 && parts.state == HELLO_MORE) {
		size_t n = input_u8(&sizes);

		if (n == 0 || n > bytes.left)
			n = bytes.left;
		CHECK(hello_wanted(&parts) > 0);
		hello_read(&parts, bytes.at, n);
		bytes.at += n;
		bytes.left -= n;
	}
}

static void check_alpn(const struct hello_reader *r)
{
	char joined[255];
	size_t at = 0;

	CHECK(r->n_alpn <= HELLO_ALPN_MAX);
	while (at < r->n_alpn) {
		CHECK(r->alpn[at] > 0);
		at += 1u + r->alpn[at];
	}
	CHECK(at == r->n_alpn);
	CHECK(hello_join(r->alpn, r->n_alpn, joined, sizeof(joined)) <= sizeof(joined));
	hello_offers(r->alpn, r->n_alpn, "h2");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size}, sizes = {data, size < 8 ? size : 8};

	in.at += sizes.left;
	in.left -= sizes.left;
	memset(&whole, 0, sizeof(whole));
	hello_read(&whole, in.at, in.left);
	read_in_parts(in, sizes);
	CHECK(whole.state == parts.state && whole.seen <= HELLO_RECORDS);
	if (whole.state == HELLO_WRONG)
		CHECK(whole.why == parts.why);
	if (whole.state != HELLO_WHOLE)
		return 0;
	CHECK(memcmp(&whole, &parts, sizeof(whole)) == 0);
	CHECK(strlen(whole.name) == whole.n_name && !strpbrk(whole.name, " \n\t\"\\/=$"));
	check_alpn(&whole);
	return 0;
}
