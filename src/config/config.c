#include "config/config.h"

#include <stdlib.h>
#include <string.h>

#include "config/lex.h"
#include "config/parser.h"

static void servers_free(struct server *servers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		server_release(&servers[i]);
	free(servers);
}

static void sources_free(struct source *sources, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(sources[i].line);
		free(sources[i].path);
		server_release(&sources[i].of);
		words_free(sources[i].argv);
	}
	free(sources);
}

/* What a section shares with the outer one is left to that. */
static void section_release(struct section *s, const struct section *outer)
{
	static const struct section nothing;

	if (!outer)
		outer = &nothing;
	free(s->name);
	free(s->called);
	free(s->origin);
	opening_release(&s->opening);
	if (s->servers != outer->servers)
		servers_free(s->servers, s->n_servers);
	if (s->sources != outer->sources)
		sources_free(s->sources, s->n_sources);
	if (s->access.rules != outer->access.rules)
		free(s->access.rules);
	if (s->acp != outer->acp)
		words_free(s->acp);
	if (s->notify != outer->notify)
		words_free(s->notify);
	if (s->env_prefix != outer->env_prefix)
		free(s->env_prefix);
	if (s->env != outer->env)
		words_free(s->env);
	if (s->log_format != outer->log_format)
		free(s->log_format);
	if (s->device != outer->device)
		free(s->device);
	if (s->netns != outer->netns)
		free(s->netns);
	if (s->accept_proxy != outer->accept_proxy)
		accept_proxy_free(s->accept_proxy);
	if (s->send_proxy != outer->send_proxy)
		send_proxy_free(s->send_proxy);
	if (s->checks != outer->checks)
		check_lines_free(s->checks, s->n_checks);
}

static void service_release(struct service *service)
{
	for (size_t i = 0; i < service->n_interceptions; i++)
		interception_release(&service->interceptions[i]);
	free(service->interceptions);
	free(service->ports);
	free(service->netns);
	free(service->device);
	free(service->path);
	free(service->owner);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	/* Inner sections stand after the one that they inherit from. */
	for (size_t i = c->n_sections; i-- > 0;)
		section_release(&c->sections[i], section_outer(c, &c->sections[i]));
	section_release(&c->global, NULL);
	free(c->sections);
	for (size_t i = 0; i < c->n_services; i++)
		service_release(&c->services[i]);
	free(c->services);
	for (size_t i = 0; i < c->n_logs; i++)
		free(c->logs[i].path);
	free(c->logs);
	free(c->user);
	free(c->group);
	free(c->pidfile);
	free(c->state);
	free(c->resolvers);
	free(c->zones);
	for (size_t i = 0; i < c->n_admins; i++) {
		free(c->admins[i].path);
		free(c->admins[i].token);
		free(c->admins[i].name);
	}
	free(c->admins);
	words_free(c->files);
	words_free(c->patterns);
	config_errors_release(&c->warnings);
	free(c);
}

static bool has_unix_server(const struct config *c, bool abstract)
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			const struct server *s = &c->sections[i].servers[k];

			if (s->kind == SERVER_UNIX && (!abstract || *s->path == '@'))
				return true;
		}
	return false;
}

bool config_has_unix_server(const struct config *c)
{
	return has_unix_server(c, false);
}

bool config_has_abstract_server(const struct config *c)
{
	return has_unix_server(c, true);
}

bool config_ejects(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].eject.for_ms)
			return true;
	return false;
}

void config_errors_release(struct config_errors *e)
{
	for (size_t i = 0; i < e->n; i++) {
		free(e->list[i].file);
		free(e->list[i].message);
	}
	free(e->list);
	*e = (struct config_errors){0};
}

void config_error_format(const struct config_error *e, struct buf *out)
{
	if (e->file && e->line)
		buf_addf(out, "%s:%u:%u: ", e->file, e->line, e->column);
	else if (e->file)
		buf_addf(out, "%s: ", e->file);
	buf_adds(out, e->message);
}
