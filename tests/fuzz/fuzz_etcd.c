/* fuzz_etcd.c - what etcd answers, or whoever stands in its place: a range, a watch, a token. Whatever it is, each line that comes of it
 * is one server, and who refuses it says why. The first byte says what it is an answer to. */
#include "sources/etcd_said.h"
#include "list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t what = input_u8(&in) % 4;
	const char *text = (const char *)in.at;
	struct lines lines = {0};
	struct buf why = BUF_INIT, token = BUF_INIT;
	struct etcd_range range;
	struct etcd_event event;
	bool ok = true;

	if (what == 0 && (ok = etcd_read_range(text, in.left, &range, &lines, &why)))
		CHECK(range.revision > 0 && range.sent <= range.count && lines.found == range.sent);
	else if (what == 1)
		ok = etcd_read_event(text, in.left, &event, &why);
	else if (what == 2 && (ok = etcd_read_token(text, in.left, &token, &why)))
		CHECK(token.len && !strpbrk(token.s, "\r\n"));
	else if (what == 3)
		etcd_read_complaint(text, in.left, 500, &why);
	CHECK(ok || why.len);
	check_list(&lines);
	lines_release(&lines);
	buf_release(&why);
	buf_release(&token);
	return 0;
}
