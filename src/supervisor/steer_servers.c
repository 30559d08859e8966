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

/* line: of which it is a member; NULL: of none. That something is as the file says must be said where the line says otherwise. */
static void change_one(struct changed *c, const struct changed *line, enum change_kind change, uint32_t n)
{
	switch (change) {
	case CHANGE_WEIGHT:
		changed_set_weight(c, WEIGHT_NUMBER, n);
		break;
	case CHANGE_WEIGHT_PERCENT:
		changed_set_weight(c, WEIGHT_PERCENT, n);
		break;
	case CHANGE_WEIGHT_FILE:
		changed_set_weight(c, line && changed_has_weight(line) ? WEIGHT_BY_FILE : WEIGHT_NOT_SAID, 0);
		break;
	case CHANGE_MAX:
		atomic_store(&c->max, n + 1);
		break;
	case CHANGE_MAX_FILE:
		atomic_store(&c->max, line && changed_has_max(line) ? CHANGED_BY_FILE : CHANGED_NOT_SAID);
		break;
	case CHANGE_FORCE_UP:
		atomic_store(&c->force, FORCE_UP);
		break;
	case CHANGE_FORCE_DOWN:
		atomic_store(&c->force, FORCE_DOWN);
		break;
	case CHANGE_FORCE_AUTO:
		atomic_store(&c->force, line && changed_force(line) != FORCE_NOT_SAID ? FORCE_AUTO : FORCE_NOT_SAID);
		break;
	case CHANGE_FORGET:
		changed_forget(c);
		break;
	}
}

/* Also whether clients may come to it. */
static void forget(struct target *t)
{
	changed_forget(&t->changed);
	atomic_store(&t->admin_state, ADMIN_STATE_BY_FILE);
	atomic_store(&t->changed.drained_ms, 0);
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

/* That of the line of which it is a member; NULL: of none. */
static const struct changed *line_of(const struct world *w, uint32_t target)
{
	const struct standing of = world_standing_anywhere(w, target);

	return of.line < TARGETS_MAX ? &w->targets.list[of.line].changed : NULL;
}

/* A line that stands for many is forgotten with its members; other changes are said of the line alone, whose members go by it unless
 * something else was said of them. */
static void change_meant(struct supervisor *s, const struct meant *m, enum change_kind change, uint32_t n)
{
	struct world *w = s->children.workers.world;
	bool *was_out = steer_note_out(s);

	for (size_t i = 0; i < (change == CHANGE_FORGET ? m->n : m->n_said); i++) {
		struct target *t = &w->targets.list[m->list[i]];

		if (change == CHANGE_FORGET)
			forget(t);
		else
			change_one(&t->changed, line_of(w, m->list[i]), change, n);
	}
	for (size_t i = 0; i < m->n && change == CHANGE_FORCE_DOWN; i++) {
		const struct standing of = world_standing_anywhere(w, m->list[i]);

		if (world_force(w, &of) == FORCE_DOWN)
			server_down(s, m->list[i], SEAT_NONE);
	}
	steer_let_come(s, was_out);
}

/* Members of which something else was said. */
static size_t count_others(const struct world *w, const struct meant *m, enum change_kind change)
{
	size_t n = 0;

	for (size_t i = m->n_said; i < m->n; i++) {
		const struct changed *c = &w->targets.list[m->list[i]].changed;

		if (change <= CHANGE_WEIGHT_FILE)
			n += changed_how(c) != WEIGHT_NOT_SAID;
		else if (change <= CHANGE_MAX_FILE)
			n += atomic_load(&c->max) != CHANGED_NOT_SAID;
		else if (change <= CHANGE_FORCE_AUTO)
			n += changed_force(c) != FORCE_NOT_SAID;
	}
	return n;
}

/* Of one that is forgotten, and is a member of a line that is not. */
static bool is_as_its_line(const struct world *w, const struct meant *m)
{
	struct buf commands = BUF_INIT;
	const char *line = m->n_said == 1 ? target_line(&w->targets, &w->targets.list[m->list[0]]) : NULL;
	bool any;

	if (line)
		changes_of_server(w, world_standing_anywhere(w, m->list[0]).line, 0, &commands);
	any = commands.len > 0;
	buf_release(&commands);
	return any;
}

static void describe_rest(const struct world *w, const struct meant *m, enum change_kind change, struct buf *text)
{
	size_t others = count_others(w, m, change);

	if (others > 0)
		buf_addf(text, "; %zu of its addresses %s what was said of %s", others, others == 1 ? "keeps" : "keep",
		         others == 1 ? "it" : "them");
	if (change == CHANGE_FORGET && is_as_its_line(w, m))
		buf_addf(text, ", but for what was said of %s", target_line(&w->targets, &w->targets.list[m->list[0]]));
}

bool steer_change(struct supervisor *s, const char *server, enum change_kind change, uint32_t n, struct buf *text)
{
	struct world *w = s->children.workers.world;
	bool back = change == CHANGE_FORGET && members_forget(s, server);
	struct buf why = BUF_INIT;
	struct meant m = meant_configured(w, s->rules.config, server, &why);
	bool any = back || m.n > 0;

	if (any) {
		change_meant(s, &m, change, n);
		if (s->inspect) /* else it is a start, which looks when all is there */
			health_look(s);
		describe(server, change, n, text);
		describe_rest(w, &m, change, text);
		log_info("tcpproxyctl: %s", text->s);
		buf_addc(text, '\n');
	} else {
		buf_adds(text, why.s);
	}
	meant_release(&m);
	buf_release(&why);
	return any;
}

void steer_forget_all(struct supervisor *s, struct buf *text)
{
	struct world *w = s->children.workers.world;
	bool *was_out;

	members_forget(s, NULL);
	was_out = steer_note_out(s);
	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++)
		forget(&w->targets.list[i]);
	for (uint32_t i = 0; i < atomic_load(&w->services.n); i++)
		atomic_store(&w->services.list[i].admin_state, ADMIN_STATE_BY_FILE);
	steer_let_come(s, was_out);
	log_info("tcpproxyctl: all is as the file says");
	buf_adds(text, "all is as the file says\n");
}

/* ---- what is changed ---- */

/* Those of the configuration; what is said of others means nothing now. */
static bool is_configured(const struct target *t)
{
	return atomic_load(&t->changed.line) != 0;
}

static void add_services(const struct world *w, const struct config *c, struct buf *out)
{
	for (uint32_t i = 0; i < atomic_load(&w->services.n); i++) {
		struct meant m = meant_services(w, c, service_label(&w->services.list[i]));

		if (m.n > 0)
			changes_of_service(&w->services.list[i], out);
		meant_release(&m);
	}
}

static void add_all(const struct supervisor *s,
                    void (*of_server)(const struct world *w, uint32_t target, int64_t now_ms, struct buf *out),
                    struct buf *out)
{
	const struct world *w = s->children.workers.world;

	members_changes(s, out);
	add_services(w, s->rules.config, out);
	for (unsigned stands = 2; stands-- > 0;) /* a line first: what is said of it reaches its members */
		for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++)
			if (is_configured(&w->targets.list[i]) && atomic_load(&w->targets.list[i].stands) == stands)
				of_server(w, i, s->loop.now_ms, out);
}

void steer_changes(const struct supervisor *s, struct buf *out)
{
	add_all(s, changes_of_server, out);
}

void steer_state_text(const struct supervisor *s, struct buf *out)
{
	add_all(s, state_of_server, out);
}

/* ---- what differs still ---- */

void steer_tell_changes(const struct supervisor *s)
{
	const struct world *w = s->children.workers.world;

	members_tell(s);
	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++) {
		struct buf commands = BUF_INIT, word = BUF_INIT, text = BUF_INIT;

		if (is_configured(&w->targets.list[i]))
			changes_of_server(w, i, s->loop.now_ms, &commands);
		if (commands.len > 0) {
			changes_word(w, i, &word);
			changes_join(commands.s, &text);
			log_info("reload: %s still differs from the file: %s (tcpproxyctl forget %s)", word.s, text.s,
			         word.s);
		}
		buf_release(&commands);
		buf_release(&word);
		buf_release(&text);
	}
}

/* ---- is it so? ---- */

/* Wherever it is in a pool: all of these are to be so. */
static bool is_so(const struct snapshot *shot, uint32_t target, enum server_is is)
{
	bool any = false;

	for (size_t i = 0; i < shot->n_members; i++) {
		const struct member_view *v = &shot->members[i];
		bool up = strcmp(v->state, "up") == 0 || strcmp(v->state, "untried") == 0;

		if (v->target != target)
			continue;
		any = true;
		if ((is == SERVER_IS_UP && !up) || (is == SERVER_IS_DOWN && strcmp(v->state, "down") != 0) ||
		    (is == SERVER_IS_DRAINED && v->connections > 0))
			return false;
	}
	return any;
}

/* It gets no new connection any more, wherever it stands. */
static bool is_drained(struct supervisor *s, uint32_t target)
{
	const struct config *c = s->rules.config;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			const struct standing *of = &standings_of(s, &c->sections[i])[k];

			if (of->target == target && !world_is_out(s->children.workers.world, of))
				return false;
		}
	return true;
}

int steer_is(struct supervisor *s, const char *server, enum server_is is, struct buf *text)
{
	struct meant m = meant_configured(s->children.workers.world, s->rules.config, server, text);
	struct snapshot *shot = m.n > 0 ? inspect_take(s, false) : NULL;
	bool any = is == SERVER_IS_DRAINED; /* so is a line that stands for none now */
	int result = m.n > 0 ? 1 : -1;

	for (size_t i = 0; i < m.n && result > 0; i++) {
		if (atomic_load(&s->children.workers.world->targets.list[m.list[i]].stands))
			continue;
		any = true;
		result = is_so(shot, m.list[i], is) && (is != SERVER_IS_DRAINED || is_drained(s, m.list[i]));
	}
	snapshot_free(shot);
	meant_release(&m);
	return result > 0 ? any : result;
}
