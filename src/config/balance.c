/* balance.c - balance: which of several servers gets the next client. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/parser.h"

#define BOUNDED_MIN 101
#define BOUNDED_MAX 10000

static const char *const ways[] = {
        [BALANCE_ROUND_ROBIN] = "round-robin",
        [BALANCE_LEAST_CONNECTIONS] = "least-connections",
        [BALANCE_RANDOM] = "random",
        [BALANCE_SOURCE] = "source",
        [BALANCE_HASH] = "hash",
        [BALANCE_FIRST] = "first",
        NULL,
};

const char *balance_name(enum balance_way way)
{
	return ways[way];
}

static bool read_way(struct parser *p, const struct word *w, enum balance_way *ret)
{
	const char *near = text_nearest(w->text, ways);
	char shown[SHOWN_MAX];

	for (size_t i = 0; ways[i]; i++)
		if (!strcmp(ways[i], w->text)) {
			*ret = (enum balance_way)i;
			return true;
		}
	lex_show(w->text, shown);
	if (peer_answer(w->text))
		parse_error(p, w->column, "%s is no way to balance; %s", shown, peer_answer(w->text));
	else if (near)
		parse_error(p, w->column, "%s is no way to balance; did you mean \"%s\"?", shown, near);
	else
		parse_error(
		        p, w->column,
		        "%s is no way to balance: round-robin, least-connections, random, source, hash and first are",
		        shown);
	return false;
}

static bool read_bound(struct parser *p, const struct word *w, enum balance_way balance, uint32_t *ret)
{
	char shown[SHOWN_MAX];
	uint64_t n;

	lex_show(w->text, shown);
	if (strncmp(w->text, "bounded=", strlen("bounded="))) {
		parse_error(p, w->column, "%s is no option of balance: bounded=PERCENT is", shown);
		return false;
	}
	if (balance != BALANCE_SOURCE && balance != BALANCE_HASH) {
		parse_error(p, w->column, "%s belongs to \"balance source\" and \"balance hash\"", shown);
		return false;
	}
	if (!text_parse_uint(w->text + strlen("bounded="), BOUNDED_MAX, &n) || n < BOUNDED_MIN) {
		parse_error(p, w->column, "%s is out of range: per cent of the average, from %d to %d", shown,
		            BOUNDED_MIN, BOUNDED_MAX);
		return false;
	}
	*ret = (uint32_t)n;
	return true;
}

void set_balance(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	enum balance_way balance;
	uint32_t bounded = 0;

	if (!read_way(p, &args[0], &balance) || (n > 1 && !read_bound(p, &args[1], balance, &bounded)))
		return;
	s->balance = balance;
	s->bounded = bounded;
}
