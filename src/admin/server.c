#include "admin/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "config/lex.h"
#include "os/sock.h"

#define LISTENERS    16
#define WORDS_MAX    64
#define REFUSED_WORD "error only root and the user that tcpproxy runs as may ask here\n"

enum phase { UNUSED, READING, WORKING, WRITING };

struct admin_client {
	struct admin_server *server;
	enum phase phase;
	struct watch watch;
	struct timer timer;
	char request[ADMIN_REQUEST_MAX];
	size_t len;
	struct buf answer, body; /* one after the other */
	size_t written;          /* of both */
	void (*gone)(void *arg);
	void *gone_arg;
};

struct listening {
	struct admin_server *server;
	struct watch watch;
};

struct admin_server {
	struct admin_setup setup;
	struct listening listeners[LISTENERS];
	struct admin_client clients[ADMIN_CLIENTS];
	int n_clients;
};

/* While there is no room for another client, they wait in the socket's queue. */
static void set_listening(struct admin_server *s, bool on)
{
	for (int i = 0; i < LISTENERS; i++)
		if (s->listeners[i].watch.fd >= 0)
			watch_change(s->setup.loop, &s->listeners[i].watch, on ? EPOLLIN : 0);
}

/* ---- a client's end ---- */

/* It is no client any more; its socket is returned. */
static int let_go(struct admin_client *c)
{
	int fd = c->watch.fd;

	watch_remove(c->server->setup.loop, &c->watch);
	timer_clear(c->server->setup.loop, &c->timer);
	buf_release(&c->answer);
	buf_release(&c->body);
	c->phase = UNUSED;
	c->gone = NULL;
	if (c->server->n_clients-- == ADMIN_CLIENTS)
		set_listening(c->server, true);
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

static void too_slow(void *arg)
{
	drop(arg);
}

static void set_patience(struct admin_client *c, int64_t ms)
{
	struct loop *l = c->server->setup.loop;

	timer_set(l, &c->timer, l->now_ms + ms, too_slow, c);
}

/* ---- the answer ---- */

static void write_some(struct admin_client *c)
{
	size_t head = c->answer.len;

	while (c->written < head + c->body.len) {
		const char *from = c->written < head ? c->answer.s + c->written
		                                     : c->body.s + (c->written - head);
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
		c->written += (size_t)n;
		set_patience(c, ADMIN_SILENT_MS);
	}
	drop(c);
}

static void begin_answer(struct admin_client *c)
{
	c->phase = WRITING;
	c->gone = NULL;
	c->written = 0;
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
	sock_send_message(c->watch.fd, word, sizeof(word) - 1, fds, n);
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

	c->phase = WORKING;
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
	ssize_t n =
	    recv(c->watch.fd, c->request + c->len, sizeof(c->request) - c->len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* a line without its end is no request */
		drop(c);
		return;
	}
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

/* ---- who comes ---- */

static struct admin_client *new_client(struct admin_server *s, int fd, enum phase phase)
{
	struct admin_client *c = NULL;

	for (int i = 0; i < ADMIN_CLIENTS && !c; i++)
		if (s->clients[i].phase == UNUSED)
			c = &s->clients[i];
	if (!c)
		return NULL;
	*c = (struct admin_client){.server = s, .phase = phase};
	if (watch_add(s->setup.loop, &c->watch, fd, EPOLLIN, client_event, c) < 0) {
		c->phase = UNUSED;
		return NULL;
	}
	if (++s->n_clients == ADMIN_CLIENTS)
		set_listening(s, false);
	return c;
}

struct admin_client *admin_adopt(struct admin_server *s, int fd)
{
	return new_client(s, fd, WORKING);
}

static void send_away(int fd, const char *word)
{
	if (send(fd, word, strlen(word), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		errno = 0; /* it does not want to know */
	close(fd);
}

static bool may_speak(const struct admin_server *s, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == 0 || cred.uid == s->setup.uid);
}

void admin_server_welcome(struct admin_server *s, int fd)
{
	struct admin_client *c = new_client(s, fd, READING);

	if (c)
		set_patience(c, ADMIN_REQUEST_MS);
	else
		close(fd);
}

static void listener_event(void *arg, uint32_t events)
{
	struct listening *l = arg;

	while (l->watch.fd >= 0 && l->server->n_clients < ADMIN_CLIENTS) {
		int fd = accept4(l->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (!may_speak(l->server, fd)) {
			send_away(fd, REFUSED_WORD);
			continue;
		}
		admin_server_welcome(l->server, fd);
	}
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
	struct listening *room = NULL;

	for (int i = 0; i < LISTENERS; i++) {
		if (s->listeners[i].watch.fd == fd)
			return 0;
		if (s->listeners[i].watch.fd < 0 && !room)
			room = &s->listeners[i];
	}
	if (!room)
		return -ENOSPC;
	room->server = s;
	return watch_add(s->setup.loop, &room->watch, fd,
	                 s->n_clients < ADMIN_CLIENTS ? EPOLLIN : 0, listener_event, room);
}

void admin_server_forget(struct admin_server *s, int fd)
{
	for (int i = 0; i < LISTENERS; i++)
		if (s->listeners[i].watch.fd == fd)
			watch_remove(s->setup.loop, &s->listeners[i].watch);
}

void admin_server_free(struct admin_server *s)
{
	if (!s)
		return;
	for (int i = 0; i < LISTENERS; i++)
		watch_remove(s->setup.loop, &s->listeners[i].watch);
	for (int i = 0; i < ADMIN_CLIENTS; i++)
		if (s->clients[i].phase != UNUSED)
			drop(&s->clients[i]);
	free(s);
}
