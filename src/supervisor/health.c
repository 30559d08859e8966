/* health.c - servers whose state has changed: each is a line of the log for each service that has it, and the end of their
 * connections, where `on-server-down kill` says so. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/log.h"
#include "base/mem.h"
#include "stats/snapshot.h"
#include "supervisor/inspect.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* ---- where the servers stand ---- */

/* To find one is linear, and thousands may change at once: all are found when the first one does. */
static void find_standings(struct supervisor *s)
{
	const struct config *c = s->rules.config;
	size_t n = 0;

	if (s->standings.list)
		return;
	s->standings.first = mem_alloc((c->n_sections + 1) * sizeof(*s->standings.first));
	for (size_t i = 0; i < c->n_sections; n += c->sections[i++].n_servers)
		s->standings.first[i] = n;
	s->standings.list = mem_alloc((n + 1) * sizeof(*s->standings.list));
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			s->standings.list[s->standings.first[i] + k] = world_standing(
			        s->children.workers.world, c, &c->sections[i], &c->sections[i].servers[k]);
}

void health_forget_rules(struct supervisor *s)
{
	free(s->standings.list);
	free(s->standings.first);
	s->standings = (struct standings){0};
}

static const struct standing *standings_of(const struct supervisor *s, const struct section *section)
{
	return &s->standings.list[s->standings.first[section - s->rules.config->sections]];
}

/* The pool of a section, and how many of it can be used. */
struct pool_count {
	uint32_t up, of;
};

static struct pool_count count_pool(const struct supervisor *s, const struct section *section)
{
	const struct world *w = s->children.workers.world;
	struct pool_count n = {.of = (uint32_t)section->n_servers};

	for (size_t i = 0; i < section->n_servers; i++)
		n.up += world_standing_usable(w, &standings_of(s, section)[i], s->loop.now_ms);
	return n;
}

static const struct server *find_server(const struct supervisor *s, const struct section *section, uint32_t seat)
{
	for (size_t i = 0; i < section->n_servers && section->n_checks > 0; i++)
		if (standings_of(s, section)[i].seat == seat)
			return &section->servers[i];
	return NULL;
}

/* ---- what is said ---- */

static void tell_service(const struct supervisor *s, const struct section *section, const struct server *server,
                         const struct health_change *change)
{
	const struct world *w = s->children.workers.world;
	uint32_t service = world_service(w, s->rules.config, section);
	struct pool_count n = count_pool(s, section);
	enum log_level level = change->state != HEALTH_DOWN ? LOG_LEVEL_INFO
	                       : n.up > 0                   ? LOG_LEVEL_WARNING
	                                                    : LOG_LEVEL_ERROR;
	bool host = change->at->family == AF_INET || change->at->family == AF_INET6;
	char address[ADDR_TEXT_MAX];

	logger_change(s->logger, level,
	              &(struct server_change){
	                      .service = service < COUNTED_SERVICES ? service_label(&w->services.list[service]) : "-",
	                      .server = server_label(server),
	                      .address = host ? addr_format_port(change->at, address) : NULL,
	                      .state = health_name(change->state),
	                      .was = health_name(change->was),
	                      .why = *change->why ? change->why : NULL,
	                      .up = n.up,
	                      .of = n.of});
}

/* The first section of a service that has it speaks for the service. */
static void tell_first(const struct supervisor *s, const struct service *service, const struct health_change *change)
{
	const struct config *c = s->rules.config;
	const struct section *section = &c->sections[service->root];
	const struct server *server = find_server(s, section, change->seat);

	for (uint32_t i = 0; i < service->n_sections && !server; i++) {
		section = &c->sections[service->first_section + i];
		server = find_server(s, section, change->seat);
	}
	if (server)
		tell_service(s, section, server, change);
}

/* ---- on-server-down ---- */

/* Who is down: a seat, or a server wherever it is. */
struct down {
	uint32_t target, seat; /* seat SEAT_NONE: in all */
};

static bool has(const struct supervisor *s, const struct section *section, const struct down *down)
{
	if (down->seat != SEAT_NONE)
		return find_server(s, section, down->seat) != NULL;
	for (size_t i = 0; i < section->n_servers; i++)
		if (world_target(s->children.workers.world, s->rules.config, section, &section->servers[i]) ==
		    down->target)
			return true;
	return false;
}

/* The section that this connection came in by; one of another configuration: a section of the same service that has the server. */
static const struct section *section_of(const struct supervisor *s, const struct connection_view *c,
                                        const struct down *down)
{
	const struct config *config = s->rules.config;
	const struct services *services = &s->children.workers.world->services;
	const struct section *nearest = NULL;

	for (size_t i = 0; i < config->n_sections; i++) {
		const struct section *section = &config->sections[i];
		uint32_t service = world_service(s->children.workers.world, config, section);

		if (service >= COUNTED_SERVICES || c->service != service_label(&services->list[service]) ||
		    !has(s, section, down))
			continue;
		if (c->rule && strcmp(c->rule, section->origin) == 0)
			return section;
		if (!nearest)
			nearest = section;
	}
	return nearest;
}

/* A connection's texts are those of the world, so that they are the same if they stand in the same place. */
static bool is_to_end(const struct supervisor *s, const struct connection_view *c, const struct down *down)
{
	const struct world *w = s->children.workers.world;
	const struct section *section;

	if (strcmp(c->state, "relay") != 0 && strcmp(c->state, "half-closed") != 0)
		return false;
	if (!c->server || c->server != target_label(&w->targets.list[down->target]))
		return false;
	section = section_of(s, c, down);
	return section && section->kill_on_server_down;
}

static bool any_kills(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].kill_on_server_down)
			return true;
	return false;
}

static void end_connections(struct supervisor *s, const struct down *down)
{
	struct snapshot *shot;
	size_t n = 0;

	if (!any_kills(s->rules.config))
		return;
	shot = inspect_take(s, true);
	for (size_t i = 0; i < shot->n_connections; i++)
		if (is_to_end(s, &shot->connections[i], down))
			shot->connections[n++] = shot->connections[i];
	if (n > 0) {
		log_info("%zu connection%s ended: on-server-down kill", n, n == 1 ? " is" : "s are");
		steer_kill(s, shot->connections, n, END_SERVER_DOWN);
	}
	snapshot_free(shot);
}

void health_tell(struct supervisor *s, const struct health_change *change)
{
	uint32_t target = atomic_load(&s->children.workers.world->seats.list[change->seat].target);

	find_standings(s);
	for (size_t i = 0; i < s->rules.config->n_services; i++)
		tell_first(s, &s->rules.config->services[i], change);
	if (change->state == HEALTH_DOWN)
		end_connections(s, &(struct down){target, change->seat});
}

void health_forced_down(struct supervisor *s, uint32_t target)
{
	end_connections(s, &(struct down){target, SEAT_NONE});
}
