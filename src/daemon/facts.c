#include "daemon/facts.h"

#include "os/sock.h"
#include "proxy/handler.h"

#define ROWS_AT_ONCE 64
#define LOOK_AT_ONCE 4096 /* most of them may be free */

static void write_one(struct trio *t, uint32_t i)
{
	static const uint8_t is_unix[2] = {ROWFLAG_CLIENT_UNIX, ROWFLAG_SERVER_UNIX};
	struct row *row = trio_row(t, i);
	struct row_facts *to = trio_facts(t, i);
	struct tcp_facts facts;

	if (row->state == ROW_HANDLER)
		handler_count(row);
	to->known = 0;
	for (enum side side = CLIENT; side <= SERVER; side++) {
		if (row->fd[side] < 0 || row->flags & is_unix[side] ||
		    sock_facts(row->fd[side], &facts) < 0)
			continue;
		to->rtt_us[side] = facts.rtt_us;
		to->retransmits[side] = facts.retransmits;
		to->known |= 1u << side;
	}
	barrier();
	to->serial = row->serial;
}

static void write_some(void *arg)
{
	struct facts *f = arg;
	uint32_t end = f->next + LOOK_AT_ONCE;

	for (int n = 0; n < ROWS_AT_ONCE && f->next < end; f->next++) {
		if (f->next >= f->trio->rows_used) {
			f->done(f->arg, f->request);
			return;
		}
		if (trio_row(f->trio, f->next)->state == ROW_FREE)
			continue;
		write_one(f->trio, f->next);
		n++;
	}
	timer_set(f->loop, &f->timer, f->loop->now_ms, write_some, f); /* in the next turn */
}

void facts_write(struct facts *f, struct loop *loop, struct trio *trio, uint64_t request,
                 void (*done)(void *arg, uint64_t request), void *arg)
{
	f->loop = loop;
	f->trio = trio;
	f->request = request;
	f->done = done;
	f->arg = arg;
	f->next = 0;
	write_some(f);
}
