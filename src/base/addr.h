/*
 * addr.h - an IP address with its port, and networks.
 *
 * An IPv4 address that came in as ::ffff:a.b.c.d is kept as the IPv4 address that it is,
 * so one rule, one limit and one log line serve both families of sockets.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
	uint16_t family; /* AF_UNSPEC (none), AF_INET, AF_INET6, AF_UNIX (of a client: who it is) */
	uint16_t port;   /* host byte order; 0: none */
	uint32_t
	        scope; /* IPv6 link-local: interface index or ADDR_NO_SCOPE; where a client has come: ADDR_PLACE and its number, if it is no
	                  * port of this host; else 0 */
	uint8_t ip[16]; /* network byte order; IPv4 uses the first 4 */
};

struct cidr {
	struct addr net; /* host bits cleared, no port */
	uint8_t bits;    /* prefix length */
};

/* An address that this host has, and the interface that has it. */
struct interface_address {
	char name[16];
	struct addr addr;
};

#define ADDR_NO_SCOPE \
	UINT32_MAX /* of an interface that is not there, or was not looked up; the kernel never assigns it */
#define ADDR_PLACE \
	0x80000000u /* in a scope: a place other than the ports of this host (config/ports.c); no interface has such an index */
#define ADDR_ZONE_MAX 16 /* the name of an interface, with its NUL */

#define ADDR_TEXT_MAX 80 /* room for any text below, with its NUL */

/* "1.2.3.4", "::1", "[::1]", "fe80::1%eth0", "fe80::1%2"; never a name service. The interface must be there.
 * Returns false if `text` is not an address; *ret is then untouched. The port is set to 0. */
bool addr_parse(const char *text, struct addr *ret);

/* "192.168.0.0/16", "fd00::/8", or an address (all its bits). Host bits that are set are cleared. */
bool cidr_parse(const char *text, struct cidr *ret);

/* The same for what is kept longer than an interface may live: its name is copied to `zone` and not looked up (the
 * scope is ADDR_NO_SCOPE then). zone is "" if the text has none, or the number of one, or where it means nothing. */
bool addr_parse_zone(const char *text, struct addr *ret, char zone[ADDR_ZONE_MAX]);
bool cidr_parse_zone(const char *text, struct cidr *ret, char zone[ADDR_ZONE_MAX]);

/* Both write a NUL-terminated text to buf (ADDR_TEXT_MAX bytes) and return buf.
 * AF_UNSPEC gives "-", AF_UNIX "unix", or "unix:PID/UID" of a client. addr_format: no port, no brackets.
 * addr_format_port: "1.2.3.4:25", "[::1]:25". addr_format_bracket: "1.2.3.4", "[::1]". */
const char *addr_format(const struct addr *a, char *buf);
const char *addr_format_port(const struct addr *a, char *buf);
const char *addr_format_bracket(const struct addr *a, char *buf);
const char *cidr_format(const struct cidr *c, char *buf);
/* The same with the name of a zone instead of its number; zone NULL or "": as above. */
const char *addr_format_zone(const struct addr *a, const char *zone, char *buf);
const char *addr_format_zone_port(const struct addr *a, const char *zone, char *buf);
const char *cidr_format_zone(const struct cidr *c, const char *zone, char *buf);

/* To and from the kernel's form. Returns the length of the sockaddr, 0 if the family is neither. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret);
void addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *ret);

/* Where a client has come that has this as its local address; 0: a port of this host. */
static inline uint32_t addr_place(const struct addr *a)
{
	return a->scope & ADDR_PLACE && a->scope != ADDR_NO_SCOPE ? a->scope : 0;
}
/* The client of a Unix socket: its process, as it was when it connected, and the user of that. */
struct addr addr_of_process(uint32_t pid, uint32_t uid);
/* Is there a process? uid: of its user. */
bool addr_process(const struct addr *a, uint32_t *uid);

/* Same host (family, address, scope), whatever the port. */
bool addr_same_host(const struct addr *a, const struct addr *b);
bool addr_is_wildcard(const struct addr *a);
bool addr_is_loopback(const struct addr *a); /* 127.0.0.0/8, ::1 */
bool cidr_contains(const struct cidr *c, const struct addr *a);

/* The network that one customer holds: an IPv4 address, or the /64 of an IPv6 one, or the user of a Unix socket; port cleared. */
struct addr addr_client_network(const struct addr *a);

#endif
