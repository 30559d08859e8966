#include "event/spin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "event/loop.h"

#define TURNS       500
#define LOOK_CLOSER 400 /* from here on it is measured whether a turn waits */
#define WAITED_US   200
#define THROTTLE_MS 20

int64_t spin_before_wait(const struct loop *l)
{
	if (l->spin.throttled)
		poll(NULL, 0, THROTTLE_MS);
	return l->spin.turns >= LOOK_CLOSER ? clock_mono_us() : 0;
}

void spin_after_wait(struct loop *l, int64_t before_us, int n)
{
	struct spin *s = &l->spin;
	int i = 0;

	if (before_us && clock_mono_us() - before_us > WAITED_US)
		s->turns = 0;
	while (s->turns > 0 && i < n && l->events[i].data.u64 != s->token)
		i++;
	if (n <= 0 || i == n) {
		s->turns = 0;
		i = 0;
	}
	if (n <= 0)
		return;
	s->token = l->events[i].data.u64;
	s->events = l->events[i].events;
	s->turns++;
}

/* Are the events of this descriptor? Else they are another's, which had its number. Files are always ready. */
static bool spin_is_of(int fd, uint32_t events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};

	return fd >= 0 && poll(&p, 1, 0) == 1 && !(p.revents & POLLNVAL) && (p.revents & (short)events);
}

static const char *names(uint32_t events, char ret[64])
{
	static const struct {
		uint32_t bit;
		const char *name;
	} list[] = {{EPOLLIN, "IN"},       {EPOLLOUT, "OUT"}, {EPOLLPRI, "PRI"},
	            {EPOLLRDHUP, "RDHUP"}, {EPOLLHUP, "HUP"}, {EPOLLERR, "ERR"}};
	size_t len = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (events & list[i].bit)
			len += (size_t)snprintf(ret + len, 64 - len, "%s%s", len ? "|" : "", list[i].name);
	return ret;
}

void spin_tell(const char *what, int fd, uint32_t events, const char *then)
{
	char text[64];

	log_error("a fault of this program: %s (descriptor %d) is told of in %d turns in a row (%s%s), and nothing "
	          "comes of it: %s",
	          what, fd, TURNS, names(events, text), spin_is_of(fd, events) ? "" : "; poll() knows nothing of that",
	          then);
}

bool spin_drop(struct loop *l, int fd, uint64_t token)
{
	struct spin *s = &l->spin;
	bool again = s->dropped == token; /* another registration went */

	s->dropped = token;
	return !again && spin_is_of(fd, s->events) && epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL) == 0;
}

static void act(struct loop *l, int fd)
{
	struct spin *s = &l->spin;

	if (l->spins && l->spins(l->spins_arg, s->token, s->events))
		return;
	if (spin_drop(l, fd, s->token)) {
		spin_tell("something that is watched", fd, s->events, "it is not watched any more");
	} else if (!s->throttled) {
		spin_tell("something that was watched", fd, s->events,
		          "from now on this process looks 50 times a second");
		s->throttled = true;
	}
}

void spin_after_turn(struct loop *l, int (*watched)(struct loop *l, uint64_t token))
{
	struct spin *s = &l->spin;

	if (progress_made != s->seen)
		s->turns = 0;
	s->seen = progress_made;
	if (s->turns < TURNS)
		return;
	act(l, watched(l, s->token));
	s->turns = 0;
}

#ifdef FAULTS
#define PLANT_LATER_MS 1000

static void nobody_reads(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
}

static void plant(struct loop *l, bool stale)
{
	static struct watch w;
	int ends[2]; /* what a confined worker may make */

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 || write(ends[1], "", 1) < 0)
		return;
	watch_add(l, &w, ends[0], EPOLLIN, nobody_reads, NULL);
	if (stale && fcntl(ends[0], F_DUPFD_CLOEXEC, 0) >= 0) /* which stays open */
		close(ends[0]);
}

static void plant_stale(void *arg)
{
	plant(arg, true);
}

void spin_plant(struct loop *l, const char *variable)
{
	static struct timer later;
	const char *which = getenv(variable);

	if (which && strcmp(which, "stale later") == 0)
		timer_set(l, &later, l->now_ms + PLANT_LATER_MS, plant_stale, l);
	else if (which)
		plant(l, strcmp(which, "stale") == 0);
}

void spin_plant_row(struct loop *l, const char *variable, int fd, uint64_t token)
{
	if (getenv(variable))
		loop_change(l, fd, EPOLLOUT, token);
}
#endif
