/* list.h - what must be true of a list of servers that a stranger's words have become. */
#ifndef FUZZ_LIST_H
#define FUZZ_LIST_H

#include "input.h"
#include "sources/lines.h"

static inline void check_list(struct lines *l)
{
	struct buf text = BUF_INIT, why = BUF_INIT;

	lines_finish(l);
	CHECK(l->n <= LINES_MAX && l->n <= l->found);
	for (size_t i = 0; i < l->n; i++) {
		CHECK(line_is_server(l->list[i], &why) && !strchr(l->list[i], '\n'));
		CHECK(i == 0 || strcmp(l->list[i - 1], l->list[i]) < 0);
		CHECK(strcmp(l->list[i], "none") != 0 && strcmp(l->list[i], ".") != 0);
	}
	lines_print(l, &text);
	CHECK(text.len > 1 && text.s[text.len - 1] == '\n' && !memchr(text.s, '\0', text.len));
	buf_release(&text);
	buf_release(&why);
}

#endif
