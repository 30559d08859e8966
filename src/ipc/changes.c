#include "ipc/changes.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/shwords.h"
#include "base/text.h"

/* ---- as commands ---- */

void changes_word(const struct world *w, uint32_t target, struct buf *out)
{
	const struct target *t = &w->targets.list[target];

	if (t->of_service && t->of_service <= COUNTED_SERVICES)
		buf_addf(out, "%s/", service_label(&w->services.list[t->of_service - 1]));
	buf_adds(out, target_label(t));
}

static void add_force(enum force force, const char *word, struct buf *out)
{
	static const char *const words[FORCES] = {[FORCE_UP] = "up", [FORCE_DOWN] = "down", [FORCE_AUTO] = "auto"};

	if (force < FORCES && words[force])
		buf_addf(out, "force %s %s\n", word, words[force]);
}

static void add_weight(const struct changed *c, const char *word, struct buf *out)
{
	uint32_t n;
	enum weight_how how = changed_weight_how(c, &n);

	if (how == WEIGHT_BY_FILE)
		buf_addf(out, "weight %s file\n", word);
	else if (changed_has_weight(c))
		buf_addf(out, "weight %s %u%s\n", word, n, how == WEIGHT_PERCENT ? "%" : "");
}

static void add_max(const struct changed *c, const char *word, struct buf *out)
{
	if (changed_keeps_max(c))
		buf_addf(out, "max %s file\n", word);
	else if (changed_has_max(c))
		buf_addf(out, "max %s %u\n", word, changed_max(c, 0));
}

/* It would be out without. */
static bool enable_matters(const struct world *w, uint32_t target)
{
	struct standing of = world_standing_anywhere(w, target);
	unsigned line = of.line < TARGETS_MAX ? atomic_load(&w->targets.list[of.line].admin_state) : 0;

	return atomic_load(&w->targets.list[target].changed.disabled) || line == ADMIN_STATE_DISABLED ||
	       line == ADMIN_STATE_DRAINING;
}

static void add_admin_state(const struct world *w, uint32_t target, const char *word, int64_t now_ms, struct buf *out)
{
	const struct target *t = &w->targets.list[target];
	int64_t left_ms = atomic_load(&t->changed.drained_ms) - now_ms;
	char text[TEXT_TIME_MAX];

	switch (atomic_load(&t->admin_state)) {
	case ADMIN_STATE_ENABLED:
		if (enable_matters(w, target))
			buf_addf(out, "enable %s\n", word);
		break;
	case ADMIN_STATE_DISABLED:
		buf_addf(out, "disable %s\n", word);
		break;
	case ADMIN_STATE_DRAINING:
		buf_addf(out, "drain %s", word);
		if (left_ms > 0)
			buf_addf(out, " within %s", text_format_time(left_ms, text));
		buf_addc(out, '\n');
		break;
	}
}

void changes_of_server(const struct world *w, uint32_t target, int64_t now_ms, struct buf *out)
{
	const struct target *t = &w->targets.list[target];
	struct buf name = BUF_INIT, word = BUF_INIT;

	changes_word(w, target, &name);
	shwords_quote(name.s, &word);
	add_admin_state(w, target, word.s, now_ms, out);
	add_weight(&t->changed, word.s, out);
	add_max(&t->changed, word.s, out);
	add_force(changed_force(&t->changed), word.s, out);
	buf_release(&name);
	buf_release(&word);
}

void changes_of_service(const struct known_service *s, struct buf *out)
{
	unsigned state = atomic_load(&s->admin_state);

	if (state != ADMIN_STATE_DISABLED && state != ADMIN_STATE_DRAINING)
		return;
	buf_adds(out, state == ADMIN_STATE_DRAINING ? "drain " : "disable ");
	shwords_quote(service_label(s), out);
	buf_addc(out, '\n');
}

void changes_of_pool(bool added, const char *service, const char *server, struct buf *out)
{
	buf_adds(out, added ? "add " : "remove ");
	shwords_quote(service, out);
	buf_addc(out, ' ');
	shwords_quote(server, out);
	buf_addc(out, '\n');
}

void changes_of_added(const char *service, const struct server *server, struct buf *out)
{
	struct buf line = BUF_INIT;

	server_print(server, &line);
	changes_of_pool(true, service, line.s, out);
	buf_release(&line);
}

void changes_join(const char *commands, struct buf *out)
{
	for (; *commands; commands++)
		if (*commands != '\n')
			buf_addc(out, *commands);
		else if (commands[1])
			buf_adds(out, ", ");
}

/* ---- the file wins where it speaks ---- */

/* One line of a server in the file. */
struct line {
	uint32_t target;
	uint64_t says;
	bool disabled;
};

static uint64_t says_of(const struct server *s)
{
	const uint32_t numbers[] = {s->weight, s->max, s->backup, s->disabled};
	uint64_t h = hash_bytes(HASH_START, s->key, strlen(s->key) + 1);

	return hash_bytes(h, numbers, sizeof(numbers));
}

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	return x->says < y->says ? -1 : x->says > y->says;
}

static size_t add_line(const struct world *w, const struct config *c, const struct section *s,
                       const struct server *server, struct line *list, size_t n)
{
	uint32_t target = server->key ? world_target(w, c, s, server) : TARGET_NONE;

	if (target < TARGETS_MAX)
		list[n++] = (struct line){target, says_of(server), server->disabled};
	return n;
}

static struct line *lines_of(const struct world *w, const struct config *c, size_t *ret)
{
	struct line *list = NULL;
	size_t n = 0;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		list = mem_resize(list, n + s->n_servers + s->n_sources + 1, sizeof(*list));
		for (size_t k = 0; k < s->n_sources; k++)
			n = add_line(w, c, s, &s->sources[k].of, list, n);
		for (size_t k = 0; k < s->n_servers; k++)
			n = add_line(w, c, s, &s->servers[k], list, n);
	}
	if (n > 1)
		qsort(list, n, sizeof(*list), compare_lines);
	*ret = n;
	return list;
}

/* Of all sections that have it, whose lines say the same or not: a section more that says the same changes nothing. 0: none has it. */
static uint64_t line_of(const struct line *lines, size_t n, uint32_t target, size_t *at, bool *disabled)
{
	uint64_t line = 0, before = 0;

	*disabled = *at < n && lines[*at].target == target;
	for (; *at < n && lines[*at].target == target; ++*at) {
		if (lines[*at].says != before || line == 0)
			line = hash_bytes(line ? line : HASH_START, &lines[*at].says, sizeof(lines[*at].says));
		before = lines[*at].says;
		*disabled = *disabled && lines[*at].disabled;
	}
	return line;
}

/* Whether clients may come is forgotten only if the file speaks about just that: who has taken a server out does not expect it to
 * come back with its weight. */
static void forget_by(struct target *t, uint64_t line, bool disabled)
{
	changed_forget(&t->changed);
	if (line && disabled != (bool)atomic_load(&t->changed.disabled))
		atomic_store(&t->admin_state, ADMIN_STATE_BY_FILE);
}

static void tell(const struct world *w, uint32_t target, bool gone, const char *before, const char *after,
                 void (*forgotten)(void *arg, const char *server, bool gone, const char *commands), void *arg)
{
	struct buf word = BUF_INIT;

	changes_word(w, target, &word);
	if (strcmp(before, after) != 0)
		forgotten(arg, word.s, gone, before);
	buf_release(&word);
}

static void take_line(struct world *w, uint32_t target, uint64_t line, bool disabled,
                      void (*forgotten)(void *arg, const char *server, bool gone, const char *commands), void *arg)
{
	struct target *t = &w->targets.list[target];
	struct buf before = BUF_INIT, after = BUF_INIT;
	int64_t now_ms = clock_mono_ms();

	changes_of_server(w, target, now_ms, &before);
	forget_by(t, line, disabled);
	changes_of_server(w, target, now_ms, &after);
	if (before.len > 0)
		tell(w, target, line == 0, before.s, after.s ? after.s : "", forgotten, arg);
	buf_release(&before);
	buf_release(&after);
}

/* At the start of the program nothing has come: it is as if all had been there for ever. */
static bool is_start(const struct world *w)
{
	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++)
		if (atomic_load(&w->targets.list[i].changed.line) != 0)
			return false;
	return true;
}

/* The file has it anew, or no longer calls it disabled. */
static bool file_lets_it_come(const struct target *t, uint64_t line, bool disabled)
{
	return line && !disabled && (atomic_load(&t->changed.line) == 0 || atomic_load(&t->changed.disabled)) &&
	       atomic_load(&t->admin_state) != ADMIN_STATE_ENABLED;
}

void changes_take(struct world *w, const struct config *c,
                  void (*forgotten)(void *arg, const char *server, bool gone, const char *commands), void *arg)
{
	size_t n, at = 0;
	struct line *lines = lines_of(w, c, &n);
	bool start = is_start(w);

	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++) {
		struct changed *now = &w->targets.list[i].changed;
		bool disabled;
		uint64_t line = line_of(lines, n, i, &at, &disabled);

		if (!start && file_lets_it_come(&w->targets.list[i], line, disabled))
			changed_came(now, clock_mono_ms());
		if (line != atomic_load(&now->line))
			take_line(w, i, line, disabled, forgotten, arg);
		/* the words first: who dies in between forgets once more */
		atomic_store(&now->disabled, disabled);
		atomic_store(&now->line, line);
	}
	free(lines);
}
