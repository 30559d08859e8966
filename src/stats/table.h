/* table.h - columns for people: as wide as what is in them, numbers to the right. */
#ifndef STATS_TABLE_H
#define STATS_TABLE_H

#include "base/buf.h"

struct table {
	const char *const *heads; /* NULL-terminated; one that begins with '>' is for numbers */
	size_t columns;
	char **cells;
	size_t n, cap;
};

void table_init(struct table *t, const char *const *heads);
/* The next cell, row by row. NULL or "": "-". */
void table_text(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* 1234567 as "1.2M" (powers of 1000); a time as "1.5s", "12m", "3h", "4d". */
void table_amount(struct table *t, unsigned long long n);
void table_time(struct table *t, long long us); /* negative: "-" */
/* Appends all rows below the heads, and frees everything. */
void table_print(struct table *t, struct buf *out);

#endif
