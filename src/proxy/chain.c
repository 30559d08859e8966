#include "proxy/chain.h"

#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "os/sock.h"
#include "proxy/seldom.h"
#include "proxy/session.h"

#define STEPS_MOST 64    /* a chain that is longer is taken for a loop */
#define UNSURE_US  50000 /* a worker that calls for so long has been stopped */

/* Kinds of keys in the table of limits, beside those of limits. */
enum { KEY_LINK = LIMIT_KINDS, KEY_CALLS };

/* A connection on its way through a service. */
struct step_of_chain {
	struct addr client, local;
	uint32_t label;
	uint16_t service;
};

/* ---- which addresses are ours ---- */

static bool is_ip(const struct addr *a)
{
	return a->family == AF_INET || a->family == AF_INET6;
}

static bool has_learned(const struct chain *c, const struct addr *a)
{
	for (unsigned i = 0; i < c->n_learned && i < CHAIN_LEARNED; i++)
		if (addr_same_host(&c->learned[i], a))
			return true;
	return false;
}

static bool is_ours(struct engine *e, const struct addr *a)
{
	return is_ip(a) && (home_has_address(&e->rules->home, a) || has_learned(&e->chain, a));
}

/* Where a client was accepted is an address of ours, also one that was not there when the interfaces were looked at. */
static void learn(struct engine *e, const struct addr *local)
{
	if (is_ip(local) && !is_ours(e, local))
		e->chain.learned[e->chain.n_learned++ % CHAIN_LEARNED] = *local;
}

/* ---- links ---- */

/* Both ends of a socket that has called. Never 0. */
static uint64_t link_of(const struct addr *from, const struct addr *to)
{
	struct {
		uint8_t from[16], to[16];
		uint16_t from_port, to_port, family, pad;
	} ends = {.from_port = from->port, .to_port = to->port, .family = to->family};

	memcpy(ends.from, from->ip, sizeof(ends.from));
	memcpy(ends.to, to->ip, sizeof(ends.to));
	return limit_key((enum limit_kind)KEY_LINK, &ends, sizeof(ends));
}

static uint64_t link_in(const struct row *row)
{
	return (uint64_t)row->flow[CLIENT].link << 32 | row->flow[SERVER].link;
}

static void put_link(struct row *row, uint64_t link)
{
	row->flow[CLIENT].link = (uint32_t)(link >> 32);
	row->flow[SERVER].link = (uint32_t)link;
}

/* A socket that systemd has opened is at a port of this host, too, of which the configuration knows nothing. */
static bool is_passed(const struct engine *e, uint16_t port)
{
	for (uint32_t i = 0; e->has_places && i < e->n_listeners; i++)
		if (addr_place(&e->listeners[i].local) && e->listeners[i].local.port == port)
			return true;
	return false;
}

static bool leads_home(struct engine *e, const struct addr *to)
{
	return is_ip(to) && (home_has_port(&e->rules->home, to->port) || is_passed(e, to->port)) &&
	       (addr_is_wildcard(to) || is_ours(e, to));
}

/* 0: its ends cannot be told. */
static uint64_t link_to_be(int fd, const struct addr *to)
{
	struct addr from, peer = *to;

	if (sock_local(fd, &from) < 0)
		return 0;
	if (addr_is_wildcard(to)) { /* the kernel calls the very address that it calls from */
		peer = from;
		peer.port = to->port;
	}
	return link_of(&from, &peer);
}

/* Sockets that are just calling this port of ours. */
static uint64_t calls_key(uint16_t port)
{
	return limit_key((enum limit_kind)KEY_CALLS, &port, sizeof(port));
}

void chain_forget(struct engine *e, uint32_t i)
{
	struct row *row = trio_row(e->env.trio, i);
	uint64_t link = link_in(row);

	if (link == 0)
		return;
	limits_unset(&e->limits, link, i);
	FAULT_POINT();
	put_link(row, 0);
}

static void set_link(struct engine *e, uint32_t i, uint64_t link)
{
	struct row *row = trio_row(e->env.trio, i);

	if (link == link_in(row))
		return;
	chain_forget(e, i);
	if (link == 0)
		return;
	put_link(row, link);
	barrier();
	FAULT_POINT();
	limits_set(&e->limits, link, i);
}

void chain_calling(void *arg, const struct addr *to)
{
	struct engine *e = ((struct session *)arg)->engine;

	/* a successor counts no call: a worker that has died no longer calls */
	if (leads_home(e, to))
		limits_take(&e->limits, calls_key(to->port), 0);
}

void chain_called(void *arg, int fd, const struct addr *to)
{
	struct session *s = arg;
	bool home = leads_home(s->engine, to);

	set_link(s->engine, s->index, home && fd >= 0 ? link_to_be(fd, to) : 0);
	FAULT_POINT();
	if (home)
		limits_give(&s->engine->limits, calls_key(to->port));
}

void chain_resume(struct engine *e, uint32_t i)
{
	const struct addr *server = &trio_cold(e->env.trio, i)->server;
	const struct row *row = trio_row(e->env.trio, i);

	if (link_in(row) == 0 && e->rules && e->rules->may_come_home && leads_home(e, server))
		set_link(e, i, link_to_be(row->fd[SERVER], server));
}

void chain_count(struct engine *e, uint32_t i, struct limits_recount *recount)
{
	uint64_t link = link_in(trio_row(e->env.trio, i));

	if (link != 0)
		limits_recount_set(recount, link, i);
}

/* ---- up the chain ---- */

static struct step_of_chain step_at(const struct row *row, const struct row_cold *cold)
{
	return (struct step_of_chain){
	        .client = *row_peer(cold), .local = cold->local, .label = cold->label, .service = row->service};
}

/* Another worker may be changing the row just now: what is copied counts if it had the link before and has it still. */
static bool copy_step(const struct trio *t, uint32_t i, uint64_t link, struct step_of_chain *ret)
{
	const struct row *row;

	if (i >= trio_n_rows(t))
		return false;
	row = trio_row(t, i);
	if (link_in(row) != link)
		return false;
	atomic_thread_fence(memory_order_acquire);
	*ret = step_at(row, trio_cold(t, i));
	atomic_thread_fence(memory_order_acquire);
	return link_in(row) == link && row->state != ROW_FREE;
}

/* The connection whose server's socket the client of this one is. false: it is none of ours. */
static bool find_caller(struct engine *e, struct step_of_chain *at)
{
	uint64_t link = link_of(&at->client, &at->local);

	for (uint32_t i = 0; i < e->setup.n_trios; i++) {
		const struct trio *t = e->setup.trios[i];
		uint32_t row;

		if (limits_number(t, link, &row) && copy_step(t, row, link, at))
			return true;
	}
	return false;
}

/* The same section. Its number may be another after a reload, where it stands and what it belongs to is not. */
static bool same_place(const struct step_of_chain *a, const struct step_of_chain *b)
{
	if (a->label == LABEL_NONE || b->label == LABEL_NONE)
		return addr_same_host(&a->local, &b->local) && a->local.port == b->local.port;
	return a->label == b->label && a->service == b->service;
}

static void tell(struct session *s)
{
	const char *rule = labels_text(&s->engine->world->labels, s->cold->label);
	char client[ADDR_TEXT_MAX], local[ADDR_TEXT_MAX];

	if (!seldom_now(s->engine->world->seldom, SELDOM_LOOP, s->engine->loop.now_ms))
		return;
	log_warning(
	        "denying %s at %s (%s): it has come through this service already, so services lead to each other in a "
	        "circle; give one of them another server (said once a minute at most)",
	        addr_format_port(&s->cold->client, client), addr_format_port(&s->cold->local, local),
	        rule ? rule : "-");
}

/* None of our workers has called; or one is just calling, and it may be that one. */
static enum chain_way not_found(struct session *s, uint32_t calls)
{
	return calls > 0 && clock_mono_us() - s->cold->accepted_us < UNSURE_US ? CHAIN_UNSURE : CHAIN_OPEN;
}

enum chain_way chain_look(struct session *s)
{
	struct step_of_chain here = step_at(s->row, s->cold), at = here;
	struct engine *e = s->engine;
	uint32_t calls;

	if (!e->rules->may_come_home)
		return CHAIN_OPEN;
	if (!addr_place(&here.local))
		learn(e, &here.local);
	if (!is_ours(e, &here.client))
		return CHAIN_OPEN;
	/* first: a worker that no longer calls has made its link */
	calls = limits_count(&e->limits, calls_key(here.local.port));
	for (int steps = 0; steps < STEPS_MOST; steps++) {
		if (!is_ours(e, &at.client))
			return CHAIN_OPEN;
		if (!find_caller(e, &at))
			return steps == 0 ? not_found(s, calls) : CHAIN_OPEN;
		if (same_place(&at, &here))
			break;
	}
	tell(s);
	return CHAIN_LOOP;
}
