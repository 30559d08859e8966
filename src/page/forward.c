#include "page/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/progress.h"

struct forward {
	struct loop *loop;
	int fd;
	struct watch watch;
	struct timer timer;
	struct buf answer;
	void (*done)(void *arg, bool obeyed, const char *text);
	void *arg;
};

static void over(struct forward *f, bool obeyed, const char *text)
{
	timer_clear(f->loop, &f->timer);
	watch_remove(f->loop, &f->watch);
	close(f->fd);
	f->done(f->arg, obeyed, text);
	buf_release(&f->answer);
	free(f);
}

/* "ok CODE LENGTH\nTEXT" or "error TEXT\n". */
static void take_apart(struct forward *f)
{
	char *text = f->answer.s, *end = text ? strchr(text, '\n') : NULL;

	if (end && strncmp(text, "ok ", 3) == 0) {
		over(f, true, end + 1);
	} else if (end && strncmp(text, "error ", 6) == 0) {
		*end = '\0';
		over(f, false, text + 6);
	} else {
		over(f, false, "the supervisor gave no answer");
	}
}

static void read_some(void *arg, uint32_t events)
{
	struct forward *f = arg;
	char piece[4096];

	for (;;) {
		ssize_t n = recv(f->fd, piece, sizeof(piece), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || f->answer.len + (size_t)n > FORWARD_ANSWER_MAX) {
			take_apart(f);
			return;
		}
		progress();
		buf_add(&f->answer, piece, (size_t)n);
	}
}

static void forward_too_slow(void *arg)
{
	over(arg, false, "the supervisor has not answered in time; the log says how it went");
}

void forward_command(struct loop *l, int fd, const char *words, void (*done)(void *arg, bool obeyed, const char *text),
                     void *arg)
{
	struct forward *f = mem_alloc(sizeof(*f));
	struct buf line = BUF_INIT;

	f->loop = l;
	f->fd = fd;
	f->done = done;
	f->arg = arg;
	buf_addf(&line, "%s\n", words);
	watch_keep(l, &f->watch, fd, EPOLLIN, read_some, f);
	timer_set(l, &f->timer, l->now_ms + FORWARD_MS, forward_too_slow, f);
	/* the first bytes on it: there is room. If the other side is gone, reading tells */
	if (send(fd, line.s, line.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		timer_set(l, &f->timer, l->now_ms, forward_too_slow, f);
	buf_release(&line);
}
