#include "spawner/left.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "program/run.h"
#include "spawner/entries.h"
#include "spawner/spawner_parts.h"

#define LEFT_UNTIL_MAX_MS 600000 /* what stands in shared memory may be anything */

struct left {
	struct left *next, **link;
	struct spawner *spawner;
	struct program_entry *entry;
	uint64_t key; /* 0: of none, a check's */
	char *label;
	struct timer limit;
	struct run run;
};

static void left_free(struct left *l)
{
	timer_clear(l->spawner->setup.loop, &l->limit);
	run_release(&l->run);
	*l->link = l->next;
	if (l->next)
		l->next->link = l->link;
	free(l->label);
	free(l);
}

static void left_event(void *arg, enum run_event event, int value)
{
	struct left *l = arg;
	struct spawner *s = l->spawner;

	(void)value;
	if (event == RUN_ENDED) {
		entry_give_back(l->entry);
		l->key = 0;
		s->running--;
		s->ended(s);
	} else if (event == RUN_FINISHED) {
		left_free(l);
	}
}

static void left_late(void *arg)
{
	struct left *l = arg;

	log_warning("%s has taken too long, and is ended", l->label);
	run_end(&l->run, 0);
}

static void left_look_after(struct left *l, enum program_kind kind)
{
	int64_t now_ms = clock_mono_ms(), until_ms = atomic_load(&l->entry->until_ms);

	if (kind != PROGRAM_NOTIFY) {
		run_end(&l->run, 0);
		return;
	}
	if (until_ms > now_ms + LEFT_UNTIL_MAX_MS)
		until_ms = now_ms + LEFT_UNTIL_MAX_MS;
	timer_set(l->spawner->setup.loop, &l->limit, until_ms, left_late, l);
}

/* False: there is no such program any more. */
static bool left_adopt(struct spawner *s, struct program_entry *e, enum program_kind kind, pid_t pid)
{
	struct left *l;

	if (entry_is_one_of_us(pid))
		return false;
	l = mem_alloc(sizeof(*l));
	*l = (struct left){.next = s->left, .link = &s->left, .spawner = s, .entry = e};
	l->label = mem_printf("program %d of a spawner that is dead", pid);
	if (run_adopt(&l->run, s->setup.loop, pid, l->label, left_event, l) < 0) {
		free(l->label);
		free(l);
		return false;
	}
	if (l->next)
		l->next->link = &l->next;
	s->left = l;
	l->key = kind == PROGRAM_NOTIFY ? atomic_load(&e->key) : 0;
	s->running++;
	atomic_store(&e->owner, (int)getpid());
	left_look_after(l, kind);
	return true;
}

/* A spawner that waits for its last programs is there beside us: what it is about to start will be seen by it. */
static bool lives(pid_t spawner)
{
	return spawner > 1 && spawner != getpid() && entry_is_one_of_us(spawner) && kill(spawner, 0) == 0;
}

void left_take(struct spawner *s)
{
	for (size_t i = 0; i < PROGRAMS_MAX; i++) {
		struct program_entry *e = &s->programs->list[i];
		int owner = atomic_load(&e->owner);
		pid_t pid = __atomic_load_n(&e->pid, __ATOMIC_ACQUIRE);

		if (owner == 0 || (pid == 0 && lives(owner)))
			continue;
		if (pid > 0 && left_adopt(s, e, atomic_load(&e->kind), pid))
			continue;
		__atomic_store_n(&e->pid, 0, __ATOMIC_RELEASE);
		atomic_store(&e->owner, 0);
	}
}

bool left_runs(const struct spawner *s, uint64_t key)
{
	for (const struct left *l = s->left; l; l = l->next)
		if (l->key == key)
			return true;
	return false;
}

void left_stop(struct spawner *s)
{
	for (struct left *l = s->left; l; l = l->next)
		run_end(&l->run, SPAWNER_KILL_AFTER_MS);
}

void left_release(struct spawner *s)
{
	while (s->left)
		left_free(s->left);
}
