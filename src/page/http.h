/*
 * http.h - HTTP for the page: listening sockets, requests, answers; by libmicrohttpd, in our own
 * loop and without a thread.
 *
 * The server waits for no client: a request that does not come whole in time, an answer that is not
 * taken, and a connection that is not used are cut off. When there are too many, the one that has been
 * idle longest makes room.
 */
#ifndef PAGE_HTTP_H
#define PAGE_HTTP_H

#include "base/addr.h"
#include "base/buf.h"
#include "event/loop.h"

#define HTTP_CLIENTS    256
#define HTTP_MEMORY     (16 * 1024) /* bytes for a request's line and header */
#define HTTP_BODY_MAX   4096        /* bytes */
#define HTTP_REQUEST_MS (10 * 1000) /* for a request to come whole, or for the next one */
#define HTTP_ANSWER_MS  (60 * 1000) /* for an answer to be made and taken */

struct http_server;
struct http_request;

/* HEAD is GET: the body is left out on the way. */
enum http_method { HTTP_GET, HTTP_POST, HTTP_OTHER };

struct http_setup {
	struct loop *loop;
	/* A request has come whole. It is answered by exactly one http_answer(), now or later. */
	void (*request)(void *arg, struct http_request *r);
	void *arg;
	void (*idle)(void *arg); /* after http_server_leave(): the last client has gone */
	/* Is this machine called so, or said to be? */
	bool (*is_our_name)(void *arg, const char *name);
};

/* http_library_load() has worked. */
struct http_server *http_server_new(const struct http_setup *setup);
/* token: shown by clients that may steer, NULL: none may. Only an address, localhost or a name of ours may be asked
 * for: a page of another site cannot look in, from the browser of a user who may, by pointing its own name here. 0 or
 * -errno. */
int http_server_listen(struct http_server *s, int fd, const char *token);
/* No new clients; those that there are get what they have asked for. */
void http_server_leave(struct http_server *s);

enum http_method http_method(const struct http_request *r);
const char *http_path(const struct http_request *r);
/* Of the query; NULL: there is none. */
const char *http_argument(const struct http_request *r, const char *name);
/* Without a NUL in it. */
const char *http_body(const struct http_request *r);
/* Whether steering is possible here at all; whether this client has shown the token. */
bool http_has_token(const struct http_request *r);
bool http_may_steer(const struct http_request *r);
/* The client that asks; AF_UNSPEC: it cannot be told. */
void http_client(const struct http_request *r, struct addr *ret);

/* `body` is taken, and empty afterwards. policy: of the content's own resources (CSP); NULL: it has
 * none. */
void http_answer(struct http_request *r, unsigned status, const char *type, const char *policy, struct buf *body);
/* 405; allowed (static): "GET, HEAD". */
void http_answer_method(struct http_request *r, const char *allowed);

#endif
