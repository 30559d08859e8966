#include "page/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "page/http_library.h"
#include "base/addr.h"
#include "base/mem.h"
#include "base/progress.h"
#include "event/acceptor.h"

#define POINTS       16
#define HTTP_LOOK_MS 1000
#define LEAVING_MS   500 /* a request may be on its way */
#define HOST_MAX     253
#define NO_POLICY    "default-src 'none'; frame-ancestors 'none'"

/* A listening socket. We accept, not the library: out of descriptors it would spin. */
struct point {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	struct acceptor listener;
	int listen_fd;
	struct watch watch; /* of what the library waits for */
	struct timer timer;
	char *token;
};

/* A client's connection. */
struct peer {
	struct http_server *server;
	struct peer *next, *before;
	int fd;
	int64_t since_ms; /* of what it is doing now */
	bool busy;        /* its request has come whole */
	bool cut;         /* it will be gone soon */
};

struct http_request {
	struct point *point;
	struct peer *peer;
	struct MHD_Connection *connection;
	enum http_method method;
	const char *path;
	char body[HTTP_BODY_MAX + 1];
	size_t len;
	bool too_long, suspended;
	struct MHD_Response *response; /* NULL: not answered */
	unsigned status;
	const char *allowed; /* of the methods; NULL: it was */
};

struct http_server {
	struct http_setup setup;
	struct point points[POINTS];
	struct peer peers; /* the ring's head: next is the oldest */
	int n_peers;
	struct timer timer;
	bool leaving;
};

/* ---- clients ---- */

static void cut(struct peer *p)
{
	p->cut = true;
	shutdown(p->fd, SHUT_RDWR); /* the library sees it, and closes */
}

/* The library does not see the end of one that came with its first bytes. */
static bool has_ended(const struct peer *p)
{
	char c;

	return recv(p->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static bool waits_too_long(const struct peer *p, int64_t now)
{
	if (p->busy)
		return now - p->since_ms > HTTP_ANSWER_MS;
	return now - p->since_ms > (p->server->leaving ? LEAVING_MS : HTTP_REQUEST_MS) || has_ended(p);
}

static void look_at_peers(void *arg)
{
	struct http_server *s = arg;
	int64_t now = s->setup.loop->now_ms;

	for (struct peer *p = s->peers.next; p != &s->peers; p = p->next)
		if (waits_too_long(p, now))
			cut(p);
	timer_set(s->setup.loop, &s->timer, now + HTTP_LOOK_MS, look_at_peers, s);
}

static void make_room(struct http_server *s)
{
	for (struct peer *p = s->peers.next; p != &s->peers; p = p->next)
		if (!p->busy && !p->cut) {
			cut(p);
			return;
		}
}

static void move_to_end(struct peer *p)
{
	struct peer *head = &p->server->peers;

	if (p->next) {
		p->before->next = p->next;
		p->next->before = p->before;
	}
	p->next = head;
	p->before = head->before;
	p->before->next = p->next->before = p;
}

static struct peer *peer_new(struct http_server *s, struct MHD_Connection *c)
{
	struct peer *p = mem_alloc(sizeof(*p));

	p->server = s;
	p->fd = mhd.get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	p->since_ms = s->setup.loop->now_ms;
	move_to_end(p);
	if (++s->n_peers > HTTP_CLIENTS)
		make_room(s);
	return p;
}

static void peer_free(struct peer *p)
{
	struct http_server *s = p->server;

	p->before->next = p->next;
	p->next->before = p->before;
	s->n_peers--;
	free(p);
	if (s->leaving && s->n_peers == 0 && s->setup.idle)
		s->setup.idle(s->setup.arg);
}

static void came_or_went(void *arg, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what)
{
	struct point *point = arg;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = peer_new(point->server, c);
	} else if (*context) {
		peer_free(*context);
		*context = NULL;
	}
}

/* ---- requests ---- */

static struct http_request *request_new(struct point *point, struct MHD_Connection *c, const char *path,
                                        const char *method)
{
	struct http_request *r = mem_alloc(sizeof(*r));

	r->point = point;
	r->connection = c;
	r->path = path;
	r->peer = mhd.get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	r->method = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ? HTTP_GET
	            : strcmp(method, "POST") == 0                             ? HTTP_POST
	                                                                      : HTTP_OTHER;
	return r;
}

static void request_over(void *arg, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode how)
{
	struct http_request *r = *context;

	if (!r)
		return;
	*context = NULL;
	r->peer->busy = false;
	r->peer->since_ms = r->peer->server->setup.loop->now_ms;
	move_to_end(r->peer);
	if (r->response)
		mhd.destroy_response(r->response);
	free(r);
}

static void take_body(struct http_request *r, const char *data, size_t len)
{
	if (len > HTTP_BODY_MAX - r->len || memchr(data, '\0', len)) {
		r->too_long = true;
		return;
	}
	memcpy(r->body + r->len, data, len);
	r->len += len;
}

/* What was asked for: an address, or a name of ours. A client that says nothing is not a browser. */
static bool is_ours(const struct http_server *s, const char *host)
{
	char name[HOST_MAX + 1], zone[ADDR_ZONE_MAX];
	size_t len;
	struct addr a;

	if (!host)
		return true;
	len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
	if (host[0] == '[') {
		host++;
		len--;
	}
	if (len > 1 && host[len - 1] == '.') /* "localhost." */
		len--;
	if (len == 0 || len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	return strcasecmp(name, "localhost") == 0 || addr_parse_zone(name, &a, zone) ||
	       s->setup.is_our_name(s->setup.arg, name);
}

static void refuse(struct http_request *r, unsigned status, const char *text)
{
	struct buf body = BUF_INIT;

	buf_addf(&body, "%s\n", text);
	http_answer(r, status, "text/plain; charset=utf-8", NULL, &body);
}

static void dispatch(struct http_request *r)
{
	struct http_server *s = r->point->server;
	const char *host = mhd.lookup_connection_value(r->connection, MHD_HEADER_KIND, "Host");

	r->peer->busy = true;
	r->peer->since_ms = s->setup.loop->now_ms;
	if (r->too_long)
		refuse(r, MHD_HTTP_CONTENT_TOO_LARGE, "this is too long");
	else if (!is_ours(s, host))
		refuse(r, MHD_HTTP_FORBIDDEN,
		       "this is asked for by an address, by localhost, or by the name of this machine; another name is "
		       "allowed by \"admin ADDR:PORT name=HOST\" in the configuration");
	else
		s->setup.request(s->setup.arg, r);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *len, void **context)
{
	struct http_request *r = *context;

	if (!r) {
		*context = request_new(arg, c, path, method);
		return MHD_YES;
	}
	if (*len > 0) {
		take_body(r, data, *len);
		*len = 0;
		return MHD_YES;
	}
	if (!r->response)
		dispatch(r);
	if (r->response)
		return mhd.queue_response(c, r->status, r->response);
	r->suspended = true;
	mhd.suspend_connection(c);
	return MHD_YES;
}

/* ---- what a request says ---- */

enum http_method http_method(const struct http_request *r)
{
	return r->method;
}

const char *http_path(const struct http_request *r)
{
	return r->path;
}

const char *http_argument(const struct http_request *r, const char *name)
{
	return mhd.lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_body(const struct http_request *r)
{
	return r->body;
}

bool http_has_token(const struct http_request *r)
{
	return r->point->token;
}

/* Takes as long for a wrong one as for a right one of its length. */
static bool same_secret(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned char different = n != m;

	for (size_t i = 0; i < m; i++)
		different |= (unsigned char)(a[n ? i % n : 0] ^ b[i]);
	return !different;
}

void http_client(const struct http_request *r, struct addr *ret)
{
	const union MHD_ConnectionInfo *info =
	        mhd.get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *sa = info ? info->client_addr : NULL;

	*ret = (struct addr){.family = AF_UNSPEC};
	if (sa && sa->sa_family == AF_INET)
		addr_from_sockaddr(sa, sizeof(struct sockaddr_in), ret);
	else if (sa && sa->sa_family == AF_INET6)
		addr_from_sockaddr(sa, sizeof(struct sockaddr_in6), ret);
}

bool http_may_steer(const struct http_request *r)
{
	const char *shown = mhd.lookup_connection_value(r->connection, MHD_HEADER_KIND, "Authorization");

	if (!r->point->token || !shown || strncasecmp(shown, "Bearer ", 7) != 0)
		return false;
	return same_secret(r->point->token, shown + 7 + strspn(shown + 7, " "));
}

/* ---- the answer ---- */

static void run(struct point *p);

static void run_later(void *arg)
{
	run(arg);
}

void http_answer(struct http_request *r, unsigned status, const char *type, const char *policy, struct buf *body)
{
	struct http_server *s = r->point->server;
	size_t len = body->len;

	r->status = status;
	r->response = mhd.create_response_from_buffer(len, buf_detach(body), MHD_RESPMEM_MUST_FREE);
	if (!r->response) /* no memory: nothing else in here goes on without it, either */
		abort();
	mhd.add_response_header(r->response, "Content-Type", type);
	mhd.add_response_header(r->response, "Content-Security-Policy", policy ? policy : NO_POLICY);
	mhd.add_response_header(r->response, "Cache-Control", "no-store");
	mhd.add_response_header(r->response, "X-Content-Type-Options", "nosniff");
	mhd.add_response_header(r->response, "Referrer-Policy", "no-referrer");
	if (r->allowed)
		mhd.add_response_header(r->response, "Allow", r->allowed);
	if (s->leaving)
		mhd.add_response_header(r->response, "Connection", "close");
	if (!r->suspended)
		return;
	r->suspended = false;
	mhd.resume_connection(r->connection);
	timer_set(s->setup.loop, &r->point->timer, s->setup.loop->now_ms, run_later, r->point);
}

void http_answer_method(struct http_request *r, const char *allowed)
{
	r->allowed = allowed;
	refuse(r, MHD_HTTP_METHOD_NOT_ALLOWED, "this is not done here by that method");
}

/* ---- the server ---- */

static void run(struct point *p)
{
	struct loop *l = p->server->setup.loop;
	MHD_UNSIGNED_LONG_LONG wait;

	mhd.run(p->daemon);
	timer_clear(l, &p->timer);
	if (mhd.get_timeout(p->daemon, &wait) == MHD_YES)
		timer_set(l, &p->timer, l->now_ms + (int64_t)wait, run_later, p);
}

static void point_event(void *arg, uint32_t events)
{
	progress(); /* what the library gets done is not seen here */
	run(arg);
}

static void http_accepted(void *arg, int fd)
{
	struct point *p = arg;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		close(fd); /* it is gone again */
	else
		mhd.add_connection(p->daemon, fd, (struct sockaddr *)&peer, len); /* its descriptor, whatever it says */
	run(p);
}

struct http_server *http_server_new(const struct http_setup *setup)
{
	struct http_server *s = mem_alloc(sizeof(*s));

	s->setup = *setup;
	s->peers.next = s->peers.before = &s->peers;
	timer_set(setup->loop, &s->timer, setup->loop->now_ms + HTTP_LOOK_MS, look_at_peers, s);
	return s;
}

static struct MHD_Daemon *start_daemon(struct point *p)
{
	return mhd.start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
	                        on_request, p, MHD_OPTION_CONNECTION_LIMIT, HTTP_CLIENTS + 16u,
	                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
	                        0u, MHD_OPTION_NOTIFY_CONNECTION, came_or_went, p, MHD_OPTION_NOTIFY_COMPLETED,
	                        request_over, p, MHD_OPTION_END);
}

int http_server_listen(struct http_server *s, int fd, const char *token)
{
	struct point *p = NULL;
	int epfd, rc;

	for (int i = 0; i < POINTS && !p; i++)
		if (!s->points[i].daemon)
			p = &s->points[i];
	if (!p)
		return -ENOSPC;
	*p = (struct point){.server = s, .listen_fd = fd};
	p->token = token ? mem_strdup(token) : NULL;
	p->daemon = start_daemon(p);
	if (!p->daemon)
		return errno ? -errno : -EIO;
	epfd = mhd.get_daemon_info(p->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	rc = watch_add(s->setup.loop, &p->watch, epfd, EPOLLIN, point_event, p);
	return rc < 0 ? rc : acceptor_start(&p->listener, s->setup.loop, fd, "at the page", http_accepted, p);
}

void http_server_leave(struct http_server *s)
{
	s->leaving = true;
	for (int i = 0; i < POINTS; i++)
		if (s->points[i].daemon) {
			acceptor_stop(&s->points[i].listener);
			close(s->points[i].listen_fd);
		}
	look_at_peers(s);
	if (s->n_peers == 0 && s->setup.idle)
		s->setup.idle(s->setup.arg);
}
