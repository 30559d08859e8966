/* session_sniff.c - which section of the present rules is a connection's, by where it has come and by what its client has said? */
#include "proxy/session_parts.h"

bool session_must_speak(struct session *s)
{
	return session_must_talk(s) || (!s->cold->spoken && openings_of(s->engine->rules->config, section_of(s)));
}

/* It has come to us, not to where it wanted to go; or what it wants is us. */
static enum why why_not_intercepted(struct session *s, const struct section *section)
{
	const struct service *service = &s->engine->rules->config->services[section->service];
	struct addr wanted = s->cold->local;

	wanted.scope = 0;
	if (!service->intercept || !own_address(s->engine->env.own, &wanted, s->engine->loop.now_ms))
		return WHY_NONE;
	return service_has_port(service, wanted.port) ? WHY_NOT_INTERCEPTED : WHY_LOOP;
}

enum why session_why_denied(struct session *s, const struct section *section)
{
	struct access_verdict v = access_check(&section->access, &s->cold->client);
	enum why why = why_not_intercepted(s, section);

	if (why)
		return why;

	if (!v.let_in)
		return v.rule ? WHY_DENY : WHY_NO_ALLOW;
	return service_is_out(&s->engine->world->services, s->row->service) ? WHY_DISABLED : WHY_NONE;
}

enum why session_why_denied_there(struct session *s, const struct section *found)
{
	const struct section *outer = opening_outer(s->engine->rules->config, found);

	if (found->access.rules != outer->access.rules) {
		struct access_verdict v = access_check(&found->access, &s->cold->client);

		if (!v.let_in)
			return v.rule ? WHY_DENY : WHY_NO_ALLOW;
	}
	return service_is_out(&s->engine->world->services, s->row->service) ? WHY_DISABLED : WHY_NONE;
}

const struct section *session_find_section(struct session *s)
{
	const struct config *c = s->engine->rules->config;
	const struct section *section = ruleset_find(s->engine->rules, &s->cold->local), *found;

	if (!section || !s->cold->spoken || !openings_of(c, section))
		return section;
	found = sniffing_again(s->row, s->cold, c, section);
	/* a program may have read it meanwhile */
	return !found && s->row->state == ROW_STARTING ? section : found;
}
