#include "event/prefer.h"

#include <string.h>
#include "os/sock.h"

struct policy {
	uint8_t prefix[16];
	int bits;
	int precedence, label;
};

/* Section 2.1, the longest prefix first. */
static const struct policy table[] = {
        {{[15] = 1}, 128, 50, 0},                /* ::1 */
        {{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, /* IPv4 */
        {{0}, 96, 1, 3},                         /* IPv4 in IPv6, as it once was written */
        {{0x20, 0x01, 0, 0}, 32, 5, 5},          /* Teredo */
        {{0x20, 0x02}, 16, 30, 2},               /* 6to4 */
        {{0x3f, 0xfe}, 16, 1, 12},               /* the 6bone */
        {{0xfe, 0xc0}, 10, 1, 11},               /* site-local */
        {{0xfc}, 7, 3, 13},                      /* unique local */
        {{0}, 0, 40, 1},
};

static void as_ipv6(const struct addr *a, uint8_t *ret)
{
	memset(ret, 0, 16);
	if (a->family == AF_INET6) {
		memcpy(ret, a->ip, 16);
		return;
	}
	ret[10] = ret[11] = 0xff;
	memcpy(ret + 12, a->ip, 4);
}

static bool begins_with(const uint8_t *ip, const uint8_t *prefix, int bits)
{
	int whole = bits / 8, rest = bits % 8;

	if (memcmp(ip, prefix, (size_t)whole) != 0)
		return false;
	return rest == 0 || (ip[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

static const struct policy *policy_of(const struct addr *a)
{
	const struct policy *p = table;
	uint8_t ip[16];

	as_ipv6(a, ip);
	while (!begins_with(ip, p->prefix, p->bits))
		p++;
	return p;
}

enum { SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14 };

/* Section 3.1 and 3.2. */
static int scope_of(const struct addr *a)
{
	const uint8_t *ip = a->ip;

	if (a->family == AF_INET)
		return ip[0] == 127 || (ip[0] == 169 && ip[1] == 254) ? SCOPE_LINK : SCOPE_GLOBAL;
	if (ip[0] == 0xff)
		return ip[1] & 0x0f;
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
		return SCOPE_LINK;
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0xc0)
		return SCOPE_SITE;
	return begins_with(ip, table[0].prefix, 128) ? SCOPE_LINK : SCOPE_GLOBAL;
}

int prefer_compare(const struct way *a, const struct way *b)
{
	const struct policy *to_a = policy_of(&a->to), *to_b = policy_of(&b->to);
	bool way_a = a->from.family != AF_UNSPEC, way_b = b->from.family != AF_UNSPEC;
	int by_scope, by_label;

	if (!way_a || !way_b)
		return way_b - way_a;
	by_scope = (scope_of(&b->to) == scope_of(&b->from)) - (scope_of(&a->to) == scope_of(&a->from));
	if (by_scope != 0)
		return by_scope;
	by_label = (to_b->label == policy_of(&b->from)->label) - (to_a->label == policy_of(&a->from)->label);
	if (by_label != 0)
		return by_label;
	if (to_a->precedence != to_b->precedence)
		return to_b->precedence - to_a->precedence;
	return scope_of(&a->to) - scope_of(&b->to);
}

struct way prefer_way_to(const struct addr *to)
{
	struct way way = {.to = *to};

	if (sock_source_of(to, &way.from) < 0)
		way.from = (struct addr){.family = AF_UNSPEC};
	return way;
}
