/* fixture.h - what the tests of src/sources have in common: a list, and what is said of it. */
#ifndef SOURCES_FIXTURE_H
#define SOURCES_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sources/lines.h"

static struct lines lines;
static struct buf why, printed;

static inline const char *text_of(const struct buf *b)
{
	return b->len ? b->s : "";
}

/* The list as it is printed, finished. */
static inline const char *finished(void)
{
	lines_finish(&lines);
	buf_clear(&printed);
	lines_print(&lines, &printed);
	return printed.s;
}

static inline int release(void **state)
{
	lines_release(&lines);
	buf_release(&why);
	buf_release(&printed);
	return 0;
}

#endif
