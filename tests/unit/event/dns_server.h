/*
 * dns_server.h - a name server on 127.0.0.1 in a thread of the test, with a table for its zone.
 */
#ifndef TESTS_DNS_SERVER_H
#define TESTS_DNS_SERVER_H

#include <stdint.h>
#include "base/addr.h"

enum dns_type {
	DNS_A = 1,
	DNS_PTR = 12,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_SILENCE = 0,
	DNS_SLOW = -1,
	DNS_BIG = -2,
	DNS_NO_A = -3,
	DNS_NO_AAAA = -4,
	DNS_LATE_A = -5,
	DNS_LATE_AAAA = -6,
	DNS_FAIL_AAAA = -7,
};

struct dns_record {
	const char *name;   /* of the question, lower case */
	enum dns_type type; /* DNS_SILENCE: never answered; DNS_SLOW: not at the first time;
	                     * DNS_BIG: only by TCP; DNS_NO_...: questions of this type are never
	                     * answered; DNS_LATE_...: only after `ttl` ms; DNS_FAIL_...: SERVFAIL */
	const char *data;   /* an address, or a name; "PRIORITY WEIGHT PORT NAME" */
	uint32_t ttl;
};

struct dns_server;

/* zone ends with a record without a name and must outlive the server. */
struct dns_server *dns_server_start(const struct dns_record *zone);
/* Another one at this address, with its port. */
struct dns_server *dns_server_start_at(const struct dns_record *zone, const struct addr *addr);
/* How many questions there were so far. */
unsigned dns_server_questions(const struct dns_server *s);
struct addr dns_server_addr(const struct dns_server *s);
void dns_server_stop(struct dns_server *s);

#endif
