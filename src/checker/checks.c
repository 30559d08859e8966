#include "checker/checks.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "checker/dialog.h"

#define LATE_AGAIN_MS   20
#define UNDONE_MS       100  /* until it is asked again by a program */
#define PROGRAM_LATE_MS 2000 /* one that has its time behind it so long, and is not answered for, is asked again */
#define NO_ADDRESS      "the name has no address"

struct one {
	struct checks *all;
	struct check check;
	struct timer timer;
	struct dialog *dialog; /* NULL: it is not being asked, or: */
	uint64_t program;      /* the number of what a program is asked; 0: nothing */
	int64_t began_ms, began_us, deadline_ms;
	bool heard; /* the server has said something */
	bool again; /* at once, when this one is over */
	struct addr addrs[CHECK_ADDRS];
	size_t n_addrs, at; /* that are asked; the one that is */
};

struct checks {
	struct loop *loop;
	struct checks_ops ops;
	unsigned under_way, at_once;
	uint64_t late;
	uint64_t random;   /* so that checks of many do not fall into step */
	struct one **list; /* by key */
	size_t n;
};

static void check_begin(void *arg);

static void plan(struct one *o, int64_t at_ms)
{
	timer_set(o->all->loop, &o->timer, at_ms, check_begin, o);
}

/* The next one begins as long after this one began as the state wants; not before this one is over. */
static void plan_next(struct one *o)
{
	struct checks *c = o->all;
	int64_t at_ms =
	        o->began_ms + pulse_pause_ms(o->check.pulse, &o->check.rule, (uint32_t)(random_next(&c->random) >> 32));

	if (o->again)
		at_ms = c->loop->now_ms;
	o->again = false;

	plan(o, at_ms > c->loop->now_ms ? at_ms : c->loop->now_ms);
}

static bool is_under_way(const struct one *o)
{
	return o->dialog || o->program;
}

static void over(struct one *o, bool yes, const char *words)
{
	struct checks *c = o->all;
	struct check_answer a = {.began_ms = o->began_ms,
	                         .yes = yes,
	                         .heard = o->heard,
	                         .words = words,
	                         .took_us = clock_mono_us() - o->began_us};

	o->dialog = NULL;
	o->program = 0;
	c->under_way--;
	if (o->at < o->n_addrs)
		a.at = &o->addrs[o->at];
	a.changed = pulse_hears(o->check.pulse, &o->check.rule, yes);
	plan_next(o);
	c->ops.answered(c->ops.arg, o->check.owner, &a);
}

static void ask(struct one *o);

static void check_answered(void *arg, bool yes, const char *words)
{
	struct one *o = arg;

	if (!yes && o->at + 1 < o->n_addrs && o->all->loop->now_ms < o->deadline_ms) {
		o->at++;
		ask(o);
	} else {
		over(o, yes, words);
	}
}

/* Nothing has been found out. */
static void undone(struct one *o)
{
	o->program = 0;
	o->all->under_way--;
	plan(o, o->all->loop->now_ms + UNDONE_MS);
}

static void no_answer(void *arg)
{
	undone(arg);
}

static void ask_program(struct one *o, int64_t left_ms)
{
	struct checks *c = o->all;

	o->program =
	        c->ops.run(c->ops.arg, o->check.owner, o->at < o->n_addrs ? &o->addrs[o->at] : NULL, (uint32_t)left_ms);
	if (!o->program) {
		c->late++;
		undone(o);
	} else {
		timer_set(c->loop, &o->timer, c->loop->now_ms + left_ms + PROGRAM_LATE_MS, no_answer, o);
	}
}

static void ask(struct one *o)
{
	struct checks *c = o->all;
	const struct check *k = &o->check;
	int64_t left_ms = o->deadline_ms - c->loop->now_ms;

	/* the addresses that are left have a share of the time each: one that is silent is not to take all of it */
	if (o->n_addrs > o->at)
		left_ms /= (int64_t)(o->n_addrs - o->at);
	if (k->program) {
		ask_program(o, left_ms);
		return;
	}
	o->dialog = dialog_start(&(struct dialog_setup){.loop = c->loop,
	                                                .script = &k->script,
	                                                .to = &o->addrs[o->at],
	                                                .unix_path = k->unix_path,
	                                                .from = &k->from,
	                                                .device = k->device,
	                                                .mark = k->mark,
	                                                .dscp = k->dscp,
	                                                .netns = k->netns,
	                                                .blanks = c->ops.blanks,
	                                                .timeout_ms = left_ms,
	                                                .heard = &o->heard,
	                                                .done = check_answered,
	                                                .arg = o});
}

static void check_begin(void *arg)
{
	struct one *o = arg;
	struct checks *c = o->all;

	if (c->under_way >= c->at_once) {
		c->late++;
		plan(o, c->loop->now_ms + LATE_AGAIN_MS);
		return;
	}
	c->under_way++;
	o->began_ms = c->loop->now_ms;
	o->began_us = clock_mono_us();
	o->deadline_ms = o->began_ms + o->check.timeout_ms;
	o->at = 0;
	o->heard = false;
	o->n_addrs = o->check.unix_path ? 0 : c->ops.addresses(c->ops.arg, o->check.owner, o->addrs);
	if (o->n_addrs == 0 && !o->check.unix_path)
		over(o, false, NO_ADDRESS);
	else
		ask(o);
}

/* ---- which there are ---- */

static struct one *one_new(struct checks *c, const struct check *check)
{
	struct one *o = mem_alloc(sizeof(*o));
	uint32_t first_ms = pulse_first_ms(&check->rule, check->key);

	*o = (struct one){.all = c, .check = *check};
	if (check->pulse->state == PULSE_UNKNOWN && first_ms >= CHECK_FIRST_MS)
		first_ms = (uint32_t)(check->key % CHECK_FIRST_MS);
	plan(o, c->loop->now_ms + first_ms);
	return o;
}

static void one_free(struct one *o)
{
	timer_clear(o->all->loop, &o->timer);
	if (o->dialog)
		dialog_cancel(o->dialog);
	o->all->under_way -= is_under_way(o);
	script_release(&o->check.script);
	free(o);
}

/* What has changed of a check without its becoming another one: who owns it, how often it is asked. Its script is the same, by the
 * key, so that one under way goes on with it; its texts are the new owner's. */
static void renew(struct one *o, const struct check *check)
{
	script_release(&o->check.script);
	o->check = *check;
}

static int compare_checks(const void *a, const void *b)
{
	uint64_t x = ((const struct check *)a)->key, y = ((const struct check *)b)->key;

	return x < y ? -1 : x > y;
}

void checks_take(struct checks *c, struct check *list, size_t n)
{
	struct one **before = c->list;
	size_t n_before = c->n, k = 0;

	if (n > 1)
		qsort(list, n, sizeof(*list), compare_checks);
	c->list = mem_alloc((n + 1) * sizeof(*c->list));
	c->n = n;
	for (size_t i = 0; i < n; i++) {
		while (k < n_before && before[k]->check.key < list[i].key)
			one_free(before[k++]);
		if (k < n_before && before[k]->check.key == list[i].key) {
			c->list[i] = before[k++];
			renew(c->list[i], &list[i]);
		} else {
			c->list[i] = one_new(c, &list[i]);
		}
	}
	while (k < n_before)
		one_free(before[k++]);
	free(before);
}

static struct one *find(const struct checks *c, uint64_t key)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->list[middle]->check.key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->n && c->list[low]->check.key == key ? c->list[low] : NULL;
}

void checks_hurry(struct checks *c, uint64_t key)
{
	struct one *o = find(c, key);
	int64_t at_ms;

	if (!o || is_under_way(o))
		return;
	at_ms = o->began_ms ? o->began_ms + o->check.rule.fast_ms : 0; /* many clients may have no luck */
	if (at_ms < c->loop->now_ms)
		at_ms = c->loop->now_ms;
	if (at_ms < o->timer.at_ms)
		plan(o, at_ms);
}

void checks_program_answered(struct checks *c, uint64_t number, enum check_program answer, const char *words)
{
	for (size_t i = 0; i < c->n; i++) {
		struct one *o = c->list[i];

		if (o->program != number)
			continue;
		timer_clear(c->loop, &o->timer);
		o->program = 0;
		if (answer == CHECK_PROGRAM_UNDONE)
			undone(o);
		else
			check_answered(o, answer == CHECK_PROGRAM_YES, words);
		return;
	}
}

void checks_now(struct checks *c, uint64_t key)
{
	struct one *o = find(c, key);

	if (o && (o->dialog || o->program))
		o->again = true;
	else if (o)
		plan(o, c->loop->now_ms);
}

uint64_t checks_late(const struct checks *c)
{
	return c->late;
}

struct checks *checks_new(struct loop *loop, const struct checks_ops *ops, unsigned at_once)
{
	struct checks *c = mem_alloc(sizeof(*c));

	*c = (struct checks){.loop = loop, .ops = *ops, .at_once = at_once};
	c->random = random_seed();
	return c;
}

void checks_free(struct checks *c)
{
	if (!c)
		return;
	checks_take(c, NULL, 0);
	free(c->list);
	free(c);
}
