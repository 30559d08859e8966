/* session_dial.c - what calling a server takes that is not in the row, and what the log is told if it fails. */
#include <errno.h>
#include <string.h>
#include "proxy/chain.h"
#include "proxy/session_parts.h"

/* When the present server must have answered; 0: whenever. */
int64_t session_dial_deadline(struct session *s)
{
	int64_t limit = section_of(s)->connect_timeout_ms, now_ms = s->engine->loop.now_ms;
	int64_t last = s->row->deadline_ms, deadline = limit ? now_ms + limit : 0;

	return last && (!deadline || last < deadline) ? last : deadline;
}

void session_describe_dial(struct session *s)
{
	const struct section *section = section_of(s);
	const struct server *server = session_server(s);

	s->steps->dial.target = &s->engine->world->targets.list[s->cold->target];
	s->steps->dial.unix_path = server->kind == SERVER_UNIX ? server->path : NULL;
	s->steps->dial.original = server->kind == SERVER_ORIGINAL ? &s->cold->local : NULL;
	s->steps->dial.zone = config_zone(s->engine->rules->config, server->zone);
	s->steps->dial.source = &section->source;
	s->steps->dial.source_zone = config_zone(s->engine->rules->config, section->source_zone);
	s->steps->dial.device = server_device(section, server);
	s->steps->dial.mptcp = server->mptcp;
	s->steps->dial.dscp = section->dscp.server;
	s->steps->dial.client = section->source_client ? &s->cold->client : NULL;
	s->steps->dial.client_port = section->source_client == SOURCE_CLIENT_PORT;
	s->steps->dial.marks = (struct marks){.own = section->mark,
	                                      .netns = netns_id(server_netns(section, server)),
	                                      .back = s->engine->rules->config->routes.mark};
	s->steps->dial.calling = s->engine->rules->may_come_home ? chain_calling : NULL;
	s->steps->dial.called = s->engine->rules->may_come_home ? chain_called : NULL;
	s->steps->dial.port = server->port ? server->port : s->cold->local.port;
	if (server->kind == SERVER_UNIX || server->mptcp) /* it has no counters of TCP */
		s->row->flags |= ROWFLAG_SERVER_UNIX;
	else
		s->row->flags &= (uint8_t)~ROWFLAG_SERVER_UNIX;
}

enum why session_why_dial_failed(const struct session *s)
{
	const struct dial *d = &s->steps->dial;

	return d->source_refused ? WHY_SOURCE : d->error == ENONET && d->marks.netns ? WHY_NETNS : WHY_NONE;
}

static void say_failed(struct session *s)
{
	const char *netns = server_netns(section_of(s), session_server(s));
	const struct dial *d = &s->steps->dial;
	struct buf why = BUF_INIT;

	if (d->missing)
		buf_addf(&why, "this host has no interface %s (ip link)", d->missing);
	else if (d->error == ENONET && netns)
		buf_addf(&why, "the network namespace %s does not exist (ip netns)", netns);
	else if (d->source_refused)
		buf_addf(&why, "the client's address cannot be the source: %s", strerror(d->error));
	else
		buf_adds(&why, strerror(d->error));
	session_say_failed(s, why.s);
	buf_release(&why);
}

void session_dial_failed(struct session *s, enum dial_outcome outcome)
{
	const struct dial *d = &s->steps->dial;

	say_failed(s);
	if (outcome == DIAL_TIMEOUT && d->as_client && !d->none_yet)
		doubt_ask(&s->engine->doubt, &s->cold->server);
}
