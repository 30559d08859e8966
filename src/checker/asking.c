#include "checker/asking.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/mem.h"
#include "base/proxy_header.h"
#include "checker/kinds.h"

static char our_name[256]; /* of this machine */

/* ---- seats ---- */

static int compare_places(const void *a, const void *b)
{
	uint32_t x = ((const struct place *)a)->seat, y = ((const struct place *)b)->seat;

	return x < y ? -1 : x > y;
}

static void add_place(struct asking *a, const struct world *w, const struct section *section,
                      const struct server *server)
{
	uint32_t seat = world_seat(w, a->config, section, server);

	if (seat == SEAT_NONE)
		return;
	if ((a->n_places & (a->n_places - 1)) == 0)
		a->places = mem_resize(a->places, a->n_places ? 2 * a->n_places : 1, sizeof(*a->places));
	a->places[a->n_places++] = (struct place){.seat = seat,
	                                          .asks = atomic_load(&w->seats.list[seat].asks),
	                                          .target = atomic_load(&w->seats.list[seat].target),
	                                          .port = world_check_port(a->config, section, server),
	                                          .section = section,
	                                          .server = server};
}

/* Each seat once. */
static void find_places(struct asking *a, const struct world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < a->config->n_sections; i++) {
		const struct section *s = &a->config->sections[i];

		for (size_t k = 0; k < s->n_servers && s->n_checks > 0; k++)
			add_place(a, w, s, &s->servers[k]);
	}
	if (a->n_places > 1)
		qsort(a->places, a->n_places, sizeof(*a->places), compare_places);
	for (size_t i = 0; i < a->n_places; i++)
		if (n == 0 || a->places[n - 1].seat != a->places[i].seat)
			a->places[n++] = a->places[i];
	a->n_places = n;
}

/* ---- checks ---- */

uint64_t asking_key(const struct place *p, uint32_t number)
{
	const struct check_line *line = &p->section->checks[number];
	uint16_t port = line->port ? line->port : p->port;
	const int64_t pace[] = {line->every_ms, line->fast_ms, line->slow_ms, line->timeout_ms, line->rise, line->fall};
	const struct addr *from = line->from.family ? &line->from : &p->section->source;
	uint8_t proxy = check_proxy_version(p->section, p->server, line);
	const char *netns = server_netns(p->section, p->server), *device = server_device(p->section, p->server);
	uint64_t h = hash_bytes(HASH_START, p->server->key, strlen(p->server->key) + 1);

	h = hash_bytes(h, &port, sizeof(port));
	h = hash_bytes(h, pace, sizeof(pace));
	h = hash_bytes(h, &from->family, sizeof(from->family));
	h = hash_bytes(h, from->ip, sizeof(from->ip));
	h = hash_bytes(h, &proxy, sizeof(proxy));
	h = hash_bytes(h, &p->section->mark, sizeof(p->section->mark));
	h = hash_bytes(h, &p->section->dscp.server, sizeof(p->section->dscp.server));
	if (netns)
		h = hash_bytes(h, netns, strlen(netns) + 1);
	if (device)
		h = hash_bytes(h, device, strlen(device) + 1);
	return hash_bytes(h, line->what, strlen(line->what));
}

static int compare_wants(const void *a, const void *b)
{
	const struct want *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static void find_wants(struct asking *a)
{
	for (size_t i = 0; i < a->n_places; i++)
		a->n_wants += a->places[i].section->n_checks;
	a->wants = mem_alloc((a->n_wants + 1) * sizeof(*a->wants));
	for (size_t i = 0, n = 0; i < a->n_places; i++)
		for (size_t k = 0; k < a->places[i].section->n_checks; k++)
			a->wants[n++] = (struct want){.key = asking_key(&a->places[i], (uint32_t)k),
			                              .place = (uint32_t)i,
			                              .line = (uint32_t)k};
	if (a->n_wants > 1)
		qsort(a->wants, a->n_wants, sizeof(*a->wants), compare_wants);
}

/* As the checker before has left it, which may have been killed at any moment; it stands with each who wants to know. */
static struct pulse pulse_of(const struct asking *a, const struct asked *asked, const struct world *w)
{
	for (uint32_t i = asked->first; i < asked->first + asked->n; i++) {
		const struct place *p = &a->places[a->wants[i].place];
		const struct health *h = &w->health[p->seat];
		unsigned word = atomic_load(&h->pulses[a->wants[i].line]);
		struct pulse pulse = {.state = word & 0xff, .row = word >> 8 & 0xff};

		if (atomic_load(&h->asks) == p->asks && pulse.state > PULSE_UNKNOWN && pulse.state <= PULSE_DOWN)
			return pulse;
	}
	return (struct pulse){.state = PULSE_UNKNOWN};
}

static void find_asked(struct asking *a, const struct world *w)
{
	a->asked = mem_alloc((a->n_wants + 1) * sizeof(*a->asked));
	for (uint32_t i = 0; i < a->n_wants; i++) {
		const struct want *want = &a->wants[i];
		const struct place *p = &a->places[want->place];
		const struct check_line *line = &p->section->checks[want->line];

		if (a->n_asked == 0 || a->asked[a->n_asked - 1].key != want->key)
			a->asked[a->n_asked++] = (struct asked){.key = want->key,
			                                        .line = line,
			                                        .section = p->section,
			                                        .server = p->server,
			                                        .target = p->target,
			                                        .number = want->line,
			                                        .port = line->port ? line->port : p->port,
			                                        .server_port = p->port,
			                                        .first = i};
		a->asked[a->n_asked - 1].n++;
	}
	for (size_t i = 0; i < a->n_asked; i++)
		a->asked[i].pulse = pulse_of(a, &a->asked[i], w);
}

/* ---- their scripts ---- */

static void add_steps(struct script *script, const struct check_line *line)
{
	static const enum script_kind kinds[] = {[CHECK_SEND] = SCRIPT_SEND,
	                                         [CHECK_EXPECT] = SCRIPT_EXPECT,
	                                         [CHECK_EXPECT_BEGIN] = SCRIPT_BEGIN,
	                                         [CHECK_EXPECT_NOT] = SCRIPT_NOT};

	for (size_t i = 0; i < line->n_steps; i++)
		script_add(script, kinds[line->steps[i].word], line->steps[i].bytes, line->steps[i].len);
}

/* Whom we ask for, and who we say we are. */
static const char *host_of(const struct asked *k)
{
	if (strcmp(k->line->kind, "http") == 0)
		return k->line->host ? k->line->host : k->server->host;
	return our_name[0] ? our_name : NULL;
}

/* We speak for ourselves, not for a client. */
static void add_header(struct script *script, uint8_t version)
{
	const struct addr nobody = {.family = AF_UNSPEC};
	struct buf header = BUF_INIT;

	if (version == 1) {
		proxy_put_v1(&header, &nobody, &nobody);
	} else {
		proxy_begin_v2(&header, NULL, &nobody);
		proxy_end_v2(&header, false);
	}
	script_add(script, SCRIPT_SEND, header.s, header.len);
	buf_release(&header);
}

static struct script script_of(const struct asked *k)
{
	const struct check_line *line = k->line;
	uint8_t version = check_proxy_version(k->section, k->server, line);
	struct script script = {.words = {.user = line->user,
	                                  .path = line->path,
	                                  .host = host_of(k),
	                                  .from = line->status_from,
	                                  .to = line->status_to}};

	if (version)
		add_header(&script, version);
	if (line->n_steps)
		add_steps(&script, line);
	else if (!line->program)
		kind_script(line->kind, &script.words, &script);
	return script;
}

struct check *asking_checks(struct asking *a)
{
	struct check *list = mem_alloc((a->n_asked + 1) * sizeof(*list));

	for (size_t i = 0; i < a->n_asked; i++) {
		struct asked *k = &a->asked[i];
		const struct check_line *line = k->line;

		list[i] = (struct check){.key = k->key,
		                         .script = script_of(k),
		                         .rule = {.every_ms = (uint32_t)line->every_ms,
		                                  .fast_ms = (uint32_t)line->fast_ms,
		                                  .slow_ms = (uint32_t)line->slow_ms,
		                                  .rise = (uint8_t)line->rise,
		                                  .fall = (uint8_t)line->fall},
		                         .timeout_ms = (uint32_t)line->timeout_ms,
		                         .from = line->from.family ? line->from : k->section->source,
		                         .device = server_device(k->section, k->server),
		                         .mark = k->section->mark,
		                         .dscp = k->section->dscp.server,
		                         .netns = netns_id(server_netns(k->section, k->server)),
		                         .unix_path = k->server->path,
		                         .program = line->program != NULL,
		                         .pulse = &k->pulse,
		                         .owner = k};
	}
	return list;
}

struct asking *asking_new(struct config *c, const struct world *world)
{
	struct asking *a = mem_alloc(sizeof(*a));

	*a = (struct asking){.config = c};
	if (!our_name[0] && gethostname(our_name, sizeof(our_name) - 1) < 0)
		our_name[0] = '\0';
	find_places(a, world);
	find_wants(a);
	find_asked(a, world);
	return a;
}

void asking_free(struct asking *a)
{
	if (!a)
		return;
	config_free(a->config);
	free(a->places);
	free(a->wants);
	free(a->asked);
	free(a);
}
