/* steer_servers.c - servers are changed by tcpproxyctl, against the file, until that speaks of them or they are forgotten. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "ipc/changes.h"
#include "ipc/state.h"
#include "supervisor/inspect.h"
#include "supervisor/meant.h"
#include "supervisor/members_steer.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* ---- one change ---- */

/* What is said farther away, which would hold: something else than the file. */
static bool weight_is_said(const struct spoken *list, size_t n)
{
	size_t i = 0;

	while (i < n && changed_how(list[i].changed) == WEIGHT_NOT_SAID)
		i++;
	return i < n && changed_has_weight(list[i].changed);
}

static bool max_is_said(const struct spoken *list, size_t n)
{
	size_t i = 0;

	while (i < n && atomic_load(&list[i].changed->max) == CHANGED_NOT_SAID)
		i++;
	return i < n && changed_has_max(list[i].changed);
}

static bool force_is_said(const struct spoken *list, size_t n)
{
	size_t i = 0;

	while (i < n && changed_force(list[i].changed) == FORCE_NOT_SAID)
		i++;
	return i < n && changed_force(list[i].changed) != FORCE_AUTO;
}

/* That something is as the file says must be said where otherwise something else would hold. */
static void change_one(const struct world *w, const struct words *words, enum change_kind change, uint32_t n)
{
	struct changed *c = words->changed;
	struct spoken farther[SPOKEN_MAX];
	size_t n_farther = world_farther(w, &words->of, farther);

	switch (change) {
	case CHANGE_WEIGHT:
		changed_set_weight(c, WEIGHT_NUMBER, n);
		break;
	case CHANGE_WEIGHT_PERCENT:
		changed_set_weight(c, WEIGHT_PERCENT, n);
		break;
	case CHANGE_WEIGHT_FILE:
		changed_set_weight(c, weight_is_said(farther, n_farther) ? WEIGHT_BY_FILE : WEIGHT_NOT_SAID, 0);
		break;
	case CHANGE_MAX:
		atomic_store(&c->max, n + 1);
		break;
	case CHANGE_MAX_FILE:
		atomic_store(&c->max, max_is_said(farther, n_farther) ? CHANGED_BY_FILE : CHANGED_NOT_SAID);
		break;
	case CHANGE_FORCE_UP:
		atomic_store(&c->force, FORCE_UP);
		break;
	case CHANGE_FORCE_DOWN:
		atomic_store(&c->force, FORCE_DOWN);
		break;
	case CHANGE_FORCE_AUTO:
		atomic_store(&c->force, force_is_said(farther, n_farther) ? FORCE_AUTO : FORCE_NOT_SAID);
		break;
	case CHANGE_FORGET:
		words_forget(words);
		break;
	}
}

static void describe(const char *server, enum change_kind change, uint32_t n, struct buf *text)
{
	static const char *const words[] = {
	        [CHANGE_WEIGHT_FILE] = "has the weight that the file says",
	        [CHANGE_MAX_FILE] = "has the limit that the file says",
	        [CHANGE_FORCE_UP] = "is up, whatever its checks say",
	        [CHANGE_FORCE_DOWN] = "is down, whatever its checks say",
	        [CHANGE_FORCE_AUTO] = "is what its checks say",
	        [CHANGE_FORGET] = "is as the file says",
	};

	buf_addf(text, "%s ", server);
	if (change == CHANGE_WEIGHT || change == CHANGE_WEIGHT_PERCENT)
		buf_addf(text, "has the weight %u%s", n, change == CHANGE_WEIGHT ? "" : "% of what the file says");
	else if (change == CHANGE_MAX && n > 0)
		buf_addf(text, "gets at most %u connections at a time", n);
	else
		buf_adds(text, change == CHANGE_MAX ? "has no limit of connections" : words[change]);
}

/* ---- what is meant ---- */

static void forget_part(void *arg, const struct words *words)
{
	(void)arg;
	words_forget(words);
}

/* Also what is said of it in a part of where it is meant; unless somebody speaks of it there, there is nothing to be forgotten. */
static void forget(struct supervisor *s, uint32_t service, uint32_t target)
{
	struct world *w = s->children.workers.world;
	bool everywhere = service >= COUNTED_SERVICES || w->targets.list[target].of_service;
	struct spot *p = everywhere ? NULL : (struct spot *)spots_find(&w->spots, service, target);
	struct words words = p ? words_of_spot(p) : words_of_target(w, target);

	if (p || everywhere)
		words_forget(&words);
	steer_each_part(s, service, target, forget_part, NULL);
}

/* A line that stands for many is forgotten with its members; other changes are said of the line alone, whose members go by it unless
 * something else was said of them. */
static bool change_in(struct supervisor *s, uint32_t service, const struct meant *m, enum change_kind change,
                      uint32_t n, struct buf *why)
{
	for (size_t i = 0; i < (change == CHANGE_FORGET ? m->n : m->n_said); i++) {
		struct words words;

		if (change == CHANGE_FORGET)
			forget(s, service, m->list[i]);
		else if (!steer_words(s, service, m->list[i], &words, why))
			return false;
		else
			change_one(s->children.workers.world, &words, change, n);
	}
	return true;
}

static bool change_meant(struct supervisor *s, const struct meant *m, enum change_kind change, uint32_t n,
                         struct buf *why)
{
	bool *was_out = steer_note_out(s), done = true;

	for (size_t i = 0; done && i < meant_n_services(m); i++)
		done = change_in(s, meant_service(m, i), m, change, n, why);
	for (size_t i = 0; i < m->n && change == CHANGE_FORCE_DOWN; i++)
		server_down(s, m->list[i], SEAT_NONE);
	steer_let_come(s, was_out);
	return done;
}

/* ---- what was said of others stays ---- */

struct count {
	enum change_kind change;
	size_t n;
};

static void count_one(void *arg, const struct words *words)
{
	struct count *count = arg;

	if (count->change <= CHANGE_WEIGHT_FILE)
		count->n += changed_how(words->changed) != WEIGHT_NOT_SAID;
	else if (count->change <= CHANGE_MAX_FILE)
		count->n += atomic_load(&words->changed->max) != CHANGED_NOT_SAID;
	else if (count->change <= CHANGE_FORCE_AUTO)
		count->n += changed_force(words->changed) != FORCE_NOT_SAID;
}

/* Members of a line, and services, of which something else was said. */
static size_t count_others(struct supervisor *s, const struct meant *m, enum change_kind change, bool members)
{
	struct world *w = s->children.workers.world;
	struct count count = {.change = change};

	for (size_t i = members ? m->n_said : 0; i < (members ? m->n : m->n_said); i++) {
		const struct words words = words_of_target(w, m->list[i]);

		if (members)
			count_one(&count, &words);
		else
			steer_each_part(s, meant_service(m, 0), m->list[i], count_one, &count);
	}
	return count.n;
}

/* What is still said of more than the one that is forgotten; "": nothing. */
static void say_farther(struct supervisor *s, const struct meant *m, struct buf *text)
{
	const struct world *w = s->children.workers.world;
	const struct spot *p = m->n_services == 1 ? spots_find(&w->spots, m->services[0], m->list[0]) : NULL;
	const struct spoken of = p ? spoken_of_spot(p) : world_spoken_of(w, m->list[0]);
	struct spoken list[SPOKEN_MAX];
	size_t n = world_farther(w, &of, list);

	for (size_t i = 0; i < n; i++) {
		struct buf commands = BUF_INIT;
		bool any;

		changes_of(w, &list[i], s->loop.now_ms, &commands);
		any = commands.len > 0;
		buf_release(&commands);
		if (any) {
			buf_adds(text, ", but for what was said of ");
			changes_word(w, &list[i], text);
			return;
		}
	}
}

static void describe_rest(struct supervisor *s, const struct meant *m, enum change_kind change, struct buf *text)
{
	size_t addresses = count_others(s, m, change, true), services = count_others(s, m, change, false);

	if (addresses > 0)
		buf_addf(text, "; %zu of its addresses %s what was said of %s", addresses,
		         addresses == 1 ? "keeps" : "keep", addresses == 1 ? "it" : "them");
	if (services > 0)
		buf_addf(text, "; in %zu service%s it keeps what was said of it there", services,
		         services == 1 ? "" : "s");
	if (change == CHANGE_FORGET && m->n_said == 1)
		say_farther(s, m, text);
}

bool steer_change(struct supervisor *s, const char *server, enum change_kind change, uint32_t n, struct buf *text)
{
	bool back = change == CHANGE_FORGET && members_forget(s, server);
	struct buf why = BUF_INIT;
	struct meant m = meant_configured(s->children.workers.world, s->rules.config, server, &why);
	bool done = (back || m.n > 0) && change_meant(s, &m, change, n, &why);

	if (done) {
		if (s->inspect) /* else it is a start, which looks when all is there */
			health_look(s);
		describe(server, change, n, text);
		describe_rest(s, &m, change, text);
		log_info("tcpproxyctl: %s", text->s);
		buf_addc(text, '\n');
	} else {
		buf_adds(text, why.s);
	}
	meant_release(&m);
	buf_release(&why);
	return done;
}

void steer_forget_all(struct supervisor *s, struct buf *text)
{
	struct world *w = s->children.workers.world;
	bool *was_out;

	members_forget(s, NULL);
	free(s->state_file.late);
	s->state_file.late = NULL;
	was_out = steer_note_out(s);
	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++)
		forget(s, COUNTED_SERVICES, i);
	for (uint32_t i = 0; i < atomic_load(&w->services.n); i++)
		atomic_store(&w->services.list[i].admin_state, ADMIN_STATE_BY_FILE);
	steer_let_come(s, was_out);
	log_info("tcpproxyctl: all is as the file says");
	buf_adds(text, "all is as the file says\n");
}

/* ---- what is changed ---- */

static void add_services(const struct world *w, const struct config *c, struct buf *out)
{
	for (uint32_t i = 0; i < atomic_load(&w->services.n); i++) {
		struct meant m = meant_services(w, c, service_label(&w->services.list[i]));

		if (m.n > 0)
			changes_of_service(&w->services.list[i], out);
		meant_release(&m);
	}
}

struct listing {
	const struct supervisor *supervisor;
	void (*add)(const struct world *w, const struct spoken *of, int64_t now_ms, struct buf *out);
	struct buf *out;
};

/* Calls each for those of the configuration; what is said of others means nothing now. In the order in which it can be said again: what
 * reaches others first. */
static void for_each_spoken(const struct world *w, void (*each)(void *arg, const struct spoken *of), void *arg)
{
	for (unsigned stands = 2; stands-- > 0;) {
		for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++) {
			const struct spoken of = world_spoken_of(w, i);

			if (atomic_load(&of.changed->line) && atomic_load(&w->targets.list[i].stands) == stands)
				each(arg, &of);
		}
		for (uint32_t i = 0; i < 2 * SPOTS_MAX && atomic_load(&w->spots.n) > 0; i++) {
			const struct spot *p = &w->spots.list[i % SPOTS_MAX];
			const struct spoken of = spoken_of_spot(p);

			if (spot_speaks(p) && atomic_load(&of.changed->line) &&
			    atomic_load(&w->targets.list[of.target].stands) == stands &&
			    (service_whole(&w->services, of.service) < COUNTED_SERVICES) == (i >= SPOTS_MAX))
				each(arg, &of);
		}
	}
}

static void list_one(void *arg, const struct spoken *of)
{
	const struct listing *l = arg;

	l->add(l->supervisor->children.workers.world, of, l->supervisor->loop.now_ms, l->out);
}

static void add_all(const struct supervisor *s,
                    void (*add)(const struct world *w, const struct spoken *of, int64_t now_ms, struct buf *out),
                    struct buf *out)
{
	struct listing l = {s, add, out};

	members_changes(s, out);
	add_services(s->children.workers.world, s->rules.config, out);
	for_each_spoken(s->children.workers.world, list_one, &l);
}

void steer_changes(const struct supervisor *s, struct buf *out)
{
	add_all(s, changes_of, out);
}

void steer_state_text(const struct supervisor *s, struct buf *out)
{
	add_all(s, state_of, out);
}

/* ---- what differs still ---- */

static void tell_one(void *arg, const struct spoken *of)
{
	const struct supervisor *s = arg;
	const struct world *w = s->children.workers.world;
	struct buf commands = BUF_INIT, word = BUF_INIT, text = BUF_INIT;

	changes_of(w, of, s->loop.now_ms, &commands);
	if (commands.len > 0) {
		changes_word(w, of, &word);
		changes_join(commands.s, &text);
		log_info("reload: %s still differs from the file: %s (tcpproxyctl forget %s)", word.s, text.s, word.s);
	}
	buf_release(&commands);
	buf_release(&word);
	buf_release(&text);
}

void steer_tell_changes(const struct supervisor *s)
{
	members_tell(s);
	for_each_spoken(s->children.workers.world, tell_one, (void *)s);
}

/* ---- is it so? ---- */

/* In a service that is meant. */
static bool is_view_meant(const struct supervisor *s, const struct meant *m, const struct member_view *v)
{
	const struct services *services = &s->children.workers.world->services;

	for (size_t i = 0; i < m->n_services; i++) {
		const char *label = service_label(&services->list[m->services[i]]);

		if (strcmp(v->service, label) == 0 || (v->within && strcmp(v->within, label) == 0))
			return true;
	}
	return m->n_services == 0;
}

/* Connections of a server that have come by a service that is meant. Texts are those of the world. */
static uint32_t count_connections(const struct supervisor *s, const struct snapshot *shot, const struct meant *m,
                                  uint32_t target)
{
	const struct world *w = s->children.workers.world;
	const char *label = target_label(&w->targets.list[target]);
	uint32_t n = 0;

	for (size_t i = 0; i < shot->n_connections; i++)
		for (size_t k = 0; k < m->n_services && shot->connections[i].server == label; k++) {
			const char *service = service_label(&w->services.list[m->services[k]]);

			n += shot->connections[i].service == service || shot->connections[i].within == service;
		}
	return n;
}

/* Wherever it is in a pool: all of these are to be so. */
static bool is_so(const struct supervisor *s, const struct snapshot *shot, const struct meant *m, uint32_t target,
                  enum server_is is)
{
	bool any = false;

	for (size_t i = 0; i < shot->n_members; i++) {
		const struct member_view *v = &shot->members[i];
		uint32_t n = m->n_services ? count_connections(s, shot, m, target) : v->connections;
		bool up = strcmp(v->state, "up") == 0 || strcmp(v->state, "untried") == 0;

		if (v->target != target || !is_view_meant(s, m, v))
			continue;
		any = true;
		if ((is == SERVER_IS_UP && !up) || (is == SERVER_IS_DOWN && strcmp(v->state, "down") != 0) ||
		    (is == SERVER_IS_DRAINED && n > 0))
			return false;
	}
	return any;
}

/* It gets no new connection any more, wherever it is meant. */
static bool is_drained(struct supervisor *s, const struct meant *m, uint32_t target)
{
	const struct world *w = s->children.workers.world;
	const struct config *c = s->rules.config;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers && meant_in(m, w, c, &c->sections[i]); k++) {
			const struct standing *of = &standings_of(s, &c->sections[i])[k];

			if (of->target == target && !world_is_out(w, of))
				return false;
		}
	return true;
}

int steer_is(struct supervisor *s, const char *server, enum server_is is, struct buf *text)
{
	struct meant m = meant_configured(s->children.workers.world, s->rules.config, server, text);
	struct snapshot *shot = m.n > 0 ? inspect_take(s, m.n_services > 0) : NULL;
	bool any = is == SERVER_IS_DRAINED; /* so is a line that stands for none now */
	int result = m.n > 0 ? 1 : -1;

	for (size_t i = 0; i < m.n && result > 0; i++) {
		if (atomic_load(&s->children.workers.world->targets.list[m.list[i]].stands))
			continue;
		any = true;
		result = is_so(s, shot, &m, m.list[i], is) && (is != SERVER_IS_DRAINED || is_drained(s, &m, m.list[i]));
	}
	snapshot_free(shot);
	meant_release(&m);
	return result > 0 ? any : result;
}
