/*
 * consul.h - the healthy instances of a service in Consul, as a list that is kept fresh by blocking queries: each waits at Consul until
 * something is new, for 5 minutes at most.
 */
#ifndef SOURCES_CONSUL_H
#define SOURCES_CONSUL_H

#include "sources/http.h"
#include "sources/options.h"
#include "sources/output.h"
#include "sources/retry.h"

struct consul {
	struct loop *loop;
	struct http *http;
	struct output *output;
	const struct options *options;
	char *url; /* of the question, with neither index nor wait */
	struct call call;
	struct timer again;
	struct retry retry;
	struct buf why; /* of the failure that is just being told */
	uint64_t index; /* how far we know; 0: nothing, and nothing is waited for */
	int64_t asked_ms;
	bool empty;   /* it has been asked twice whether it has none, and says so */
	bool doubted; /* it has none, all at once: it is asked once more, and its leader has to answer */
};

/* Everything is borrowed. */
void consul_start(struct consul *c, struct loop *loop, struct http *http, struct output *output,
                  const struct options *options);

#endif
