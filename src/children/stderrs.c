#include "children/stderrs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "program/lines.h"

#define REST_MS 1000

struct kept {
	struct stderrs *owner;
	struct kept *next, **link;
	char *label;
	int fd;
	struct watch hangup; /* while the spawner reads */
	struct timer timer;
	struct lines *lines; /* once we do; else NULL */
};

struct stderrs {
	struct loop *loop;
	struct kept *list;
};

struct stderrs *stderrs_new(struct loop *l)
{
	struct stderrs *s = mem_alloc(sizeof(*s));

	s->loop = l;
	return s;
}

static void forget(struct kept *k)
{
	timer_clear(k->owner->loop, &k->timer);
	*k->link = k->next;
	if (k->next)
		k->next->link = k->link;
	free(k->lines);
	free(k->label);
	free(k);
}

static void on_end(void *arg)
{
	forget(arg);
}

static void read_it(void *arg)
{
	struct kept *k = arg;

	if (k->lines)
		return;
	timer_clear(k->owner->loop, &k->timer);
	watch_remove(k->owner->loop, &k->hangup);
	k->lines = mem_alloc(sizeof(*k->lines));
	if (lines_start(k->lines, k->owner->loop, k->fd, LOG_LEVEL_INFO, k->label, on_end, k) < 0)
		forget(k);
}

/* Every writer has gone. The spawner reads the rest; if it is dead, and we have not heard of that yet, we
 * find it a moment later. */
static void on_hangup(void *arg, uint32_t events)
{
	struct kept *k = arg;
	struct loop *l = k->owner->loop;

	if (!(events & (EPOLLHUP | EPOLLERR)))
		return;
	watch_remove(l, &k->hangup);
	timer_set(l, &k->timer, l->now_ms + REST_MS, read_it, k);
}

/* The sender has it, too, and might make us wait there, or send something that is not a pipe at all. So it is opened
 * once more, for us alone. Returns a descriptor or -1; fd is closed. */
static int own_end(int fd)
{
	char path[40];
	struct stat st;
	int own = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		own = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	close(fd);
	return own;
}

void stderrs_keep(struct stderrs *s, int fd, const char *label)
{
	struct kept *k;

	fd = own_end(fd);
	if (fd < 0)
		return;
	k = mem_alloc(sizeof(*k));
	*k = (struct kept){.owner = s, .next = s->list, .link = &s->list, .fd = fd};
	k->label = mem_strdup(label);
	if (s->list)
		s->list->link = &k->next;
	s->list = k;
	/* no event is asked for: a hang-up is always told */
	if (watch_add(s->loop, &k->hangup, fd, 0, on_hangup, k) < 0) {
		close(fd);
		forget(k);
	}
}

void stderrs_read(struct stderrs *s)
{
	struct kept *next;

	for (struct kept *k = s->list; k; k = next) {
		next = k->next;
		read_it(k);
	}
}
