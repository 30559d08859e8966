#include "checker/dialog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/blank.h"
#include "os/sock.h"

#define LEAVE_MS 1000 /* for the server's FIN */
#define READ_MAX 4096 /* at a time */
#define AGAIN_MS 10   /* no socket was there */
#define READS    64   /* in a turn */

/* Where it stands; each only goes to one below.
 *
 *   CONNECTING  until the socket is writable
 *   TALKING     until the verdict, the end of the server, or of the time
 *   LEAVING     what is left to say is said, then FIN; what comes is read and dropped until the server's FIN
 */
enum dialog_state { DIALOG_CONNECTING, DIALOG_TALKING, DIALOG_LEAVING };

struct dialog {
	struct dialog_setup setup;
	enum dialog_state state;
	struct watch watch;
	struct timer timer;
	struct script_run run;
	struct buf say; /* not said yet */
	size_t said;    /* of it */
	bool shut;      /* our FIN is sent */
	int error;      /* positive errno; could not begin */
	int64_t until_ms;
};

static unsigned n_open;

unsigned dialog_open(void)
{
	return n_open;
}

static void end(struct dialog *d)
{
	int fd = d->watch.fd;

	timer_clear(d->setup.loop, &d->timer);
	watch_remove(d->setup.loop, &d->watch);
	if (fd >= 0)
		close(fd);
	script_end(&d->run);
	buf_release(&d->say);
	free(d);
	n_open--;
}

static void dialog_end(void *arg)
{
	end(arg);
}

/* ---- leaving ---- */

/* False: it cannot be said any more. */
static bool say_some(struct dialog *d)
{
	while (d->said < d->say.len) {
		ssize_t n = sock_send(d->watch.fd, d->say.s + d->said, d->say.len - d->said, 0);

		if (n == -EAGAIN)
			return watch_change(d->setup.loop, &d->watch, EPOLLIN | EPOLLOUT) == 0;
		if (n < 0)
			return false;
		d->said += (size_t)n;
	}
	buf_clear(&d->say);
	d->said = 0;
	return watch_change(d->setup.loop, &d->watch, EPOLLIN) == 0;
}

/* Reads what there is; hear: it belongs to the run. 0: there may be more; 1: the server has ended; -errno. */
static int read_some(struct dialog *d, bool hear)
{
	char bytes[READ_MAX];

	for (int i = 0; i < READS; i++) {
		ssize_t n = sock_recv(d->watch.fd, bytes, sizeof(bytes), 0);

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 ? 1 : (int)n;
		if (hear)
			script_hears(&d->run, bytes, (size_t)n);
		if (hear && d->setup.heard)
			*d->setup.heard = true;
	}
	return 0;
}

static void leave_on(struct dialog *d)
{
	if (d->said < d->say.len && !say_some(d)) {
		end(d);
		return;
	}
	if (d->say.len == 0 && !d->shut) {
		shutdown(d->watch.fd, SHUT_WR);
		d->shut = true;
	}
	if (read_some(d, false) != 0) /* closed with nothing unread: no reset */
		end(d);
}

static void leave(struct dialog *d, bool with_a_word)
{
	d->state = DIALOG_LEAVING;
	if (with_a_word)
		script_bye(&d->run, &d->say);
	timer_set(d->setup.loop, &d->timer, d->setup.loop->now_ms + LEAVE_MS, dialog_end, d);
	leave_on(d);
}

/* ---- the verdict ---- */

/* There is no server to take leave of. */
static void failed(struct dialog *d, int error)
{
	struct dialog_setup setup = d->setup;

	end(d);
	setup.done(setup.arg, false, strerror(error));
}

static void judge(struct dialog *d, enum verdict v, const struct buf *why)
{
	struct dialog_setup setup = d->setup;
	bool words = v == VERDICT_NO || setup.script->tells;

	leave(d, true);
	setup.done(setup.arg, v == VERDICT_YES, words && why->s ? why->s : "");
}

static void talk(struct dialog *d, bool over)
{
	struct buf why = BUF_INIT;
	enum verdict v = script_goes_on(&d->run, over, &d->say, &why);

	if (v != VERDICT_MORE)
		judge(d, v, &why);
	else if (!say_some(d))
		failed(d, EPIPE);
	buf_release(&why);
}

static void hear(struct dialog *d)
{
	int rc = read_some(d, true);

	if (rc < 0)
		failed(d, -rc);
	else
		talk(d, rc == 1);
}

static void dialog_time_is_over(void *arg)
{
	struct dialog *d = arg;
	struct buf why = BUF_INIT;

	if (d->state == DIALOG_CONNECTING)
		failed(d, ETIMEDOUT);
	else
		judge(d, script_times_out(&d->run, &why), &why);
	buf_release(&why);
}

/* ---- connecting ---- */

static void connected(struct dialog *d)
{
	d->state = DIALOG_TALKING;
	if (watch_change(d->setup.loop, &d->watch, EPOLLIN) < 0)
		failed(d, ENOMEM);
	else
		hear(d);
}

static void dialog_event(void *arg, uint32_t events)
{
	struct dialog *d = arg;
	int error;

	switch (d->state) {
	case DIALOG_CONNECTING:
		error = sock_take_error(d->watch.fd);
		if (error)
			failed(d, error);
		else if (events & EPOLLOUT)
			connected(d);
		break;
	case DIALOG_TALKING:
		hear(d);
		break;
	case DIALOG_LEAVING:
		leave_on(d);
	}
}

static void dialog_not_begun(void *arg)
{
	struct dialog *d = arg;

	failed(d, d->error);
}

/* As those by which clients are served: the server is to be asked the way that they go. */
static int new_socket(const struct dialog_setup *s)
{
	struct blank_kind kind;
	int at;

	if (s->unix_path)
		return sock_new_unix();
	if (!s->mark && !s->netns)
		return sock_new_tcp(s->to->family);
	kind = (struct blank_kind){.family = s->to->family, .mark = s->mark, .netns = s->netns};
	at = s->blanks ? blank_find(s->blanks, &kind) : -1;
	return at < 0 ? -EPERM : blank_take(s->blanks->fds[at], &kind);
}

static int begin(struct dialog *d)
{
	const struct dialog_setup *s = &d->setup;
	int fd = new_socket(s), rc = 0;

	if (fd < 0)
		return fd;
	if (s->device && !s->unix_path)
		rc = sock_device(fd, s->device);
	if (rc == 0 && s->dscp && !s->unix_path)
		sock_dscp(fd, s->dscp - 1u);
	if (rc == 0 && s->from && s->from->family)
		rc = sock_bind_source(fd, s->from);
	if (rc == 0)
		rc = s->unix_path ? sock_connect_unix(fd, s->unix_path) : sock_connect(fd, s->to);
	if (rc == 0 || rc == -EINPROGRESS)
		rc = watch_add(s->loop, &d->watch, fd, EPOLLOUT, dialog_event, d);
	if (rc < 0)
		close(fd);
	return rc;
}

/* Those that make sockets with a mark may be behind, which says nothing of the server. */
static void dialog_begin_again(void *arg)
{
	struct dialog *d = arg;
	struct loop *loop = d->setup.loop;
	int rc = begin(d);

	if (rc == -EAGAIN && loop->now_ms < d->until_ms) {
		timer_set(loop, &d->timer, loop->now_ms + AGAIN_MS, dialog_begin_again, d);
	} else if (rc < 0) {
		failed(d, rc == -EAGAIN ? ETIMEDOUT : -rc);
	} else {
		timer_set(loop, &d->timer, d->until_ms, dialog_time_is_over, d);
	}
}

struct dialog *dialog_start(const struct dialog_setup *setup)
{
	struct dialog *d = mem_alloc(sizeof(*d));
	int rc;

	*d = (struct dialog){.setup = *setup, .watch.fd = -1};
	n_open++;
	script_begin(&d->run, setup->script);
	d->until_ms = setup->loop->now_ms + setup->timeout_ms;
	rc = begin(d);
	d->error = -rc;
	if (rc == -EAGAIN)
		timer_set(setup->loop, &d->timer, setup->loop->now_ms + AGAIN_MS, dialog_begin_again, d);
	else if (rc < 0)
		timer_set(setup->loop, &d->timer, setup->loop->now_ms, dialog_not_begun, d);
	else
		timer_set(setup->loop, &d->timer, d->until_ms, dialog_time_is_over, d);
	return d;
}

void dialog_cancel(struct dialog *d)
{
	if (!d)
		return;
	if (d->state == DIALOG_TALKING)
		leave(d, true);
	else if (d->state == DIALOG_CONNECTING)
		end(d);
}
