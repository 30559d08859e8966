#include "checker/ports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "os/refuse.h"
#include "os/sock.h"

#define ASK_AT_ONCE 32 /* sockets of which the kernel is asked in one look whether they still are as they were left */

struct port {
	uint32_t id;
	int fd;
	struct addr local;
	uint32_t *sections; /* that may serve its clients, by index */
	size_t n_sections;
	bool refuses; /* as far as the kernel has said */
	bool failed;  /* what it was to do could not be done; that is in the log */
	bool listed;  /* in the list that was begun last */
	bool done;    /* it is as we have left it */
};

struct ports {
	struct ports_ops ops;
	struct world *world;
	struct pools *pools;
	const struct interface_address *ifs;
	size_t n_ifs;
	struct port *list;
	size_t n, n_before; /* when the list was begun */
	size_t found;       /* where the one before was: the next is likely to follow it */
	size_t asked;       /* the next of which the kernel is asked */
	bool resumed;       /* one listens again, which the workers are to hear */
	bool published;     /* some of them may stand in the world as refusing */
};

struct ports *ports_new(const struct ports_ops *ops, struct world *world)
{
	struct ports *p = mem_alloc(sizeof(*p));

	*p = (struct ports){.ops = *ops, .world = world, .published = true}; /* by the one before us */
	return p;
}

/* ---- one socket ---- */

static void say_failed(struct port *o, bool refuse, int error)
{
	char local[ADDR_TEXT_MAX];

	addr_format_port(&o->local, local);
	if (!o->failed && refuse)
		log_error("%s: no server is usable, and the port cannot refuse: %s: tried again every 0.1 s", local,
		          strerror(error));
	else if (!o->failed)
		log_error("%s: cannot listen again: %s: tried again every 0.1 s%s", local, strerror(error),
		          error == EADDRINUSE ? " (see who has the port: ss -ltnp)" : "");
	o->failed = true;
}

/* False: it could not be done now. */
static bool set(struct ports *p, struct port *o, bool refuse)
{
	int rc;

	if (!p->ops.may_act(p->ops.arg))
		return false;
	rc = refuse ? refuse_begin(o->fd) : refuse_end(o->fd, SOCK_BACKLOG);
	if (rc < 0) {
		say_failed(o, refuse, -rc);
		return false;
	}
	if (o->failed && !refuse)
		log_info("port %u listens again", o->local.port);
	p->resumed |= o->refuses && !refuse;
	o->failed = false;
	o->done = true;
	o->refuses = refuse;
	return true;
}

/* A port of several sections refuses when all of them would. */
static bool is_to_refuse(const struct ports *p, const struct port *o)
{
	for (size_t i = 0; i < o->n_sections; i++)
		if (p->pools->list[o->sections[i]].usable)
			return false;
	return o->n_sections > 0;
}

static void find_sections(const struct ports *p, struct port *o)
{
	const struct section **list;

	free(o->sections);
	o->sections = NULL;
	o->n_sections = 0;
	if (!p->pools)
		return;
	o->n_sections = config_sections_at(p->pools->config, &o->local, p->ifs, p->n_ifs, &list);
	o->sections = mem_alloc((o->n_sections + 1) * sizeof(*o->sections));
	for (size_t i = 0; i < o->n_sections; i++)
		o->sections[i] = list[i]->index;
	free(list);
}

static void close_one(struct port *o)
{
	close(o->fd);
	free(o->sections);
}

static void wake_workers(struct ports *p)
{
	if (p->resumed)
		p->ops.resumed(p->ops.arg);
	p->resumed = false;
}

/* ---- which there are ---- */

void ports_begin(struct ports *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->list[i].listed = false;
	p->n_before = p->n;
	p->found = 0;
}

static struct port *find(struct ports *p, uint32_t id)
{
	for (size_t i = 0; i < p->n_before; i++) {
		size_t at = (p->found + i) % p->n_before;

		if (p->list[at].id != id)
			continue;
		p->found = at + 1;
		return &p->list[at];
	}
	return NULL;
}

void ports_add(struct ports *p, uint32_t id, uint32_t place, int fd)
{
	struct port new = {.id = id, .fd = fd, .listed = true, .refuses = !sock_is_listening(fd)}, *o = find(p, id);

	if (o)
		o->listed = true;
	if (o || sock_local(fd, &new.local) < 0) {
		close(fd);
		return;
	}
	if (place)
		new.local.scope = place;
	find_sections(p, &new);
	if ((p->n & (p->n - 1)) == 0)
		p->list = mem_resize(p->list, p->n ? 2 * p->n : 1, sizeof(*p->list));
	p->list[p->n++] = new;
}

/* Its number is free to become another's. If it cannot listen, that is its owner's to see: it has it, too. */
static void let_go(struct ports *p, struct port *o)
{
	if (o->refuses && p->ops.may_act(p->ops.arg))
		p->resumed |= refuse_end(o->fd, SOCK_BACKLOG) == 0;
	close_one(o);
}

void ports_end(struct ports *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++) {
		if (p->list[i].listed)
			p->list[n++] = p->list[i];
		else
			let_go(p, &p->list[i]);
	}
	p->n = n;
	p->n_before = 0;
	wake_workers(p);
}

void ports_use(struct ports *p, struct pools *pools, const struct interface_address *ifs, size_t n_ifs)
{
	p->pools = pools;
	p->ifs = ifs;
	p->n_ifs = n_ifs;
	for (size_t i = 0; i < p->n; i++)
		find_sections(p, &p->list[i]);
}

void ports_give_back(struct ports *p)
{
	ports_begin(p);
	ports_end(p);
}

void ports_drop(struct ports *p)
{
	for (size_t i = 0; i < p->n; i++)
		close_one(&p->list[i]);
	free(p->list);
	p->list = NULL;
	p->n = p->n_before = 0;
}

void ports_free(struct ports *p)
{
	if (!p)
		return;
	ports_drop(p);
	free(p);
}

/* ---- what is due ---- */

/* A process that was stopped and goes on may have done what it had in mind long ago. */
static void ask_kernel(struct ports *p)
{
	for (size_t n = 0; n < ASK_AT_ONCE && n < p->n; n++) {
		struct port *o = &p->list[p->asked++ % p->n];
		bool refuses = !sock_is_listening(o->fd);

		o->done = o->done && o->refuses == refuses;
		o->refuses = refuses;
	}
}

/* What happened to the ports of a service in this look. */
struct change {
	const struct port *port; /* the first; NULL: nothing */
	size_t n;
	bool refuses;
};

static void note(struct change *changes, const struct ports *p, const struct port *o)
{
	for (size_t i = 0; i < o->n_sections; i++) {
		uint32_t service = p->pools->list[o->sections[i]].service;
		struct change *c = service < COUNTED_SERVICES ? &changes[service] : NULL;

		if (c && !c->port)
			*c = (struct change){.port = o, .refuses = o->refuses};
		if (c && c->refuses == o->refuses)
			c->n++;
	}
}

static void tell(const struct ports *p, uint32_t service, const struct change *c)
{
	const char *label = service_label(&p->world->services.list[service]);
	char at[ADDR_TEXT_MAX + 4] = "", local[ADDR_TEXT_MAX];

	if (c->n == 1 && !addr_is_wildcard(&c->port->local))
		snprintf(at, sizeof(at), " at %s", addr_format_port(&c->port->local, local));
	if (c->refuses)
		log_warning("service %s: no server is usable: it refuses clients now%s", label, at);
	else
		log_info("service %s: it accepts clients again%s", label, at);
}

/* For whoever asks how a service does. */
static void publish(const struct ports *p)
{
	bool refusing[COUNTED_SERVICES] = {false};

	for (size_t i = 0; i < p->n; i++)
		for (size_t k = 0; k < p->list[i].n_sections && p->list[i].refuses; k++) {
			const struct pool_standing *pool = &p->pools->list[p->list[i].sections[k]];

			if (pool->service < COUNTED_SERVICES)
				refusing[pool->service] = true;
			if (pool->whole < COUNTED_SERVICES)
				refusing[pool->whole] = true;
		}
	for (uint32_t i = 0; i < COUNTED_SERVICES; i++)
		if (atomic_load_explicit(&p->world->refusing[i], memory_order_relaxed) != refusing[i])
			atomic_store_explicit(&p->world->refusing[i], refusing[i], memory_order_relaxed);
}

void ports_look(struct ports *p, int64_t now_ms)
{
	struct change changes[COUNTED_SERVICES] = {{NULL}};

	if (p->pools)
		pools_look(p->pools, now_ms);
	ask_kernel(p);
	for (size_t i = 0; i < p->n; i++) {
		struct port *o = &p->list[i];
		bool was = o->refuses, refuse = is_to_refuse(p, o);

		if ((refuse != was || !o->done) && set(p, o, refuse) && refuse != was)
			note(changes, p, o);
	}
	wake_workers(p);
	if (p->n > 0 || p->published)
		publish(p);
	p->published = p->n > 0;
	for (uint32_t i = 0; i < COUNTED_SERVICES; i++)
		if (changes[i].port)
			tell(p, i, &changes[i]);
}
