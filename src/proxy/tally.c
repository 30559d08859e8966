#include "proxy/tally.h"

#include "base/clock.h"
#include "base/fault.h"

#define NOBODY UINT16_MAX

_Static_assert(END_COUNT <= COUNTED_ENDS && WHY_COUNT <= COUNTED_WHYS, "each has its place");

static struct counters *counters_of(struct session *s)
{
	return trio_counters(s->engine->env.trio);
}

/* NULL: not known yet. */
static struct counted *service_of(struct session *s)
{
	return s->row->service == NOBODY ? NULL : counters_service(counters_of(s), s->row->service);
}

static struct counted *server_of(struct session *s)
{
	return s->row->server == NOBODY ? NULL : counters_server(counters_of(s), s->row->server);
}

void tally_accepted(struct session *s)
{
	count(service_of(s), COUNT_connections, 1);
}

void tally_section(struct session *s, const struct section *found)
{
	uint32_t number = s->engine->rules->services[found->index];

	if (number != s->row->service)
		count(counters_service(counters_of(s), number), COUNT_connections, 1);
}

void tally_preamble(struct session *s, enum preamble_outcome outcome, uint8_t version, enum why why)
{
	static const enum header_kind kinds[] = {HEADER_LOCAL, HEADER_V1, HEADER_V2};
	struct counted *service = service_of(s);

	if (!service)
		return;
	if (outcome == PREAMBLE_HEADER)
		count_more(&service->headers[kinds[version]], 1);
	else if (outcome == PREAMBLE_NONE)
		count_more(&service->headers[HEADER_NONE], 1);
	else if (outcome == PREAMBLE_PROBE)
		count_more(&service->headers[HEADER_PROBE], 1);
	else if (outcome == PREAMBLE_BAD)
		count_more(&service->header_errors[why - WHY_TIMEOUT], 1);
}

void tally_server(struct session *s)
{
	uint32_t target = s->cold->target;

	if (target == TARGET_NONE)
		s->row->server = NOBODY;
	else
		s->row->server = (uint16_t)(target < COUNTED_SERVERS ? target : COUNTED_SERVERS - 1);
}

void tally_connected(struct session *s)
{
	int64_t us = s->cold->connected_us - s->cold->accepted_us;
	struct counted *server = server_of(s);

	if (server) {
		count(server, COUNT_connections, 1);
		count_time(&server->connect, connect_bounds_us, us);
	}
	count_time(&service_of(s)->connect, connect_bounds_us, us);
}

void tally_failed(struct session *s, enum end end)
{
	struct counted *server = server_of(s);

	if (!server)
		return;
	count(server,
	      end == END_UNRESOLVED        ? COUNT_unresolved
	      : end == END_CONNECT_TIMEOUT ? COUNT_connect_timeouts
	                                   : COUNT_connect_failures,
	      1);
}

static void count_moved(struct session *s, enum side side, enum counter which)
{
	uint64_t moved = s->row->flow[side].moved;
	uint64_t more = moved - s->row->counted[side];

	if (moved <= s->row->counted[side]) /* less: a successor was told less by the kernel */
		return;
	s->row->counted[side] = moved;
	FAULT_POINT();
	if (service_of(s))
		count(service_of(s), which, more);
	if (server_of(s))
		count(server_of(s), which, more);
}

void tally_moved(struct session *s)
{
	count_moved(s, CLIENT, COUNT_client_bytes);
	count_moved(s, SERVER, COUNT_server_bytes);
}

void tally_ended(struct session *s)
{
	int64_t us = clock_mono_us() - s->cold->accepted_us;
	struct counted *service = service_of(s), *server = server_of(s);

	if (s->row->flags & ROWFLAG_COUNTED)
		return;
	tally_moved(s);
	s->row->flags |= ROWFLAG_COUNTED;
	FAULT_POINT();
	if (service) {
		count_more(&service->ends[s->row->end % COUNTED_ENDS], 1);
		if (s->row->why != WHY_NONE)
			count_more(&service->refused[s->row->why % COUNTED_WHYS], 1);
		count_time(&service->duration, duration_bounds_us, us);
	}
	if (server && s->cold->connected_us) {
		count_more(&server->ends[s->row->end % COUNTED_ENDS], 1);
		count_time(&server->duration, duration_bounds_us, us);
	}
}
