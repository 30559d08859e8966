/* health.c - servers whose state has changed: each is a line of the log for each service that has it. */
#include <sys/socket.h>
#include "base/log.h"
#include "supervisor/state.h"

/* The pool of a section, and how many of it can be used. */
struct pool_count {
	uint32_t up, of;
};

static struct pool_count count_pool(const struct supervisor *s, const struct section *section)
{
	const struct world *w = s->children.workers.world;
	struct pool_count n = {0};

	for (size_t i = 0; i < section->n_servers; i++) {
		n.of++;
		n.up += world_usable(w, s->rules.config, section, &section->servers[i], s->loop.now_ms);
	}
	return n;
}

static const struct server *find_server(const struct supervisor *s, const struct section *section, uint32_t seat)
{
	for (size_t i = 0; i < section->n_servers && section->n_checks > 0; i++)
		if (world_seat(s->children.workers.world, s->rules.config, section, &section->servers[i]) == seat)
			return &section->servers[i];
	return NULL;
}

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

void health_tell(const struct supervisor *s, const struct health_change *change)
{
	for (size_t i = 0; i < s->rules.config->n_services; i++)
		tell_first(s, &s->rules.config->services[i], change);
}
