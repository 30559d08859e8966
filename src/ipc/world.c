#include "ipc/world.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "ipc/told_state.h"
#include "os/shm.h"

static void init(struct world *w)
{
	w->magic = WORLD_MAGIC;
	w->version = WORLD_VERSION;
	w->size = sizeof(*w);
	atomic_store(&w->next_id, 1);
	atomic_store(&w->n_workers, 1);
	atomic_store(&w->log_level, LOG_LEVEL_INFO);
	w->totals.started_wall_us = clock_wall_us();
	w->totals.start = random_seed();
}

#define SAID_SIZE   offsetof(struct world, next_id)
#define SHARED_SIZE (sizeof(struct world) - SAID_SIZE)

_Static_assert(offsetof(struct world, program) == SAID_HEAD, "keepers look there");
_Static_assert(SAID_SIZE % WORLD_PAGE == 0 && SHARED_SIZE % WORLD_PAGE == 0, "each is mapped by itself");

static int map_at(void *at, size_t size, int fd, bool writable)
{
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;

	return mmap(at, size, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ? -errno : 0;
}

static struct world *reserve(void)
{
	void *map = mmap(NULL, sizeof(struct world), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

void world_unmap(struct world *w)
{
	if (w)
		munmap(w, sizeof(*w));
}

int world_new(struct world **ret, struct world_fds *fds)
{
	struct world *w = reserve();
	int rc = w ? 0 : -ENOMEM;

	*fds = (struct world_fds){-1, -1};
	if (rc == 0)
		rc = fds->said = shm_new_one_writer("tcpproxy-said", SAID_SIZE, w);
	if (rc >= 0)
		rc = fds->shared = shm_new("tcpproxy-world", SHARED_SIZE, NULL);
	if (rc >= 0)
		rc = map_at(&w->next_id, SHARED_SIZE, fds->shared, true);
	if (rc < 0) {
		world_unmap(w);
		return rc;
	}
	init(w);
	*ret = w;
	return 0;
}

static bool is_ours(const struct world *w)
{
	return w->magic == WORLD_MAGIC && w->version == WORLD_VERSION && w->size == sizeof(*w);
}

struct world *world_map(const struct world_fds *fds, bool writable)
{
	struct world *w;

	if (!shm_is_fixed(fds->said, SAID_SIZE) || !shm_is_fixed(fds->shared, SHARED_SIZE))
		return NULL;
	w = reserve();
	if (w && map_at(w, SAID_SIZE, fds->said, false) == 0 &&
	    map_at(&w->next_id, SHARED_SIZE, fds->shared, writable) == 0 && is_ours(w))
		return w;
	world_unmap(w);
	return NULL;
}

int world_listen(struct world *w, int said_fd)
{
	return shm_is_fixed(said_fd, SAID_SIZE) ? map_at(w, SAID_SIZE, said_fd, false) : -EPROTO;
}

int world_only_read(struct world *w, const struct world_fds *fds)
{
	int rc = world_listen(w, fds->said);

	return rc < 0 ? rc : shm_make_read_only(&w->next_id, SHARED_SIZE, fds->shared);
}

/* ---- what the one before has said ----
 *
 * It was handed to us by a trio, which may lie: numbers are bounded, texts end, words are such as there are. */

static unsigned at_most(const atomic_uint *n, unsigned max)
{
	unsigned now = atomic_load(n);

	return now < max ? now : max;
}

static void end_text(char *text, size_t size)
{
	text[size - 1] = '\0';
}

static void check_admin_state(atomic_uint *state)
{
	if (atomic_load(state) > ADMIN_STATE_DISABLED)
		atomic_store(state, ADMIN_STATE_BY_FILE);
}

static void check_target(struct target *t)
{
	end_text(t->key, sizeof(t->key));
	end_text(t->called, sizeof(t->called));
	check_admin_state(&t->admin_state);
	changed_check(&t->changed);
	told_state_check(&t->told);
	if (atomic_load(&t->of) > TARGETS_MAX)
		atomic_store(&t->of, 0);
	atomic_store(&t->n, at_most(&t->n, TARGET_ADDRS));
	if (atomic_load(&t->sequence) % 2) /* it died while it wrote */
		atomic_fetch_add(&t->sequence, 1);
	for (unsigned i = 0; i < TARGET_ADDRS; i++)
		if (t->addrs[i].family != AF_INET && t->addrs[i].family != AF_INET6)
			atomic_store(&t->n, at_most(&t->n, i));
	/* a target that waits for another address must have one */
	if (atomic_load(&t->state) > TARGET_PARTIAL ||
	    (atomic_load(&t->state) == TARGET_PARTIAL && atomic_load(&t->n) == 0))
		atomic_store(&t->state, TARGET_UNKNOWN);
}

static void check_service(struct known_service *s)
{
	end_text(s->ports, sizeof(s->ports));
	end_text(s->called, sizeof(s->called));
	check_admin_state(&s->admin_state);
	if (s->within > COUNTED_SERVICES)
		s->within = 0;
}

/* None is later than now. */
static void check_totals(struct totals *d)
{
	int64_t now_us = clock_wall_us();

	if (d->started_wall_us < 0 || d->started_wall_us > now_us)
		d->started_wall_us = now_us;
	if (atomic_load(&d->reload_wall_us) < 0 || atomic_load(&d->reload_wall_us) > now_us)
		atomic_store(&d->reload_wall_us, 0);
}

/* Those of servers that there are. */
static void copy_seats(struct seats *now, const struct seats *before, unsigned n_targets)
{
	unsigned n = n_targets ? at_most(&before->n, SEATS_MAX) : 0;
	int64_t now_ms = clock_mono_ms();

	for (unsigned i = 0; i < n; i++) {
		uint32_t target = atomic_load(&before->list[i].target);
		int64_t left_ms;

		atomic_store(&now->list[i].target, target < n_targets ? target : n_targets - 1);
		atomic_store(&now->list[i].asks, atomic_load(&before->list[i].asks));
		atomic_store(&now->list[i].told, atomic_load(&before->list[i].told));
		told_state_check(&now->list[i].told);
		left_ms = atomic_load(&before->list[i].left_ms);
		atomic_store(&now->list[i].left_ms, left_ms < 0 || left_ms > now_ms ? now_ms : left_ms);
	}
	atomic_store(&now->n, n);
}

static void copy_kept(struct kept *now, const struct kept *before)
{
	char *text = kept_read(before);

	kept_write(now, text, strlen(text));
	free(text);
}

static void copy(struct world *w, const struct world *before)
{
	w->magic = WORLD_MAGIC;
	w->version = WORLD_VERSION;
	w->size = sizeof(*w);
	atomic_store(&w->n_workers, at_most(&before->n_workers, WORLD_WORKERS));
	atomic_store(&w->log_level, at_most(&before->log_level, LOG_LEVEL_DEBUG));
	atomic_store(&w->targets.n, at_most(&before->targets.n, TARGETS_MAX));
	atomic_store(&w->labels.n, at_most(&before->labels.n, WORLD_LABELS));
	atomic_store(&w->services.n, at_most(&before->services.n, COUNTED_SERVICES));
	for (unsigned i = 0; i < atomic_load(&w->targets.n); i++) {
		memcpy(&w->targets.list[i], &before->targets.list[i], sizeof(struct target));
		check_target(&w->targets.list[i]);
		w->targets.spelt[i] = target_spelt(w->targets.list[i].key);
	}
	for (unsigned i = 0; i < atomic_load(&w->labels.n); i++) {
		memcpy(w->labels.text[i], before->labels.text[i], LABEL_MAX);
		end_text(w->labels.text[i], LABEL_MAX);
	}
	for (unsigned i = 0; i < atomic_load(&w->services.n); i++) {
		memcpy(&w->services.list[i], &before->services.list[i], sizeof(struct known_service));
		check_service(&w->services.list[i]);
	}
	copy_seats(&w->seats, &before->seats, atomic_load(&w->targets.n));
	copy_kept(&w->kept, &before->kept);
	spots_copy(&w->spots, &before->spots, atomic_load(&w->services.n), atomic_load(&w->targets.n));
	for (unsigned i = 0; i < atomic_load(&w->targets.n); i++)
		if (atomic_load(&w->targets.list[i].uses) > 0)
			memcpy((void *)&w->counted_before[i], &before->counted_before[i], sizeof(struct counted));
	memcpy(&w->totals, &before->totals, sizeof(w->totals));
	check_totals(&w->totals);
}

int world_succeed(struct world *w, struct world_fds *fds)
{
	void *before = mmap(NULL, SAID_SIZE, PROT_READ, MAP_SHARED, fds->said, 0);
	int fd;

	if (before == MAP_FAILED)
		return -errno;
	fd = shm_new_one_writer("tcpproxy-said", SAID_SIZE, w);
	if (fd >= 0) {
		copy(w, before);
		close(fds->said);
		fds->said = fd;
	}
	munmap(before, SAID_SIZE);
	return fd < 0 ? fd : 0;
}

struct world *world_new_private(void)
{
	struct world *w =
	        mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (w == MAP_FAILED)
		return NULL;
	init(w);
	return w;
}

static void format_ports(const struct service *service, char ret[PORTS_SIZE])
{
	struct buf ports = BUF_INIT;

	service_ports(service, &ports);
	snprintf(ret, PORTS_SIZE, "%s", ports.s);
	buf_release(&ports);
}

/* ---- services ---- */

const char *service_label(const struct known_service *s)
{
	return s->called[0] ? s->called : s->ports;
}

bool service_is_out(const struct services *s, uint32_t number)
{
	const struct known_service *known;

	if (number >= COUNTED_SERVICES)
		return false;
	known = &s->list[number];
	return admin_state_is_out(&known->admin_state, false) ||
	       (known->within && admin_state_is_out(&s->list[known->within - 1].admin_state, false));
}

/* COUNTED_SERVICES: there is none. */
static uint32_t find(const struct services *s, uint32_t number, const char *called, uint32_t within)
{
	uint32_t n = atomic_load(&s->n);

	for (uint32_t i = 0; i < n; i++)
		if (s->list[i].number == number && s->list[i].within == within &&
		    strcmp(s->list[i].called, called) == 0)
			return i;
	return COUNTED_SERVICES;
}

/* Of the one that had this port before, under another name. */
static unsigned admin_state_before(const struct services *s, uint32_t number)
{
	for (uint32_t i = atomic_load(&s->n); i-- > 0;)
		if (s->list[i].number == number && !s->list[i].within)
			return atomic_load(&s->list[i].admin_state);
	return ADMIN_STATE_BY_FILE;
}

static void add(struct services *s, const struct service *service, const char *called, uint32_t within)
{
	uint32_t number = service->number, i = atomic_load(&s->n);
	struct known_service *known = &s->list[i];

	if (i == COUNTED_SERVICES || find(s, number, called, within) < COUNTED_SERVICES)
		return;
	known->number = number;
	known->within = within;
	format_ports(service, known->ports);
	snprintf(known->called, sizeof(known->called), "%s", called);
	if (!within)
		atomic_store(&known->admin_state, admin_state_before(s, number));
	atomic_store(&s->n, i + 1);
}

static const char *called_of(const struct section *s)
{
	return s->called ? s->called : "";
}

/* That of the port line: its number, or COUNTED_SERVICES. */
static uint32_t service_of_port(const struct services *s, const struct config *c, const struct service *service)
{
	return find(s, service->number, called_of(&c->sections[service->root]), 0);
}

uint32_t world_service(const struct world *w, const struct config *c, const struct section *section)
{
	const struct service *service = &c->services[section->service];
	uint32_t whole = service_of_port(&w->services, c, service);

	if (section->index == service->root || !section->called)
		return whole;
	return find(&w->services, service->number, section->called, whole + 1);
}

static void take_service(struct services *s, const struct config *c, const struct service *service)
{
	uint32_t whole;

	add(s, service, called_of(&c->sections[service->root]), 0);
	whole = service_of_port(s, c, service);
	for (uint32_t i = 0; i < service->n_sections && whole < COUNTED_SERVICES; i++) {
		const struct section *section = &c->sections[service->first_section + i];

		if (section->called)
			add(s, service, section->called, whole + 1);
	}
}

uint32_t services_search(const struct services *s, uint32_t number, const char *called)
{
	uint32_t n = atomic_load(&s->n), whole = COUNTED_SERVICES;

	for (uint32_t i = 0; i < n; i++) {
		if (s->list[i].number != number)
			continue;
		if (strcmp(s->list[i].called, called) == 0)
			return i;
		if (!s->list[i].within)
			whole = i;
	}
	return whole;
}

/* ---- servers ---- */

/* The number, and one, of the service in which a server of this section has its name. */
static uint32_t scope(const struct world *w, const struct config *c, const struct section *section)
{
	return service_of_port(&w->services, c, &c->services[section->service]) + 1;
}

uint32_t world_target(const struct world *w, const struct config *c, const struct section *section,
                      const struct server *server)
{
	return targets_find(&w->targets, server->key, server->called, scope(w, c, section));
}

static bool stands_for_many(const struct source *s)
{
	return s->kind == SOURCE_EACH || s->kind == SOURCE_SERVICE;
}

uint32_t world_line(const struct world *w, const struct config *c, const struct section *section,
                    const struct server *server)
{
	const struct source *source;

	if (server->from != FROM_SOURCE || server->source >= section->n_sources)
		return TARGET_NONE;
	source = &section->sources[server->source];
	return stands_for_many(source) ? world_target(w, c, section, &source->of) : TARGET_NONE;
}

uint32_t targets_search(const struct world *w, const char *key, const char *called, uint32_t service)
{
	uint32_t whole = service, i;

	if (service < COUNTED_SERVICES && w->services.list[service].within)
		whole = w->services.list[service].within - 1;
	i = targets_find(&w->targets, key, called, whole + 1);
	return i == TARGET_NONE ? targets_like(&w->targets, key) : i;
}

uint16_t world_check_port(const struct config *c, const struct section *section, const struct server *server)
{
	const struct service *service = &c->services[section->service];
	bool one = service->n_ports == 1 && service->ports[0].first == service->ports[0].last;

	return server->port ? server->port : one ? service->ports[0].first : 0;
}

static uint64_t asks_of(const struct config *c, const struct section *section, const struct server *server)
{
	return seat_asks(section, server, world_check_port(c, section, server));
}

uint32_t world_seat(const struct world *w, const struct config *c, const struct section *section,
                    const struct server *server)
{
	uint64_t asks = asks_of(c, section, server);

	return asks ? seats_find(&w->seats, world_target(w, c, section, server), asks) : SEAT_NONE;
}

bool world_checks_stale(const struct world *w, int64_t now_ms)
{
	return now_ms - atomic_load_explicit(&w->checker.beat_ms, memory_order_relaxed) > HEALTH_STALE_MS;
}

static enum known known_by_clients(const struct experience *e, int64_t now_ms)
{
	if (!target_is_avoided(e, now_ms))
		return KNOWN_UP;
	return target_health(e).error == ETIMEDOUT ? KNOWN_SILENT : KNOWN_REFUSED;
}

/* What checks and tcpproxyctl say, beside what clients have found. */
static enum known known_beside(const struct world *w, const struct standing *s, int64_t now_ms, enum known by_clients)
{
	enum force force = world_force(w, s);
	enum health_state health = s->seat < SEATS_MAX ? health_read(&w->health[s->seat], s->asks).state : HEALTH_UP;

	if (force == FORCE_DOWN)
		return KNOWN_DOWN;
	if (force == FORCE_UP)
		return by_clients;
	if (health == HEALTH_DOWN) /* bad news that is old must not lock out a server that is well again */
		return !world_checks_stale(w, now_ms) ? KNOWN_DOWN
		       : by_clients >= KNOWN_SILENT   ? by_clients
		                                      : KNOWN_REFUSED;
	if (health == HEALTH_UNKNOWN && by_clients == KNOWN_UP)
		return KNOWN_UNKNOWN;
	return by_clients;
}

enum known world_known(const struct world *w, const struct standing *s, int64_t now_ms)
{
	enum known by_clients =
	        s->target < TARGETS_MAX ? known_by_clients(&w->experience[s->target], now_ms) : KNOWN_UP;

	return known_beside(w, s, now_ms, by_clients);
}

bool world_is_ejected(const struct world *w, const struct section *s, uint32_t target, int64_t now_ms)
{
	return s->eject.for_ms && target < TARGETS_MAX && ejection_is_on(&w->ejections[target], now_ms);
}

enum known world_known_in(const struct world *w, const struct section *section, const struct standing *s,
                          int64_t now_ms)
{
	if (!section->eject.for_ms)
		return world_known(w, s, now_ms);
	return known_beside(w, s, now_ms, world_is_ejected(w, section, s->target, now_ms) ? KNOWN_EJECTED : KNOWN_UP);
}

struct standing world_standing(const struct world *w, const struct config *c, const struct section *section,
                               const struct server *server)
{
	uint32_t seat = world_seat(w, c, section, server), service = world_service(w, c, section);

	return (struct standing){.target = world_target(w, c, section, server),
	                         .seat = seat,
	                         .asks = seat < SEATS_MAX ? atomic_load(&w->seats.list[seat].asks) : 0,
	                         .disabled = server->disabled,
	                         .ejects = section->eject.for_ms > 0,
	                         .weight = server->weight,
	                         .line = world_line(w, c, section, server),
	                         .service = service,
	                         .whole = service_whole(&w->services, service)};
}

bool world_standing_usable(const struct world *w, const struct standing *s, int64_t now_ms)
{
	const struct target *t = s->target < TARGETS_MAX ? &w->targets.list[s->target] : NULL;

	if (world_is_out(w, s))
		return false;
	return (!t || atomic_load(&t->state) != TARGET_UNRESOLVED) && world_known(w, s, now_ms) != KNOWN_DOWN;
}

static void take_seats(struct world *w, const struct config *c)
{
	int64_t now_ms = clock_mono_ms();

	seats_leave_all(&w->seats, now_ms);
	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		for (size_t k = 0; k < s->n_servers && s->n_checks > 0; k++) {
			uint32_t target = world_target(w, c, s, &s->servers[k]);

			if (target != TARGET_NONE)
				seats_add(&w->seats, target, asks_of(c, s, &s->servers[k]), now_ms);
		}
	}
}

/* False: there is no room. */
static bool take_target(struct world *w, const struct config *c, const struct section *s, const struct server *server)
{
	bool is_new = targets_find(&w->targets, server->key, server->called, scope(w, c, s)) == TARGET_NONE;
	uint32_t target = targets_add(&w->targets, w->experience, server, scope(w, c, s));

	if (is_new && target != TARGET_NONE)
		ejection_inherit(w->ejections, &w->targets, target);
	return target != TARGET_NONE;
}

/* What a server is called in metrics, and what is no server. One that has a line of its own somewhere is of none. What the
 * configuration has no longer stays as it was. */
static void take_lines(struct world *w, const struct config *c)
{
	enum { NOTHING, ITSELF, LINE, MEMBER };
	uint32_t *is = mem_alloc(TARGETS_MAX * sizeof(*is));

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		for (size_t k = 0; k < s->n_sources; k++) {
			const struct source *source = &s->sources[k];
			uint32_t target = stands_for_many(source) ? world_target(w, c, s, &source->of) : TARGET_NONE;

			if (target < TARGETS_MAX && is[target] == NOTHING)
				is[target] = LINE;
		}
		for (size_t k = 0; k < s->n_servers; k++) {
			uint32_t target = world_target(w, c, s, &s->servers[k]);
			uint32_t line = world_line(w, c, s, &s->servers[k]);

			if (target < TARGETS_MAX && line == TARGET_NONE)
				is[target] = ITSELF;
			else if (target < TARGETS_MAX && is[target] != ITSELF)
				is[target] = MEMBER + line;
		}
	}
	for (uint32_t i = 0; i < TARGETS_MAX; i++) {
		if (is[i] == NOTHING)
			continue;
		atomic_store(&w->targets.list[i].stands, is[i] == LINE);
		atomic_store(&w->targets.list[i].of, is[i] >= MEMBER ? is[i] - MEMBER + 1 : 0);
	}
	free(is);
}

void world_take(struct world *w, const struct config *c)
{
	const char *first = NULL;
	size_t missing = 0;

	targets_leave_all(&w->targets, clock_mono_ms());
	for (size_t i = 0; i < c->n_services; i++)
		take_service(&w->services, c, &c->services[i]);
	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		for (size_t k = 0; k < s->n_sources; k++)
			if (stands_for_many(&s->sources[k]))
				take_target(w, c, s, &s->sources[k].of);
		for (size_t k = 0; k < s->n_servers; k++)
			if (!take_target(w, c, s, &s->servers[k])) {
				first = first ? first : s->servers[k].key;
				missing++;
			}
	}
	if (missing > 0)
		log_error("too many different servers, of now and of the last minute: %zu are not served, the first is "
		          "%s",
		          missing, first);
	take_lines(w, c);
	take_seats(w, c);
}

unsigned world_load(const struct world *w, uint32_t worker, int64_t now_ms)
{
	const struct load *l = &w->load[worker];

	return now_ms - atomic_load(&l->at_ms) > LOAD_FRESH_MS ? 0 : atomic_load(&l->percent);
}

uint32_t labels_find(const struct labels *l, const char *text)
{
	uint32_t n = atomic_load(&l->n);

	for (uint32_t i = 0; i < n; i++)
		if (strncmp(l->text[i], text, LABEL_MAX - 1) == 0)
			return i;
	return LABEL_NONE;
}

uint32_t labels_add(struct labels *l, const char *text)
{
	uint32_t n = atomic_load(&l->n);
	uint32_t found = labels_find(l, text);

	if (found != LABEL_NONE)
		return found;
	if (n == WORLD_LABELS)
		return LABEL_NONE;
	snprintf(l->text[n], LABEL_MAX, "%s", text);
	atomic_store(&l->n, n + 1);
	return n;
}

const char *labels_text(const struct labels *l, uint32_t label)
{
	return label < atomic_load(&l->n) ? l->text[label] : NULL;
}
