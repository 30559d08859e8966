#include "children/children.h"

#include <sys/wait.h>

#define REAP_AGAIN_MS 50

void children_none(struct children *c)
{
	*c = (struct children){.spawner = {.workers = &c->workers, .child.control.fd = -1, .old_fd = -1},
	                       .page = {.workers = &c->workers, .child.control.fd = -1},
	                       .checker = {.workers = &c->workers, .child.control.fd = -1},
	                       .notices.channel.fd = -1,
	                       .dump = {.workers = &c->workers, .fd = -1}};
}

static void join_others(void *arg)
{
	struct children *c = arg;

	checker_child_join(&c->checker);
	notices_join(&c->notices);
}

void children_init(struct children *c)
{
	struct strangers *s = &c->workers.strangers;

	strangers_know(s, &c->spawner.child.pid);
	strangers_know(s, &c->page.child.pid);
	strangers_know(s, &c->checker.child.pid);
	strangers_know(s, &c->dump.pid);
	strangers_know(s, &c->trial);
	balance_init(&c->balance, &c->workers);
	spawner_child_init(&c->spawner);
	c->spawner.anew = join_others;
	c->spawner.arg = c;
	c->checker.spawner = &c->spawner;
	page_child_init(&c->page);
	checker_child_init(&c->checker);
	notices_init(&c->notices, c->workers.loop, &c->spawner);
}

static void reap_again(void *arg)
{
	children_reap(arg);
}

void children_reap(struct children *c)
{
	struct workers *ws = &c->workers;

	for (;;) {
		siginfo_t info = {.si_pid = 0};
		int status;

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		if (info.si_pid == c->trial) {
			timer_set(ws->loop, &c->reap_timer, ws->loop->now_ms + REAP_AGAIN_MS, reap_again, c);
			return;
		}
		if (waitpid(info.si_pid, &status, WNOHANG) != info.si_pid)
			continue;
		if (info.si_pid == c->spawner.child.pid) {
			spawner_child_died(&c->spawner, status);
			if (*ws->phase == PHASE_STOPPING)
				ws->events->gone(ws->arg);
		} else if (info.si_pid == c->dump.pid) {
			dump_lost(&c->dump);
		} else if (info.si_pid == c->page.child.pid) {
			page_child_died(&c->page, status);
		} else if (info.si_pid == c->checker.child.pid) {
			checker_child_died(&c->checker, status);
		}
	}
}
