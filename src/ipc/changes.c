#include "ipc/changes.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/shwords.h"
#include "base/text.h"

/* ---- as commands ---- */

void changes_word(const struct world *w, const struct spoken *of, struct buf *out)
{
	const struct target *t = &w->targets.list[of->target];
	uint32_t service = t->of_service ? t->of_service - 1 : of->service;

	if (service < COUNTED_SERVICES)
		buf_addf(out, "%s/", service_label(&w->services.list[service]));
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
static bool enable_matters(const struct world *w, const struct spoken *of)
{
	struct spoken list[SPOKEN_MAX];
	size_t n = world_farther(w, of, list);

	for (size_t i = 0; i < n; i++) {
		unsigned state = atomic_load(list[i].admin_state);

		if (state != ADMIN_STATE_BY_FILE)
			return state != ADMIN_STATE_ENABLED;
	}
	return atomic_load(&of->changed->disabled);
}

static void add_admin_state(const struct world *w, const struct spoken *of, const char *word, int64_t now_ms,
                            struct buf *out)
{
	int64_t left_ms = atomic_load(&of->changed->drained_ms) - now_ms;
	char text[TEXT_TIME_MAX];

	switch (atomic_load(of->admin_state)) {
	case ADMIN_STATE_ENABLED:
		if (enable_matters(w, of))
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

void changes_of(const struct world *w, const struct spoken *of, int64_t now_ms, struct buf *out)
{
	struct buf name = BUF_INIT, word = BUF_INIT;

	changes_word(w, of, &name);
	shwords_quote(name.s, &word);
	add_admin_state(w, of, word.s, now_ms, out);
	add_weight(of->changed, word.s, out);
	add_max(of->changed, word.s, out);
	add_force(changed_force(of->changed), word.s, out);
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

/* ---- what the file says ---- */

/* One line of a server in the file. */
struct line {
	uint32_t target;
	uint32_t service, whole; /* of its section */
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
	uint32_t service = world_service(w, c, s);

	if (target < TARGETS_MAX)
		list[n++] = (struct line){target, service, service_whole(&w->services, service), says_of(server),
		                          server->disabled};
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

static bool is_in(const struct line *line, uint32_t service)
{
	return service >= COUNTED_SERVICES || line->service == service || line->whole == service;
}

/* Of all sections that have it, or (service) of those of one service, whose lines say the same or not: a section more that says the same
 * changes nothing. 0: none has it. at: the first of its lines, or of one behind it; of another one then. */
static uint64_t line_of(const struct line *lines, size_t n, uint32_t target, uint32_t service, size_t *at,
                        bool *disabled)
{
	uint64_t line = 0, before = 0;
	bool all = true;

	for (; *at < n && lines[*at].target == target; ++*at) {
		const struct line *now = &lines[*at];

		if (!is_in(now, service))
			continue;
		if (now->says != before || line == 0)
			line = hash_bytes(line ? line : HASH_START, &now->says, sizeof(now->says));
		before = now->says;
		all = all && now->disabled;
	}
	*disabled = line && all;
	return line;
}

static uint64_t line_of_spot(const struct line *lines, size_t n, const struct spot *p, bool *disabled)
{
	size_t first = 0, end = n;

	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (lines[middle].target < spot_target(p))
			first = middle + 1;
		else
			end = middle;
	}
	return line_of(lines, n, spot_target(p), spot_service(p), &first, disabled);
}

/* ---- the file wins where it speaks ---- */

struct words words_of_target(struct world *w, uint32_t target)
{
	struct target *t = &w->targets.list[target];

	return (struct words){&t->admin_state, &t->changed, world_spoken_of(w, target)};
}

struct words words_of_spot(struct spot *p)
{
	return (struct words){&p->admin_state, &p->changed, spoken_of_spot(p)};
}

void words_forget(const struct words *words)
{
	changed_forget(words->changed);
	atomic_store(words->admin_state, ADMIN_STATE_BY_FILE);
	atomic_store(&words->changed->drained_ms, 0);
}

/* Whether clients may come is forgotten only if the file speaks about just that: who has taken a server out does not expect it to
 * come back with its weight. */
static void forget_by(const struct words *words, uint64_t line, bool disabled)
{
	changed_forget(words->changed);
	if (line && disabled != (bool)atomic_load(&words->changed->disabled))
		atomic_store(words->admin_state, ADMIN_STATE_BY_FILE);
}

/* Who hears of what is forgotten. */
struct hearer {
	void (*forgotten)(void *arg, const char *server, bool gone, const char *commands);
	void *arg;
};

static void tell(const struct world *w, const struct spoken *of, bool gone, const char *before, const char *after,
                 const struct hearer *hearer)
{
	struct buf word = BUF_INIT;

	changes_word(w, of, &word);
	if (strcmp(before, after) != 0)
		hearer->forgotten(hearer->arg, word.s, gone, before);
	buf_release(&word);
}

static void take_line(const struct world *w, const struct words *words, uint64_t line, bool disabled,
                      const struct hearer *hearer)
{
	struct buf before = BUF_INIT, after = BUF_INIT;
	int64_t now_ms = clock_mono_ms();

	changes_of(w, &words->of, now_ms, &before);
	forget_by(words, line, disabled);
	changes_of(w, &words->of, now_ms, &after);
	if (before.len > 0)
		tell(w, &words->of, line == 0, before.s, after.s ? after.s : "", hearer);
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

static void take(const struct world *w, const struct words *words, uint64_t line, bool disabled,
                 const struct hearer *hearer)
{
	if (line != atomic_load(&words->changed->line))
		take_line(w, words, line, disabled, hearer);
	/* the words first: who dies in between forgets once more */
	atomic_store(&words->changed->disabled, disabled);
	atomic_store(&words->changed->line, line);
}

static void take_spots(struct world *w, const struct line *lines, size_t n, const struct hearer *hearer)
{
	for (uint32_t i = 0; i < SPOTS_MAX && atomic_load(&w->spots.n) > 0; i++) {
		struct spot *p = &w->spots.list[i];
		const struct words words = words_of_spot(p);
		bool disabled;
		uint64_t line;

		if (!spot_speaks(p))
			continue;
		line = line_of_spot(lines, n, p, &disabled);
		take(w, &words, line, disabled, hearer);
	}
}

void changes_take(struct world *w, const struct config *c,
                  void (*forgotten)(void *arg, const char *server, bool gone, const char *commands), void *arg)
{
	const struct hearer hearer = {forgotten, arg};
	size_t n, at = 0;
	struct line *lines = lines_of(w, c, &n);
	bool start = is_start(w);

	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++) {
		const struct words words = words_of_target(w, i);
		bool disabled;
		uint64_t line = line_of(lines, n, i, COUNTED_SERVICES, &at, &disabled);

		if (!start && file_lets_it_come(&w->targets.list[i], line, disabled))
			changed_came(words.changed, clock_mono_ms());
		take(w, &words, line, disabled, &hearer);
	}
	take_spots(w, lines, n, &hearer);
	free(lines);
}

struct spot *changes_spot(struct world *w, const struct config *c, uint32_t service, uint32_t target)
{
	struct spot *p = spots_add(&w->spots, service, target);
	struct line *lines;
	bool disabled;
	size_t n;

	if (!p || atomic_load(&p->changed.line))
		return p;
	lines = lines_of(w, c, &n);
	atomic_store(&p->changed.line, line_of_spot(lines, n, p, &disabled));
	atomic_store(&p->changed.disabled, disabled);
	free(lines);
	return p;
}
