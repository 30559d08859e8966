/* announce.c - what the log is told at the start: where it listens, and where that leads. */
#include "base/log.h"
#include "config/openings.h"
#include "supervisor/state.h"

static void describe_pool(const struct section *section, struct buf *out)
{
	if (section->n_servers == 0)
		buf_adds(out, "no servers yet");
	for (size_t i = 0; i < section->n_servers; i++) {
		buf_adds(out, i ? ", " : "");
		server_describe(&section->servers[i], out);
	}
}

/* Why we do not listen at this section's address; NULL: we do, or it is not a single address. */
static const char *why_deaf(const struct supervisor *s, const struct service *service, const struct section *section)
{
	struct addr a = section->net.net;

	if (section->kind != INTERFACE_ADDRESS)
		return NULL;
	if (a.scope == ADDR_NO_SCOPE)
		return "its interface is not there; a reload listens once it is";
	a.port = service_first_port(service);
	a.scope = service->place ? service->place : a.scope;
	return a.family == AF_INET6 && addr_is_loopback(&a) && !sockets_listen_at(&s->rules.listeners, &a)
	               ? "this kernel has no IPv6"
	               : NULL;
}

/* "port 443 (web)": service and section, as far as they are the same for those that belong to it. */
static void describe_ports(const struct service *service, struct buf *line)
{
	if (service->listen != LISTEN_PORTS) {
		service_ports(service, line);
		return;
	}
	buf_addf(line, "port%s", service->n_ports > 1 || service->ports[0].first != service->ports[0].last ? "s" : "");
	for (size_t i = 0; i < service->n_ports; i++) {
		buf_addf(line, " %u", service->ports[i].first);
		if (service->ports[i].last != service->ports[i].first)
			buf_addf(line, "-%u", service->ports[i].last);
	}
	if (service->device)
		buf_addf(line, " of %s", service->device);
	if (service->netns)
		buf_addf(line, " in the network namespace %s", service->netns);
}

/* Behind sni or protocol: it listens where the section does that it belongs to. */
static void say_opening(const struct supervisor *s, const struct service *service, const struct section *section)
{
	const struct section *outer = opening_outer(s->rules.config, section);
	struct buf line = BUF_INIT;

	describe_ports(service, &line);
	if (section_called(s->rules.config, section))
		buf_addf(&line, " (%s)", section_called(s->rules.config, section));
	buf_adds(&line, ", ");
	opening_print(section, &line);
	buf_addf(&line, "%s, leading to ", outer->kind == INTERFACE_NONE ? "" : " there");
	describe_pool(section, &line);
	log_info("%s", line.s);
	buf_release(&line);
}

static void say_section(const struct supervisor *s, const struct service *service, const struct section *section)
{
	const char *why = why_deaf(s, service, section);
	const char *called = section_called(s->rules.config, section);
	struct buf line = BUF_INIT;
	char net[ADDR_TEXT_MAX];

	buf_addf(&line, "%slistening on ", why ? "not " : "");
	describe_ports(service, &line);
	if (called)
		buf_addf(&line, " (%s)", called);
	if (section->kind == INTERFACE_NONE && service->listen == LISTEN_PORTS)
		buf_adds(&line, " on every address");
	else if (section->kind != INTERFACE_NONE)
		buf_addf(&line, " on %s",
		         section->kind == INTERFACE_NAME
		                 ? section->name
		                 : cidr_format_zone(&section->net, config_zone(s->rules.config, section->zone), net));
	if (why) {
		log_warning("%s: %s", line.s, why);
	} else {
		buf_adds(&line, section->has_pool ? ", leading to " : ", where what the client says leads on");
		if (section->has_pool)
			describe_pool(section, &line);
		log_info("%s", line.s);
	}
	buf_release(&line);
}

void announce_services(const struct supervisor *s)
{
	const struct config *c = s->rules.config;

	for (size_t i = 0; i < c->n_services; i++) {
		const struct service *service = &c->services[i];

		if (service->wildcard)
			say_section(s, service, &c->sections[service->root]);
		for (uint32_t k = 0; k < service->n_sections; k++) {
			const struct section *section = &c->sections[service->first_section + k];

			(section->opening.kind ? say_opening : say_section)(s, service, section);
		}
	}
}

/* What was said on stderr when we were started need not be said there once more. */
bool announce_is_enough(const struct supervisor *s)
{
	const struct config *c = s->rules.config;

	for (size_t i = 0; i < c->n_logs; i++)
		if (c->logs[i].kind != LOG_TO_STDERR)
			return false;
	return c->n_logs > 0 || !s->setup->daemon;
}
