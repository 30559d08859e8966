#include "admin/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "config/lex.h"
#include "event/acceptor.h"
#include "os/proc.h"
#include "os/sock.h"

#define LISTENERS    16
#define WORDS_MAX    64
#define WHO_MAX      96
#define REFUSED_WORD "error only root and the user that tcpproxy runs as may ask here\n"

#define BUSY_WORD "error too many ask here at once: try again\n"

enum phase { UNUSED, READING, WORKING, WRITING };

struct admin_client {
	struct admin_server *server;
	enum phase phase;
	bool root;      /* or as good as root */
	uint64_t since; /* which turn it was when this phase began, or some of its answer was taken */
	struct watch watch;
	struct timer timer;
	char request[ADMIN_REQUEST_MAX];
	size_t len;
	struct buf answer, body; /* one after the other */
	size_t written;          /* of both */
	void (*gone)(void *arg);
	void *gone_arg;
	char who[WHO_MAX];
};

struct admin_server {
	struct admin_setup setup;
	struct acceptor listeners[LISTENERS];
	struct admin_client clients[ADMIN_CLIENTS];
	int n_clients;
	uint64_t turns; /* many come within a millisecond */
	bool held;      /* the listeners */
};

static void drop(struct admin_client *c);
static void read_some(struct admin_client *c);

/* ---- making room ---- */

/* The client that has been in this phase longest; NULL: none is. */
static struct admin_client *oldest(struct admin_server *s, enum phase phase, bool root)
{
	struct admin_client *found = NULL;

	for (int i = 0; i < ADMIN_CLIENTS; i++) {
		struct admin_client *c = &s->clients[i];

		if (c->phase == phase && c->root == root && (!found || c->since < found->since))
			found = c;
	}
	return found;
}

/* The client whose place a new one may have: dropping half a request does no harm, and root need not wait until the
 * service user takes its answers. */
static struct admin_client *who_gives_way(struct admin_server *s, bool root)
{
	struct admin_client *c = oldest(s, READING, false);

	if (!c && root)
		c = oldest(s, WRITING, false);
	if (!c && root)
		c = oldest(s, READING, true);
	return c;
}

/* While no client can give way to another, new ones wait in the queue. */
static void look_at_room(struct admin_server *s)
{
	bool hold = s->n_clients == ADMIN_CLIENTS && !who_gives_way(s, true);

	if (hold == s->held)
		return;
	s->held = hold;
	for (int i = 0; i < LISTENERS; i++)
		if (s->listeners[i].watch.fd >= 0)
			acceptor_hold(&s->listeners[i], hold);
}

static bool make_room(struct admin_server *s, bool root)
{
	while (s->n_clients == ADMIN_CLIENTS) {
		struct admin_client *c = who_gives_way(s, root);
		enum phase was;

		if (!c)
			return false;
		was = c->phase;
		if (was == READING)
			read_some(c); /* it may have said the rest meanwhile */
		if (c->phase == was)
			drop(c);
	}
	return true;
}

static void set_phase(struct admin_client *c, enum phase phase)
{
	c->phase = phase;
	c->since = ++c->server->turns;
	look_at_room(c->server);
}

/* ---- a client's end ---- */

/* It is not a client any more; its socket is returned. */
static int let_go(struct admin_client *c)
{
	int fd = c->watch.fd;

	watch_remove(c->server->setup.loop, &c->watch);
	timer_clear(c->server->setup.loop, &c->timer);
	buf_release(&c->answer);
	buf_release(&c->body);
	c->gone = NULL;
	c->server->n_clients--;
	set_phase(c, UNUSED);
	return fd;
}

static void drop(struct admin_client *c)
{
	void (*gone)(void *arg) = c->phase == WORKING ? c->gone : NULL;
	void *arg = c->gone_arg;

	close(let_go(c));
	if (gone)
		gone(arg);
}

static void server_too_slow(void *arg)
{
	drop(arg);
}

static void set_patience(struct admin_client *c, int64_t ms)
{
	struct loop *l = c->server->setup.loop;

	timer_set(l, &c->timer, l->now_ms + ms, server_too_slow, c);
}

/* ---- the answer ---- */

static void write_some(struct admin_client *c)
{
	size_t head = c->answer.len;

	while (c->written < head + c->body.len) {
		const char *from = c->written < head ? c->answer.s + c->written : c->body.s + (c->written - head);
		size_t len = (c->written < head ? head : head + c->body.len) - c->written;
		ssize_t n = send(c->watch.fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			drop(c);
			return;
		}
		progress();
		c->written += (size_t)n;
		c->since = ++c->server->turns;
		set_patience(c, ADMIN_SILENT_MS);
	}
	drop(c);
}

static void begin_answer(struct admin_client *c)
{
	c->gone = NULL;
	c->written = 0;
	set_phase(c, WRITING);
	set_patience(c, ADMIN_SILENT_MS);
	watch_change(c->server->setup.loop, &c->watch, EPOLLOUT);
	write_some(c);
}

void admin_answer(struct admin_client *c, int code, struct buf *body)
{
	if (body->len > ADMIN_ANSWER_MAX) {
		buf_release(body);
		admin_error(c, "the answer is too long: ask for less, by a filter");
		return;
	}
	buf_clear(&c->answer);
	buf_addf(&c->answer, "ok %d %zu\n", code, body->len);
	c->body = *body;
	*body = (struct buf)BUF_INIT;
	begin_answer(c);
}

void admin_error(struct admin_client *c, const char *fmt, ...)
{
	va_list ap;

	buf_clear(&c->answer);
	buf_adds(&c->answer, "error ");
	va_start(ap, fmt);
	buf_vaddf(&c->answer, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < c->answer.len; i++)
		if (c->answer.s[i] == '\n')
			c->answer.s[i] = ' ';
	buf_addc(&c->answer, '\n');
	begin_answer(c);
}

void admin_on_leave(struct admin_client *c, void (*gone)(void *arg), void *arg)
{
	c->gone = gone;
	c->gone_arg = arg;
}

int admin_client_fd(const struct admin_client *c)
{
	return c->watch.fd;
}

void admin_answer_fds(struct admin_client *c, const int *fds, size_t n)
{
	static const char word[] = "ok 0 -\n";

	/* nothing was written before, so there is room */
	int rc = sock_send_message(c->watch.fd, word, sizeof(word) - 1, fds, n);

	if (rc < 0) {
		admin_error(c, "handing over where to read: %s", strerror(-rc));
		return;
	}
	c->gone = NULL;
	drop(c);
}

/* ---- the request ---- */

static void take_request(struct admin_client *c, size_t len)
{
	struct line line = {0};
	char *words[WORDS_MAX + 1] = {NULL};
	const char *why;
	uint32_t column;

	set_phase(c, WORKING);
	timer_clear(c->server->setup.loop, &c->timer);
	if (memchr(c->request, '\0', len))
		why = "a request is text";
	else
		why = lex_line(&line, c->request, len, &column);
	if (why) {
		admin_error(c, "%s", why);
	} else if (line.n > WORDS_MAX) {
		admin_error(c, "a request has at most %d words", WORDS_MAX);
	} else {
		for (size_t i = 0; i < line.n; i++)
			words[i] = line.words[i].text;
		c->server->setup.request(c->server->setup.arg, c, words, line.n);
	}
	line_release(&line);
}

static void read_some(struct admin_client *c)
{
	char *end;
	ssize_t n = recv(c->watch.fd, c->request + c->len, sizeof(c->request) - c->len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* a line without its end is not a request */
		drop(c);
		return;
	}
	progress();
	c->len += (size_t)n;
	end = memchr(c->request, '\n', c->len);
	if (end)
		take_request(c, (size_t)(end - c->request));
	else if (c->len == sizeof(c->request))
		admin_error(c, "a request has at most %d bytes", ADMIN_REQUEST_MAX);
}

static void client_event(void *arg, uint32_t events)
{
	struct admin_client *c = arg;

	switch (c->phase) {
	case READING:
		read_some(c);
		break;
	case WORKING:
		/* it may have said all it wanted and closed that side: only its end counts */
		if (events & (EPOLLHUP | EPOLLERR))
			drop(c);
		else
			watch_change(c->server->setup.loop, &c->watch, 0);
		break;
	case WRITING:
		write_some(c);
		break;
	case UNUSED:
		break;
	}
}

/* ---- new clients ---- */

static struct admin_client *new_client(struct admin_server *s, int fd, enum phase phase, bool root, const char *who)
{
	struct admin_client *c = NULL;

	if (!make_room(s, root))
		return NULL;
	for (int i = 0; i < ADMIN_CLIENTS && !c; i++)
		if (s->clients[i].phase == UNUSED)
			c = &s->clients[i];
	if (!c)
		return NULL;
	*c = (struct admin_client){.server = s, .root = root};
	snprintf(c->who, sizeof(c->who), "%s", who);
	if (watch_add(s->setup.loop, &c->watch, fd, EPOLLIN, client_event, c) < 0) {
		return NULL;
	}
	s->n_clients++;
	set_phase(c, phase);
	return c;
}

struct admin_client *admin_adopt(struct admin_server *s, int fd)
{
	return new_client(s, fd, WORKING, true, "");
}

static void send_away(int fd, const char *word)
{
	if (send(fd, word, strlen(word), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		errno = 0; /* it does not want to know */
	close(fd);
}

static void welcome(struct admin_server *s, int fd, bool root, const char *who)
{
	struct admin_client *c = new_client(s, fd, READING, root, who);

	if (!c) {
		send_away(fd, BUSY_WORD);
		return;
	}
	set_patience(c, ADMIN_REQUEST_MS);
	read_some(c); /* a client that has sent its whole request holds no place */
}

/* false: the peer may not speak. who: room for WHO_MAX. */
static bool identify(const struct admin_server *s, int fd, bool *root, char *who)
{
	char program[PROC_PROGRAM_MAX];
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || (cred.uid != 0 && cred.uid != s->setup.uid))
		return false;
	*root = cred.uid == 0;
	if (!*root && s->setup.is_refused && s->setup.is_refused(s->setup.arg, cred.pid)) {
		log_warning(
		        "refused at the admin socket: pid %d, which is a worker's or a keeper's, or has ended already",
		        (int)cred.pid);
		return false;
	}
	proc_program(cred.pid, program);
	snprintf(who, WHO_MAX, "uid=%u pid=%d program=%s", (unsigned)cred.uid, (int)cred.pid, program);
	return true;
}

const char *admin_client_who(const struct admin_client *c)
{
	return c->who;
}

void admin_server_welcome(struct admin_server *s, int fd, const char *who)
{
	welcome(s, fd, true, who);
}

static void server_accepted(void *arg, int fd)
{
	struct admin_server *s = arg;
	char who[WHO_MAX];
	bool root;

	if (identify(s, fd, &root, who))
		welcome(s, fd, root, who);
	else
		send_away(fd, REFUSED_WORD);
}

/* ---- the server ---- */

struct admin_server *admin_server_new(const struct admin_setup *setup)
{
	struct admin_server *s = mem_alloc(sizeof(*s));

	s->setup = *setup;
	for (int i = 0; i < LISTENERS; i++)
		s->listeners[i].watch.fd = -1;
	return s;
}

int admin_server_listen(struct admin_server *s, int fd)
{
	struct acceptor *room = NULL;
	int rc;

	for (int i = 0; i < LISTENERS; i++) {
		if (s->listeners[i].watch.fd == fd)
			return 0;
		if (s->listeners[i].watch.fd < 0 && !room)
			room = &s->listeners[i];
	}
	if (!room)
		return -ENOSPC;
	rc = acceptor_start(room, s->setup.loop, fd, "at the admin socket", server_accepted, s);
	if (rc == 0 && s->held)
		acceptor_hold(room, true);
	return rc;
}

void admin_server_forget(struct admin_server *s, int fd)
{
	for (int i = 0; i < LISTENERS; i++)
		if (s->listeners[i].watch.fd == fd)
			acceptor_stop(&s->listeners[i]);
}

void admin_server_free(struct admin_server *s)
{
	if (!s)
		return;
	for (int i = 0; i < LISTENERS; i++)
		acceptor_stop(&s->listeners[i]);
	for (int i = 0; i < ADMIN_CLIENTS; i++)
		if (s->clients[i].phase != UNUSED)
			drop(&s->clients[i]);
	free(s);
}
