#include "stats/table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

void table_init(struct table *t, const char *const *heads)
{
	*t = (struct table){.heads = heads};
	while (heads[t->columns])
		t->columns++;
}

/* The text is the table's from now on. */
static void take(struct table *t, char *text)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 256;
		t->cells = mem_resize(t->cells, t->cap, sizeof(*t->cells));
	}
	t->cells[t->n++] = text;
}

void table_text(struct table *t, const char *text)
{
	take(t, mem_strdup(text && *text ? text : "-"));
}

void table_addf(struct table *t, const char *fmt, ...)
{
	struct buf b = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	take(t, buf_detach(&b));
}

void table_amount(struct table *t, unsigned long long n)
{
	static const char units[] = "kMGTPE";
	double value = (double)n;
	int unit = -1;

	if (n < 10000) {
		table_addf(t, "%llu", n);
		return;
	}
	while (value >= 999.5 && units[unit + 1]) {
		value /= 1000;
		unit++;
	}
	table_addf(t, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

void table_time(struct table *t, long long us)
{
	long long s = us / 1000000;

	if (us < 0)
		table_text(t, NULL);
	else if (us < 1000)
		table_addf(t, "%lldus", us);
	else if (us < 1000000)
		table_addf(t, "%.1fms", (double)us / 1000);
	else if (s < 60)
		table_addf(t, "%.1fs", (double)us / 1000000);
	else if (s < 3600)
		table_addf(t, "%lldm%02lld", s / 60, s % 60);
	else if (s < 86400)
		table_addf(t, "%lldh%02lld", s / 3600, s / 60 % 60);
	else
		table_addf(t, "%lldd%02lldh", s / 86400, s / 3600 % 24);
}

static void cell(struct buf *out, const char *text, size_t width, bool to_the_right, bool last)
{
	size_t len = strlen(text);
	size_t pad = width > len ? width - len : 0;

	if (to_the_right)
		for (size_t i = 0; i < pad; i++)
			buf_addc(out, ' ');
	buf_adds(out, text);
	if (!to_the_right && !last)
		for (size_t i = 0; i < pad; i++)
			buf_addc(out, ' ');
	if (last)
		buf_addc(out, '\n');
	else
		buf_adds(out, "  ");
}

void table_print(struct table *t, struct buf *out)
{
	size_t *width = mem_alloc(t->columns * sizeof(*width));

	for (size_t c = 0; c < t->columns; c++)
		width[c] = strlen(t->heads[c] + (t->heads[c][0] == '>'));
	for (size_t i = 0; i < t->n; i++)
		if (strlen(t->cells[i]) > width[i % t->columns])
			width[i % t->columns] = strlen(t->cells[i]);
	for (size_t c = 0; c < t->columns; c++) {
		bool number = t->heads[c][0] == '>';

		cell(out, t->heads[c] + number, width[c], number, c + 1 == t->columns);
	}
	for (size_t i = 0; i < t->n; i++) {
		size_t c = i % t->columns;

		cell(out, t->cells[i], width[c], t->heads[c][0] == '>', c + 1 == t->columns);
		free(t->cells[i]);
	}
	free(t->cells);
	free(width);
	*t = (struct table){0};
}
