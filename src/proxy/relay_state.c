/* relay_state.c - how far a relay is: its end, a reset, what is acknowledged. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/sock.h"
#include "proxy/relay_parts.h"

void relay_finish(struct relay *r, enum relay_outcome outcome)
{
	relay_cancel(r);
	r->over = true;
	r->owner->done(r, outcome);
}

void relay_lose(struct relay *r, const char *why)
{
	char client[ADDR_TEXT_MAX];

	log_error("the connection of %s is ended: %s, id=%" PRIu64, addr_format_port(&cold_of(r)->client, client), why,
	          cold_of(r)->id);
	r->row->end = END_LOST;
	relay_finish(r, RELAY_ABORT);
}

/* A byte that moves and the end of a stream are signs of life; the next time limit is measured from the last of them. */
void relay_note_life(struct relay *r)
{
	r->row->active_ms = r->owner->env->loop->now_ms;
}

/* An error of a socket is told once, to the first call that asks: so it is written down at once. A reset
 * counts for more than the other side's earlier FIN (that stream was cut), but not more than the
 * FIN of the same side (it had said all it wanted). */
void relay_note_reset(struct relay *r, enum side s)
{
	enum end other_fin = s == CLIENT ? END_SERVER_FIN : END_CLIENT_FIN;
	bool cut = r->row->end == other_fin && !(r->row->flow[s].flags & FLOW_EOF);

	relay_note_life(r);
	if (r->row->end == END_NONE || cut)
		r->row->end = s == CLIENT ? END_CLIENT_RESET : END_SERVER_RESET;
	barrier();
	FAULT_POINT();
	r->row->flags |= s == CLIENT ? ROWFLAG_CLIENT_RESET : ROWFLAG_SERVER_RESET;
	FAULT_POINT();
	r->side[s].readable = r->side[s].hung_up = r->side[s].closed = true; /* what came before it can still be read */
}

bool relay_note_error(struct relay *r, enum side s, bool sending, int error)
{
	char why[160];

	if (sock_is_over(r->row->fd[s], error)) {
		relay_note_reset(r, s);
		return true;
	}
	snprintf(why, sizeof(why), "%s the %s: %s", sending ? "sending to" : "receiving from",
	         s == CLIENT ? "client" : "server", strerror(error));
	relay_lose(r, why);
	return false;
}

bool relay_half_closed(const struct relay *r)
{
	/* a side that was reset has ended, too, even while what came before cannot be delivered */
	return was_reset(r, CLIENT) || was_reset(r, SERVER) ||
	       (r->row->flow[CLIENT].flags | r->row->flow[SERVER].flags) & (FLOW_EOF | FLOW_RESET);
}

bool relay_all_acknowledged(struct relay *r, enum side s, bool closing)
{
	/* one more for the FIN of a clean end: the kernel looks after that by itself */
	int allowed = closing ? 1 : 0;
	int unsent;

	if (was_reset(r, s))
		return true; /* no peer is left to acknowledge */
	if (is_unix(r, s) && closing)
		return true; /* the peer can read what is there after we closed */
	unsent = sock_unsent(r->row->fd[s]);
	return unsent <= allowed;
}

void relay_init(struct relay *r, const struct relay_owner *owner, struct row *row)
{
	*r = (struct relay){.owner = owner, .row = row};
	r->side[CLIENT].writable = r->side[SERVER].writable = true;
}

void relay_cancel(struct relay *r)
{
	timer_clear(r->owner->env->loop, &r->timer);
}
