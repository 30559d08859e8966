/*
 * resolve.h - names to addresses and back through c-ares, on a loop, without blocking.
 * /etc/hosts and nsswitch's order are honoured as c-ares does. A process that uses it must not
 * share its descriptor table (c-ares opens sockets by itself).
 */
#ifndef EVENT_RESOLVE_H
#define EVENT_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/name_answer.h"
#include "event/loop.h"
#include "event/srv.h"

struct resolver; /* opaque */

struct resolver_setup {
	struct loop *loop;
	const char *purpose;     /* "names of servers", for the log */
	const char *resolv_conf; /* NULL: /etc/resolv.conf */
	uint16_t port;           /* of the name servers in it; 0: 53 */
	int64_t limit_ms; /* for a question in all: with all servers, families, and names of the search list; 0: 12 s */
};

/* servers: n name servers with their ports; n 0: those of /etc/resolv.conf, which is looked at before each question,
 * and read again when it is another, as is /etc/nsswitch.conf. Questions under way end with the servers that they were
 * put to. (The hosts file is read for each question.) Returns 0 or -errno; *ret then belongs to the caller
 * (resolver_free). */
int resolver_new(const struct resolver_setup *setup, const struct addr *servers, size_t n, struct resolver **ret);
/* From now on these are asked. Returns 1: they are others than before, or their file has changed; 0; or -errno. */
int resolver_set_servers(struct resolver *r, const struct addr *servers, size_t n);
/* Looks at the files now. true: others are asked from now on; said in the log. */
bool resolver_refresh(struct resolver *r);
/* Takes NULL; pending answers never come. Not from inside a callback. */
void resolver_free(struct resolver *r);
/* Whatever was asked with this arg is not answered any more. */
void resolve_cancel(struct resolver *r, const void *arg);

/* How questions for hosts and services have ended since it was made: those that somebody still wanted. */
struct resolve_counts {
	uint64_t n[NAME_ANSWERS];
};
struct resolve_counts resolver_counts(const struct resolver *r);

struct resolve_result {
	int error; /* 0, or an ARES_ code */
	bool none; /* an answer: there is no such name, or it has no address. Else nobody has answered, or refused to */
	const char *why;          /* its text; NULL if none */
	const struct addr *addrs; /* in the order of RFC 6724, port 0; valid during the call */
	size_t n;
	uint32_t ttl_s;      /* the smallest; UINT32_MAX: the host was an address */
	bool more;           /* these are for now; a second call will bring all */
	uint16_t unanswered; /* of this family no answer has said, yet or at all, which there are; AF_UNSPEC: of none */
};
typedef void resolve_fn(void *arg, const struct resolve_result *result);

/* All addresses of a host. The callback may come before the call returns. If one family is answered and the other is not, 50 ms
 * later, it comes twice: with those that are known (`more`), and with all, those in front (RFC 8305, section 3). */
void resolve_host(struct resolver *r, const char *host, resolve_fn *fn, void *arg);

struct resolve_srv_result {
	int error;        /* 0, or an ARES_ code */
	bool none;        /* an answer: there is no such name, or it has no such record */
	bool none_at_all; /* an answer: the service is decidedly not there (RFC 2782), but for the records that stand beside */
	const char *why;                  /* the error's text; NULL if none */
	const struct srv_record *records; /* by host and port; valid during the call */
	size_t n;
	uint32_t ttl_s; /* the smallest */
};
typedef void resolve_srv_fn(void *arg, const struct resolve_srv_result *result);

/* The servers of a service: "_imap._tcp.example.com", which no search list completes. Called once, perhaps before the call returns. */
void resolve_srv(struct resolver *r, const char *name, resolve_srv_fn *fn, void *arg);

/* The name of a client: its reverse name, if that resolves back to the address, within timeout_ms.
 * name is in lower case, of letters, digits, `.`, `_` and `-` only; "" if there is none, it is forged,
 * or time is up. Called exactly once, perhaps before the call returns. */
typedef void resolve_name_fn(void *arg, const char *name);
void resolve_client(struct resolver *r, const struct addr *client, int64_t timeout_ms, resolve_name_fn *fn, void *arg);

#endif
