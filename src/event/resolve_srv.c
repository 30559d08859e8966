/*
 * resolve_srv.c - the servers of a service: SRV records, asked of the name servers alone, under exactly this name.
 */
#include <arpa/nameser.h>
#include <stdlib.h>
#include "base/mem.h"
#include "event/resolve_parts.h"

struct service_question {
	struct request request;
	resolve_srv_fn *fn;
};

static void resolve_srv_answered(void *arg, int status, int timeouts, unsigned char *answer, int len)
{
	struct service_question *q = arg;
	struct resolve_srv_result result = {.error = status};
	struct srv_record *records = NULL;

	if (status == ARES_SUCCESS) {
		records = srv_read(answer, (size_t)len, &result.n, &result.ttl_s, &result.none_at_all);
		result.records = records;
		if (!records)
			result.error = ARES_EBADRESP;
		else if (result.n == 0 && !result.none_at_all)
			result.error = ARES_ENODATA;
	}
	result.none = error_says_none(result.error);
	result.why = result.error ? ares_strerror(result.error) : NULL;
	request_count(&q->request, result.error);
	if (q->request.wanted)
		q->fn(q->request.arg, &result);
	free(records);
	request_end(&q->request);
	free(q);
}

static void on_limit(void *arg)
{
	struct service_question *q = arg;
	struct resolve_srv_result result = {.error = ARES_ETIMEOUT, .why = ares_strerror(ARES_ETIMEOUT)};

	request_count(&q->request, result.error);
	if (q->request.wanted)
		q->fn(q->request.arg, &result);
	request_forget(&q->request);
}

void resolve_srv(struct resolver *r, const char *name, resolve_srv_fn *fn, void *arg)
{
	struct service_question *q = mem_alloc(sizeof(*q));
	struct channel *ch;

	q->fn = fn;
	request_begin(r, &q->request, arg);
	ch = q->request.channel;
	timer_set(r->setup.loop, &q->request.timer, request_limit_ms(r), on_limit, q);
	ares_query(ch->servers, name, ns_c_in, ns_t_srv, resolve_srv_answered, q); /* it may be over already */
	channel_set_timer(ch);
}
