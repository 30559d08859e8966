#include "spawner/entries.h"

#include <string.h>
#include <unistd.h>
#include "os/proc.h"

struct program_entry *entry_take(struct programs_shared *p, enum program_kind kind, uint64_t key, int64_t until_ms)
{
	for (size_t i = 0; i < PROGRAMS_MAX; i++) {
		struct program_entry *e = &p->list[i];
		int nobody = 0;

		if (!atomic_compare_exchange_strong(&e->owner, &nobody, (int)getpid()))
			continue;
		__atomic_store_n(&e->pid, 0, __ATOMIC_RELEASE);
		atomic_store(&e->kind, kind);
		atomic_store(&e->key, key);
		atomic_store(&e->until_ms, until_ms);
		return e;
	}
	return NULL;
}

void entry_give_back(struct program_entry *e)
{
	if (!e || atomic_load(&e->owner) != getpid())
		return;
	__atomic_store_n(&e->pid, 0, __ATOMIC_RELEASE);
	atomic_store(&e->owner, 0);
}

void entry_failed(struct programs_shared *p, enum program_kind kind)
{
	atomic_fetch_add_explicit(&p->failed[kind], 1, memory_order_relaxed);
}

bool entry_is_one_of_us(pid_t pid)
{
	char own[PROC_PROGRAM_MAX], other[PROC_PROGRAM_MAX];

	if (pid <= 1 || pid == getpid() || pid == getppid())
		return true;
	proc_program(getpid(), own);
	proc_program(pid, other);
	return strcmp(own, other) == 0;
}
