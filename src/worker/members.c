/* members.c - a worker watches its keepers and the supervisor: takeover/keeper.h says what follows. */
#include "takeover/keeper.h"
#include "worker/worker_parts.h"

#define MEMBERS_AGAIN_MS 20 /* a keeper that is just being replaced cannot be watched yet */

struct worker_self self;

static void watch_members(void);

static void members_changed(void *arg)
{
	(void)arg;
	trio_worker_check();
	watch_members();
}

static void member_event(void *arg, uint32_t events)
{
	members_changed(arg);
}

static void watch_members(void)
{
	struct loop *loop = &self.engine.loop;
	int fds[3];
	int n = trio_worker_pidfds(fds);

	for (int i = 0; i < 3; i++) {
		watch_remove(loop, &self.members[i]);
		if (i < n)
			watch_keep(loop, &self.members[i], fds[i], EPOLLIN, member_event, NULL);
	}
	if (!trio_worker_watches_all())
		timer_set(loop, &self.members_timer, loop->now_ms + MEMBERS_AGAIN_MS, members_changed, NULL);
}

void worker_watch_members(void)
{
	watch_members();
}

void worker_members_changed(void)
{
	members_changed(NULL);
}
