#include "ctl/failing.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The columns of the table of servers: where their heads stand. */
struct columns {
	size_t health, since_end, why;
};

static bool find_column(const char *head, const char *name, size_t *ret)
{
	const char *at = strstr(head, name);

	if (!at || (size_t)(at - head) > strcspn(head, "\n"))
		return false;
	*ret = (size_t)(at - head);
	return true;
}

static bool find_columns(const char *head, struct columns *ret)
{
	size_t since;

	if (!find_column(head, "HEALTH", &ret->health) || !find_column(head, "SINCE", &since) ||
	    !find_column(head, "WHY", &ret->why))
		return false;
	ret->since_end = since + strlen("SINCE");
	return true;
}

static bool is_bad(const char *health)
{
	static const char *const bad[] = {"failed ", "down ", "ejected "};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (strncmp(health, bad[i], strlen(bad[i])) == 0)
			return true;
	return false;
}

/* Adds what one row says. Returns how much of ret is used. */
static size_t add(const char *row, size_t len, const struct columns *c, char *ret, size_t used, size_t size)
{
	size_t since = c->since_end;
	int n;

	if (len <= c->why || used + 1 >= size || !is_bad(row + c->health))
		return used;
	while (since > 0 && row[since - 1] != ' ')
		since--;
	n = snprintf(ret + used, size - used, "%s%.*s for %.*s: %.*s", used ? "; " : "", (int)strcspn(row, " "), row,
	             (int)(c->since_end - since), row + since, (int)(len - c->why), row + c->why);
	return n < 0 ? used : used + (size_t)n < size ? used + (size_t)n : size - 1;
}

void failing_servers(const char *status, char *ret, size_t size)
{
	const char *row = strstr(status, "\nSERVER ");
	struct columns c;
	size_t used = 0;

	ret[0] = '\0';
	if (!row || !find_columns(row + 1, &c))
		return;
	for (row = strchr(row + 1, '\n') + 1; *row && *row != '\n';) {
		size_t len = strcspn(row, "\n");

		used = add(row, len, &c, ret, used, size);
		row += len + (row[len] == '\n');
	}
}
