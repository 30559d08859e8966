#include "servers/crowds.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define RETRY_MIN_MS  1000
#define RETRY_MAX_MS  30000
#define TELL_MS       10  /* what comes together is told together ... */
#define TELL_ALL_MS   300 /* ... and at the beginning, what is asked together */
#define TELL_EVERY_MS 100
#define AT_ONCE       64 /* questions under way */
#define LATER_MS      20 /* where there are too many */
#define HOST_MAX      64 /* addresses of one host of a service, of which there may be thousands */
#define ALL_TOLD      UINT32_MAX

/* A name that is asked, again and again. */
struct question {
	struct question *next;
	struct crowd *crowd;
	char *name;
	bool is_service;
	struct knowledge known;
	struct timer timer; /* the next time */
	struct timer drop;  /* the end of what an answer has left out */
	int64_t retry_ms;   /* after the next failure */
	bool asking;
	bool tried;   /* once, whatever came of it */
	bool good;    /* there has been an answer that names something */
	bool failing; /* the log knows it */
	bool wanted;
};

struct crowd {
	struct crowd *next;
	struct crowds *all;
	uint64_t id;
	char *line;
	uint16_t port;
	struct question *service; /* NULL: the only host is in the file, not in an answer */
	struct question *hosts;
	struct member *before; /* of whoever asked before us; until we know as much */
	size_t n_before;
	int64_t before_until_ms; /* 0: not yet known */
	struct member *now;
	size_t n;
	uint32_t told; /* so many of now; ALL_TOLD: the other side knows it */
	struct timer tell;
	int64_t told_ms;
	bool wanted;
};

struct crowds {
	struct crowds_setup setup;
	struct crowd_times times;
	struct crowd *list;
	unsigned asking;
};

static void ask(void *arg);
static void tell_later(struct crowd *r);

static int64_t now_of(const struct crowd *r)
{
	return r->all->setup.loop->now_ms;
}

/* ---- questions ---- */

static struct question *question_new(struct crowd *r, const char *name, bool is_service)
{
	struct question *q = mem_alloc(sizeof(*q));

	*q = (struct question){.crowd = r,
	                       .name = mem_strdup(name),
	                       .is_service = is_service,
	                       .retry_ms = RETRY_MIN_MS,
	                       .wanted = true};
	return q;
}

static void stop_asking(struct question *q)
{
	struct crowds *all = q->crowd->all;

	if (q->asking) {
		resolve_cancel(all->setup.resolver, q);
		all->asking--;
	}
	q->asking = false;
	timer_clear(all->setup.loop, &q->timer);
}

static void question_free(struct question *q)
{
	if (!q)
		return;
	stop_asking(q);
	timer_clear(q->crowd->all->setup.loop, &q->drop);
	known_release(&q->known);
	free(q->name);
	free(q);
}

static void ask_at(struct question *q, int64_t delay_ms)
{
	timer_set(q->crowd->all->setup.loop, &q->timer, now_of(q->crowd) + delay_ms, ask, q);
}

/* ---- which hosts a service has ---- */

static struct question *find_host(const struct crowd *r, const char *name)
{
	struct question *q = r->hosts;

	while (q && strcmp(q->name, name) != 0)
		q = q->next;
	return q;
}

static void want_host(struct crowd *r, const char *name)
{
	struct question *q = find_host(r, name);

	if (!q) {
		q = question_new(r, name, false);
		q->next = r->hosts;
		r->hosts = q;
		ask_at(q, 0);
	}
	q->wanted = true;
}

static void take_hosts(struct crowd *r)
{
	struct question **link = &r->hosts, *q;

	for (q = r->hosts; q; q = q->next)
		q->wanted = false;
	for (size_t i = 0; i < r->service->known.n; i++)
		want_host(r, r->service->known.list[i].host);
	while ((q = *link)) {
		if (q->wanted) {
			link = &q->next;
			continue;
		}
		*link = q->next;
		question_free(q);
	}
}

/* ---- what follows from an answer ---- */

static void drop_old(void *arg);

/* What is known of a name is something else than it was. */
static void changed(struct question *q)
{
	if (q->is_service)
		take_hosts(q->crowd);
	tell_later(q->crowd);
}

static void plan_drop(struct question *q)
{
	struct loop *loop = q->crowd->all->setup.loop;
	int64_t at_ms = known_next_drop(&q->known, &q->crowd->all->times.known);

	timer_clear(loop, &q->drop);
	if (at_ms < INT64_MAX)
		timer_set(loop, &q->drop, at_ms, drop_old, q);
}

static void drop_old(void *arg)
{
	struct question *q = arg;

	if (known_drop(&q->known, &q->crowd->all->times.known, now_of(q->crowd)))
		changed(q);
	plan_drop(q);
}

static int64_t until_next(const struct crowd_times *t, uint32_t ttl_s)
{
	int64_t ttl_ms = ttl_s > INT32_MAX ? t->ttl_max_ms : 1000LL * ttl_s;

	if (ttl_ms > t->ttl_max_ms)
		ttl_ms = t->ttl_max_ms;
	return ttl_ms < t->ttl_min_ms ? t->ttl_min_ms : ttl_ms;
}

static void found(struct question *q, bool is_other)
{
	bool first = !q->good;

	if (q->failing)
		log_info("the server name %s resolves again", q->name);
	q->failing = false;
	q->tried = q->good = true;
	q->retry_ms = RETRY_MIN_MS;
	if (is_other)
		changed(q);
	else if (first)
		tell_later(q->crowd);
	plan_drop(q);
}

/* none: there is no such name; else nobody knows. */
static void not_found(struct question *q, bool none, const char *why)
{
	const struct crowds *all = q->crowd->all;
	bool over = none && known_none(&q->known, &all->times.known, now_of(q->crowd));

	if (over)
		log_error("the server name %s has not existed for %lld s: it has no servers any more", q->name,
		          (long long)(all->times.known.keep_ms / 1000));
	else if (!q->failing)
		log_error("looking up the servers of %s: %s: %s, trying again", q->name, why ? why : "no address",
		          q->known.n > 0 || q->crowd->n > 0 ? "keeping the last ones" : "there are none");
	ask_at(q, q->retry_ms);
	q->retry_ms = q->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : q->retry_ms * 2;
	q->failing = true;
	if (!q->tried || over)
		tell_later(q->crowd);
	q->tried = true;
	if (over)
		changed(q);
	plan_drop(q);
}

static void over(struct question *q)
{
	q->asking = false;
	q->crowd->all->asking--;
}

static void crowds_host_answered(void *arg, const struct resolve_result *r)
{
	struct question *q = arg;
	const struct crowd_times *t = &q->crowd->all->times;

	if (!r->more)
		over(q);
	if (r->error != 0 || r->n == 0) {
		not_found(q, r->none, r->why);
		return;
	}
	if (!r->more)
		ask_at(q, until_next(t, r->ttl_s));
	found(q, known_addrs(&q->known, r->addrs, q->crowd->service && r->n > HOST_MAX ? HOST_MAX : r->n, r->unanswered,
	                     &t->known, now_of(q->crowd)));
}

/* "." says that there is no such service, decidedly: nothing is held then. */
static bool take_records(struct question *q, const struct resolve_srv_result *r)
{
	bool had = q->known.n > 0;

	if (r->n > 0)
		return known_records(&q->known, r->records, r->n, &q->crowd->all->times.known, now_of(q->crowd));
	known_release(&q->known);
	return had;
}

static void crowds_service_answered(void *arg, const struct resolve_srv_result *r)
{
	struct question *q = arg;

	over(q);
	if (r->error != 0) {
		not_found(q, r->none, r->why);
		return;
	}
	ask_at(q, until_next(&q->crowd->all->times, r->ttl_s));
	found(q, take_records(q, r));
}

static void ask(void *arg)
{
	struct question *q = arg;
	struct crowds *all = q->crowd->all;

	if (q->asking)
		return;
	if (all->asking >= AT_ONCE) {
		ask_at(q, LATER_MS);
		return;
	}
	q->asking = true;
	all->asking++;
	if (q->is_service)
		resolve_srv(all->setup.resolver, q->name, crowds_service_answered, q);
	else
		resolve_host(all->setup.resolver, q->name, crowds_host_answered, q);
}

/* ---- members ---- */

struct list {
	struct member *list;
	size_t n, room;
};

static void add(struct list *l, const struct member *m)
{
	if (l->n == CROWD_MAX * 4) /* the same addresses under many names, at most */
		return;
	if (l->n == l->room)
		l->list = mem_resize(l->list, l->room = l->room ? l->room * 2 : 16, sizeof(*l->list));
	l->list[l->n++] = *m;
}

static void add_host(struct list *l, const struct question *q, const struct member *as)
{
	for (size_t i = 0; q && i < q->known.n; i++) {
		struct member m = *as;
		uint16_t port = as->addr.port;

		m.addr = q->known.list[i].addr;
		m.addr.port = port;
		m.addr.scope = 0; /* no name server knows our interfaces */
		add(l, &m);
	}
}

static void add_service(struct list *l, const struct crowd *r)
{
	for (size_t i = 0; i < r->service->known.n; i++) {
		const struct known_item *record = &r->service->known.list[i];
		const struct member as = {
		        .addr.port = record->port, .priority = record->priority, .weight = record->weight};

		add_host(l, find_host(r, record->host), &as);
	}
}

static bool each(const struct crowd *r, bool (*is)(const struct question *q))
{
	if (r->service && !is(r->service))
		return false;
	for (const struct question *q = r->hosts; q; q = q->next)
		if (!is(q))
			return false;
	return true;
}

static bool was_tried(const struct question *q)
{
	return q->tried;
}

/* As much is known of it as whoever asked before us can have known. */
static bool is_known(const struct question *q)
{
	return q->good || known_is_over(&q->known, &q->crowd->all->times.known, now_of(q->crowd));
}

static bool is_there(const struct list *l, size_t n, const struct member *m)
{
	size_t first = 0, last = n;

	while (first < last) {
		size_t middle = first + (last - first) / 2;
		int d = member_compare_place(m, &l->list[middle]);

		if (d == 0)
			return true;
		if (d < 0)
			last = middle;
		else
			first = middle + 1;
	}
	return false;
}

/* Those of before are held as long as what an answer leaves out. l is in order. */
static void add_before(struct list *l, struct crowd *r)
{
	int64_t now_ms = now_of(r);
	size_t n = l->n;

	if (r->n_before == 0)
		return;
	if (r->before_until_ms == 0 && each(r, is_known))
		r->before_until_ms = now_ms + r->all->times.known.hold_ms;
	if (r->before_until_ms && now_ms >= r->before_until_ms) {
		r->n_before = 0;
		return;
	}
	for (size_t i = 0; i < r->n_before; i++)
		if (!is_there(l, n, &r->before[i]))
			add(l, &r->before[i]);
	l->n = crowd_sort(l->list, l->n);
}

static void take_all(struct crowd *r, struct list *l)
{
	static const struct member nothing;
	struct member as = nothing;

	as.addr.port = r->port;
	if (r->service)
		add_service(l, r);
	else
		add_host(l, r->hosts, &as);
	l->n = crowd_sort(l->list, l->n);
	add_before(l, r);
}

/* ---- telling ---- */

static bool same(const struct crowd *r, const struct list *l)
{
	if (r->n != l->n)
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (!member_equal(&r->now[i], &l->list[i]))
			return false;
	return true;
}

static void leave_rest_out(const struct crowd *r, struct list *l)
{
	if (l->n > CROWD_MAX && r->n < CROWD_MAX)
		log_error("%s stands for %zu servers: all but %d are left out", r->line, l->n, CROWD_MAX);
	if (l->n > CROWD_MAX)
		l->n = CROWD_MAX;
}

static void crowds_tell(void *arg)
{
	struct crowd *r = arg;
	struct crowds *all = r->all;
	struct list l = {NULL, 0, 0};

	take_all(r, &l);
	leave_rest_out(r, &l);
	if (r->n_before > 0 && r->before_until_ms)
		timer_set(all->setup.loop, &r->tell, r->before_until_ms, crowds_tell, r);
	if (same(r, &l)) {
		free(l.list);
		return;
	}
	free(r->now);
	r->now = l.list;
	r->n = l.n;
	r->told = 0;
	r->told_ms = now_of(r);
	all->setup.untold(all->setup.arg);
}

static void tell_later(struct crowd *r)
{
	int64_t at_ms = now_of(r) + (each(r, was_tried) ? TELL_MS : TELL_ALL_MS);

	if (r->told_ms && at_ms < r->told_ms + TELL_EVERY_MS)
		at_ms = r->told_ms + TELL_EVERY_MS;
	if (r->tell.place && r->tell.at_ms < at_ms)
		at_ms = r->tell.at_ms;
	timer_set(r->all->setup.loop, &r->tell, at_ms, crowds_tell, r);
}

/* The part that begins at `told`. */
static int part_of(struct crowd *r, uint64_t *ret_id, struct crowd_part *ret)
{
	size_t n = r->n - r->told < CROWD_PART ? r->n - r->told : CROWD_PART;

	*ret_id = r->id;
	*ret = (struct crowd_part){.at = (uint16_t)r->told, .total = (uint16_t)r->n};
	if (n > 0)
		memcpy(ret->list, r->now + r->told, n * sizeof(*ret->list));
	r->told += (uint32_t)n;
	if (r->told == r->n)
		r->told = ALL_TOLD;
	return (int)n;
}

int crowds_next(struct crowds *all, uint64_t *ret_id, struct crowd_part *ret)
{
	for (struct crowd *r = all->list; r; r = r->next)
		if (r->told > 0 && r->told != ALL_TOLD) /* one that has begun is told to its end */
			return part_of(r, ret_id, ret);
	for (struct crowd *r = all->list; r; r = r->next)
		if (r->told != ALL_TOLD)
			return part_of(r, ret_id, ret);
	return -1;
}

/* ---- which lines ---- */

static struct crowd *find(const struct crowds *all, uint64_t id)
{
	struct crowd *r = all->list;

	while (r && r->id != id)
		r = r->next;
	return r;
}

static struct member *copy_members(const struct crowd_setup *line)
{
	struct member *list = mem_alloc((line->n_known + 1) * sizeof(*list));

	if (line->n_known)
		memcpy(list, line->known, line->n_known * sizeof(*list));
	return list;
}

static void crowd_new(struct crowds *all, const struct crowd_setup *line)
{
	struct crowd *r = mem_alloc(sizeof(*r));
	struct question *q;

	*r = (struct crowd){.next = all->list,
	                    .all = all,
	                    .id = crowd_id(line->line),
	                    .line = mem_strdup(line->line),
	                    .port = line->port,
	                    .before = copy_members(line),
	                    .n_before = line->n_known,
	                    .now = copy_members(line),
	                    .n = line->n_known,
	                    .told = ALL_TOLD,
	                    .wanted = true};
	q = question_new(r, line->name, line->is_service);
	if (line->is_service)
		r->service = q;
	else
		r->hosts = q;
	all->list = r;
}

static void crowd_free(struct crowd *r)
{
	struct question *q;

	timer_clear(r->all->setup.loop, &r->tell);
	question_free(r->service);
	while ((q = r->hosts)) {
		r->hosts = q->next;
		question_free(q);
	}
	free(r->before);
	free(r->now);
	free(r->line);
	free(r);
}

void crowds_begin(struct crowds *all, const struct crowd_times *times)
{
	all->times = *times;
	for (struct crowd *r = all->list; r; r = r->next)
		r->wanted = false;
}

void crowds_want(struct crowds *all, const struct crowd_setup *line)
{
	struct crowd *r = find(all, crowd_id(line->line));

	if (r)
		r->wanted = true;
	else
		crowd_new(all, line);
}

static void ask_now(struct question *q, bool again)
{
	if (again)
		stop_asking(q);
	if (!q->asking && !q->timer.place)
		ask_at(q, 0);
}

void crowds_end(struct crowds *all, bool again)
{
	struct crowd **link = &all->list, *r;

	while ((r = *link)) {
		if (!r->wanted) {
			*link = r->next;
			crowd_free(r);
			continue;
		}
		if (r->service)
			ask_now(r->service, again);
		for (struct question *q = r->hosts; q; q = q->next)
			ask_now(q, again);
		link = &r->next;
	}
}

/* ---- life ---- */

struct crowds *crowds_new(const struct crowds_setup *setup)
{
	struct crowds *all = mem_alloc(sizeof(*all));

	*all = (struct crowds){.setup = *setup};
	return all;
}

void crowds_free(struct crowds *all)
{
	struct crowd *r;

	while (all && (r = all->list)) {
		all->list = r->next;
		crowd_free(r);
	}
	free(all);
}
