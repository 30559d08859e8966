/*
 * http.h - requests over HTTP, many at a time, in a loop of ours. The only file beside http.c that knows curl.
 *
 * Whoever answers may lie, be slow, or send without end: an answer has a bound and a time, redirections are not followed (they would
 * take a token with them), and nothing is unpacked.
 */
#ifndef SOURCES_HTTP_H
#define SOURCES_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include "base/buf.h"
#include "event/loop.h"

#define HTTP_ANSWER_MAX ((size_t)8 << 20) /* bytes */

/* How all requests are made. Files are PEM; NULL: none, or those of the system. */
struct http_tls {
	const char *ca, *cert, *key;
};

struct http {
	struct loop *loop;
	const struct http_tls *tls;
	CURLM *multi;
	struct timer timer;
	struct call *calls; /* those that go on */
};

struct request {
	const char *url;
	const char *body;       /* a POST of JSON; NULL: a GET */
	const char *headers[3]; /* "Name: value", more than those that are usual; NULL ends them */
	const char *user;       /* "name:password" for HTTP's own way; NULL: nobody */
	int64_t timeout_ms;     /* for the whole answer; 0: it never ends */
};

/* One request and its answer; embedded in its owner; zero it once. */
struct call {
	struct http *http;
	CURL *easy; /* NULL: nothing goes on */
	struct curl_slist *headers;
	char *posted;
	struct buf answer; /* what has come; who hears it as it comes may take from it */
	struct call *next;
	void (*heard)(void *arg); /* something has come; NULL: only the end matters */
	void (*done)(void *arg, const char *error, long status);
	void *arg;
	bool fresh, too_long, ended;
	CURLcode code;
	char error[CURL_ERROR_SIZE];
};

/* False: curl has no memory. tls is borrowed. */
bool http_init(struct http *h, struct loop *loop, const struct http_tls *tls);
void http_release(struct http *h);

/* done is called once, later: error NULL, and what HTTP said; or why there is no answer. `answer` is there until it returns. */
void call_start(struct call *c, struct http *h, const struct request *r,
                void (*done)(void *arg, const char *error, long status), void *arg);
/* Takes one that has not been started, or is over. Memory of the answer is freed. */
void call_cancel(struct call *c);
bool call_goes_on(const struct call *c);
/* Of the answer, while done runs; NULL: it has none of this name. */
const char *call_header(const struct call *c, const char *name);

/* NULL: a URL of HTTP, to which a path can be added; else what is wrong, static. */
const char *http_check_url(const char *url, bool *ret_tls);

#endif
