/* fuzz_consul.c - what Consul answers, or whoever stands in its place: each line that comes of it is one server, and who refuses it says
 * why. */
#include "sources/consul_said.h"
#include "list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lines lines = {0};
	struct buf why = BUF_INIT;

	CHECK(consul_read_instances((const char *)data, size, &lines, &why) || why.len);
	check_list(&lines);
	consul_read_complaint((const char *)data, size, 500, &why);
	CHECK(why.len && !memchr(why.s, '\0', why.len));
	lines_release(&lines);
	buf_release(&why);
	return 0;
}
