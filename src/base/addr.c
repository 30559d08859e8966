#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_v6(struct addr *a, const uint8_t ip[16])
{
	memset(a->ip, 0, sizeof(a->ip));
	if (memcmp(ip, v4_mapped, sizeof(v4_mapped)) == 0) {
		a->family = AF_INET;
		memcpy(a->ip, ip + 12, 4);
	} else {
		a->family = AF_INET6;
		memcpy(a->ip, ip, 16);
	}
}

static bool is_link_local(const struct addr *a)
{
	return a->family == AF_INET6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static bool is_interface_name(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len >= ADDR_ZONE_MAX)
		return false;
	for (; *text; text++)
		if (*text <= ' ' || *text == 0x7f || strchr("/:[]%", *text))
			return false;
	return true;
}

/* The index of an IPv6 scope: a number, or an interface, which is looked up only if there is no place for its name.
 * 0: neither. */
static uint32_t parse_scope(const char *text, char *zone)
{
	if (text[strspn(text, "0123456789")] == '\0') {
		unsigned long n = strtoul(text, NULL, 10);

		return n < ADDR_NO_SCOPE ? (uint32_t)n : 0;
	}
	if (!zone)
		return if_nametoindex(text);
	if (!is_interface_name(text))
		return 0;
	strcpy(zone, text);
	return ADDR_NO_SCOPE;
}

static bool parse(const char *text, struct addr *ret, char *zone)
{
	struct addr a = {.family = AF_UNSPEC};
	char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + 2];
	uint8_t ip[16];
	size_t len = strlen(text);
	char *scope;

	if (zone)
		*zone = '\0';
	if (inet_pton(AF_INET, text, a.ip) == 1) {
		a.family = AF_INET;
		*ret = a;
		return true;
	}
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	scope = strchr(copy, '%');
	if (scope) {
		*scope++ = '\0';
		a.scope = parse_scope(scope, zone);
		if (a.scope == 0)
			return false;
	}
	if (inet_pton(AF_INET6, copy, ip) != 1)
		return false;
	set_v6(&a, ip);
	if (!is_link_local(&a)) {
		a.scope = 0; /* as the kernel tells it: with one it would match no connection */
		if (zone)
			*zone = '\0';
	}
	*ret = a;
	return true;
}

bool addr_parse(const char *text, struct addr *ret)
{
	return parse(text, ret, NULL);
}

bool addr_parse_zone(const char *text, struct addr *ret, char zone[ADDR_ZONE_MAX])
{
	return parse(text, ret, zone);
}

static unsigned family_bits(uint16_t family)
{
	return family == AF_INET ? 32 : 128;
}

/* Clears every bit of the address after the first `bits`. */
static void mask(struct addr *a, unsigned bits)
{
	for (unsigned i = 0; i < family_bits(a->family) / 8; i++) {
		if (bits >= 8) {
			bits -= 8;
		} else {
			a->ip[i] &= (uint8_t)(0xff00 >> bits);
			bits = 0;
		}
	}
}

static bool parse_network(const char *text, struct cidr *ret, char *zone)
{
	char copy[ADDR_TEXT_MAX];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct addr a;
	unsigned bits;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!parse(copy, &a, zone))
		return false;
	bits = family_bits(a.family);
	if (slash) {
		char *end;
		unsigned long n = strtoul(slash + 1, &end, 10);

		if (slash[1] < '0' || slash[1] > '9' || *end != '\0')
			return false;
		/* ::ffff:10.0.0.0/104 was meant in the bits of IPv6 */
		if (a.family == AF_INET && strchr(copy, ':')) {
			if (n < 96)
				return false;
			n -= 96;
		}
		if (n > bits)
			return false;
		bits = (unsigned)n;
	}
	mask(&a, bits);
	*ret = (struct cidr){.net = a, .bits = (uint8_t)bits};
	return true;
}

bool cidr_parse(const char *text, struct cidr *ret)
{
	return parse_network(text, ret, NULL);
}

bool cidr_parse_zone(const char *text, struct cidr *ret, char zone[ADDR_ZONE_MAX])
{
	return parse_network(text, ret, zone);
}

/* These are written for thousands of connections at a time; so not by snprintf(). */
static char *put_v4(char *at, const uint8_t ip[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*at++ = '.';
		at = text_put_uint(at, ip[i]);
	}
	return at;
}

static char *put_v6(char *at, const struct addr *a, const char *zone)
{
	inet_ntop(AF_INET6, a->ip, at, INET6_ADDRSTRLEN);
	at += strlen(at);
	if (zone && *zone) {
		*at++ = '%';
		at = stpncpy(at, zone, ADDR_ZONE_MAX - 1);
	} else if (a->scope && !(a->scope & ADDR_PLACE)) {
		*at++ = '%';
		at = text_put_uint(at, a->scope);
	}
	return at;
}

/* Of a process: its number, its user, and that it is one. */
struct addr addr_of_process(uint32_t pid, uint32_t uid)
{
	const uint32_t who[3] = {pid, uid, 1};
	struct addr a = {.family = AF_UNIX};

	memcpy(a.ip, who, sizeof(who));
	return a;
}

static bool who_is(const struct addr *a, uint32_t ret[3])
{
	memcpy(ret, a->ip, 3 * sizeof(*ret));
	return a->family == AF_UNIX && ret[2];
}

bool addr_process(const struct addr *a, uint32_t *uid)
{
	uint32_t who[3];
	bool is = who_is(a, who);

	*uid = who[1];
	return is;
}

static const char *format_process(const struct addr *a, char *buf)
{
	uint32_t who[3];
	char *at = stpcpy(buf, "unix");

	if (!who_is(a, who))
		return buf;
	*at++ = ':';
	at = text_put_uint(at, who[0]);
	*at++ = '/';
	*text_put_uint(at, who[1]) = '\0';
	return buf;
}

static const char *format(const struct addr *a, const char *zone, char *buf, bool bracket, bool port)
{
	char *at = buf;

	if (a->family == AF_UNSPEC)
		return strcpy(buf, "-");
	if (a->family == AF_UNIX)
		return format_process(a, buf);
	bracket &= a->family == AF_INET6;
	if (bracket)
		*at++ = '[';
	at = a->family == AF_INET6 ? put_v6(at, a, zone) : put_v4(at, a->ip);
	if (bracket)
		*at++ = ']';
	if (port) {
		*at++ = ':';
		at = text_put_uint(at, a->port);
	}
	*at = '\0';
	return buf;
}

const char *addr_format(const struct addr *a, char *buf)
{
	return format(a, NULL, buf, false, false);
}

const char *addr_format_port(const struct addr *a, char *buf)
{
	return format(a, NULL, buf, true, true);
}

const char *addr_format_bracket(const struct addr *a, char *buf)
{
	return format(a, NULL, buf, true, false);
}

const char *addr_format_zone(const struct addr *a, const char *zone, char *buf)
{
	return format(a, zone, buf, false, false);
}

const char *addr_format_zone_port(const struct addr *a, const char *zone, char *buf)
{
	return format(a, zone, buf, true, true);
}

const char *cidr_format(const struct cidr *c, char *buf)
{
	return cidr_format_zone(c, NULL, buf);
}

const char *cidr_format_zone(const struct cidr *c, const char *zone, char *buf)
{
	size_t len;

	addr_format_zone(&c->net, zone, buf);
	if (c->net.family == AF_UNSPEC || c->bits == family_bits(c->net.family))
		return buf;
	len = strlen(buf);
	snprintf(buf + len, ADDR_TEXT_MAX - len, "/%u", c->bits);
	return buf;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (a->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip, 4);
		return sizeof(*in);
	}
	if (a->family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		in6->sin6_scope_id = a->scope;
		memcpy(&in6->sin6_addr, a->ip, 16);
		return sizeof(*in6);
	}
	return 0;
}

void addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (len < sizeof(sa->sa_family))
		return;
	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		ret->family = AF_INET;
		ret->port = ntohs(in->sin_port);
		memcpy(ret->ip, &in->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		set_v6(ret, in6->sin6_addr.s6_addr);
		ret->port = ntohs(in6->sin6_port);
		if (is_link_local(ret))
			ret->scope = in6->sin6_scope_id;
	} else if (sa->sa_family == AF_UNIX) {
		ret->family = AF_UNIX;
	}
}

bool addr_same_host(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool addr_is_wildcard(const struct addr *a)
{
	static const uint8_t zero[16];

	return (a->family == AF_INET || a->family == AF_INET6) && memcmp(a->ip, zero, sizeof(zero)) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t six[16] = {[15] = 1};

	if (a->family == AF_INET)
		return a->ip[0] == 127;
	return a->family == AF_INET6 && memcmp(a->ip, six, sizeof(six)) == 0;
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
	struct addr masked = *a;

	if (c->net.family == AF_UNSPEC)
		return true;
	if (c->net.family != a->family || (c->net.scope && c->net.scope != a->scope))
		return false;
	mask(&masked, c->bits);
	return memcmp(masked.ip, c->net.ip, sizeof(masked.ip)) == 0;
}

struct addr addr_client_network(const struct addr *a)
{
	struct addr net = *a;

	uint32_t uid;

	net.port = 0;
	if (net.family == AF_INET6)
		mask(&net, 64);
	else if (addr_process(a, &uid))
		net = addr_of_process(0, uid);
	return net;
}
