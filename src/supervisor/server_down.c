/* server_down.c - the end of the connections of a server that is down, where `on-server-down kill` says so. */
#include <string.h>
#include "base/log.h"
#include "stats/snapshot.h"
#include "supervisor/inspect.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* Who is down: a seat, or a server wherever it is. */
struct down {
	uint32_t target, seat; /* seat SEAT_NONE: where tcpproxyctl has it down */
};

static bool has(struct supervisor *s, const struct section *section, const struct down *down)
{
	if (down->seat != SEAT_NONE)
		return standings_find(s, section, down->target, down->seat) != NULL;
	for (size_t i = 0; i < section->n_servers; i++) {
		const struct standing *of = &standings_of(s, section)[i];

		if (of->target == down->target && world_force(s->children.workers.world, of) == FORCE_DOWN)
			return true;
	}
	return false;
}

/* The section that this connection came in by; one of another configuration: a section of the same service that has the server. */
static const struct section *section_of(struct supervisor *s, const struct connection_view *c, const struct down *down)
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
static bool is_to_end(struct supervisor *s, const struct connection_view *c, const struct down *down)
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

void server_down(struct supervisor *s, uint32_t target, uint32_t seat)
{
	const struct down down = {target, seat};
	struct snapshot *shot;
	size_t n = 0;

	if (!s->inspect || !any_kills(s->rules.config))
		return;
	shot = inspect_take(s, true);
	for (size_t i = 0; i < shot->n_connections; i++)
		if (is_to_end(s, &shot->connections[i], &down))
			shot->connections[n++] = shot->connections[i];
	if (n > 0) {
		log_info("%zu connection%s ended: on-server-down kill", n, n == 1 ? " is" : "s are");
		steer_kill(s, shot->connections, n, END_SERVER_DOWN);
	}
	snapshot_free(shot);
}
