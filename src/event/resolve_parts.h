/*
 * resolve_parts.h - what the parts of the resolver have from each other: resolve.c (the servers to ask),
 * resolve_channel.c (c-ares on the loop), resolve_host.c (a host's addresses), resolve_srv.c (a service's servers), resolve_client.c (a
 * client's name). Not for others.
 */
#ifndef EVENT_RESOLVE_PARTS_H
#define EVENT_RESOLVE_PARTS_H

#include <ares.h>
#include <stdbool.h>
#include <sys/stat.h>
#include "event/resolve.h"

struct resolver_socket;

/* c-ares as it was set up at some time. When the system's file has changed there is another one; the one before stays until
 * it has no question any more. */
struct channel {
	struct channel *next; /* older */
	struct resolver *resolver;
	ares_channel servers;
	ares_channel hosts;        /* asks the hosts file only, and at once */
	struct ares_options found; /* what the files say: lookups, domains, ndots, and */
	int found_mask;            /* whether they rotate */
	struct timer timer;
	struct resolver_socket *sockets;
	unsigned questions; /* that were put to it */
};

#define CHANNEL_TEXT 512 /* room for channel_describe() */

/* 0 or -errno. servers: as resolver_new(). */
int channel_new(struct resolver *r, const struct addr *servers, size_t n, struct channel **ret);
/* Calls back for every question that is left. Takes NULL. */
void channel_free(struct channel *ch);
/* After everything that may have started or ended a query. */
void channel_set_timer(struct channel *ch);
/* Both ask the same ones, in the same way. */
bool channel_same(struct channel *a, struct channel *b);
/* "10.0.0.1, 10.0.0.2"; buf is filled as far as it goes. */
void channel_describe(struct channel *ch, char *buf, size_t size);

/* By what a change of a file is noticed. */
struct file_stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec modified, changed;
};

enum { FILE_RESOLV, FILE_NSSWITCH, N_FILES };

struct resolver {
	struct resolver_setup setup;
	struct channel *channels; /* the present one first */
	struct timer sweep;       /* older ones that have become idle */
	struct addr *servers;     /* that were named; else those of the file, */
	size_t n_servers;
	struct file_stamp stamps[N_FILES]; /* which was read then; all zero: it was not there */
	struct request *requests;
	struct resolve_counts counts;
};

/* A question, embedded in what the kind of question needs. c-ares cannot take back a single query: an asker that does
 * not want the answer any more is forgotten, and the question goes when c-ares is done with it. */
struct request {
	struct request *next, **link;
	struct resolver *resolver;
	struct channel *channel; /* to which it was put */
	void *arg;               /* the asker's */
	bool wanted;
	struct timer timer;
};

/* Looks whether the servers to ask have changed, and chooses the channel. q is zero but for what embeds it. */
void request_begin(struct resolver *r, struct request *q, void *arg);
void request_forget(struct request *q);
/* When a question that begins now has failed (monotonic). */
int64_t request_limit_ms(const struct resolver *r);
/* It has its answer: error 0, or an ARES_ code. */
void request_count(struct request *q, int error);
/* An answer, too: there is no such name, or it has nothing of what was asked for. */
bool error_says_none(int error);
/* c-ares is done with it; the caller frees it. */
void request_end(struct request *q);

/* A host that ends with a dot is not completed from the search list. */
void request_ask(struct request *q, const char *host, int family, ares_addrinfo_callback fn, void *arg);
/* The addresses of a list, in its order. The caller frees them. */
struct addr *resolver_take_addrs(const struct ares_addrinfo *ai, size_t *n, uint32_t *ttl_s);

#endif
