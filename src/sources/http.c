#include "sources/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

#define CONNECT_MS  5000
#define KEEPIDLE_S  20 /* a peer whose machine is gone is noticed */
#define KEEPINTVL_S 10

/* ---- what curl wants to wait for ---- */

/* Calls that have ended, and those that have heard something, are told outside of curl, which may not be called from within. */
static struct call *to_be_told(struct http *h)
{
	for (struct call *c = h->calls; c; c = c->next) {
		if (c->fresh || c->ended)
			return c;
	}
	return NULL;
}

static const char *why_it_failed(const struct call *c)
{
	if (c->too_long)
		return "its answer is longer than 8 MiB";
	return *c->error ? c->error : curl_easy_strerror(c->code);
}

static void unlink_call(struct call *c)
{
	for (struct call **at = &c->http->calls; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			return;
		}
	}
}

static void tell_end(struct call *c)
{
	long status = 0;
	CURL *easy = c->easy;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	c->ended = false;
	unlink_call(c);
	c->done(c->arg, c->code == CURLE_OK ? NULL : why_it_failed(c), status);
	if (c->easy == easy && !call_goes_on(c))
		call_cancel(c); /* it has neither been cancelled nor started again */
}

static void tell(struct http *h)
{
	struct call *c;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		c->code = m->data.result;
		c->ended = true;
	}
	while ((c = to_be_told(h))) {
		bool fresh = c->fresh;

		c->fresh = false;
		if (fresh && c->heard)
			c->heard(c->arg);
		else if (c->ended)
			tell_end(c);
	}
}

static void time_is_up(void *arg)
{
	struct http *h = arg;
	int running;

	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	tell(h);
}

static int want_time(CURLM *multi, long ms, void *arg)
{
	struct http *h = arg;

	if (ms < 0)
		timer_clear(h->loop, &h->timer);
	else
		timer_set(h->loop, &h->timer, h->loop->now_ms + ms, time_is_up, h);
	return 0;
}

struct socket_watch {
	struct watch watch;
	struct http *http;
	curl_socket_t fd;
};

static void socket_event(void *arg, uint32_t events)
{
	struct socket_watch *w = arg;
	struct http *h = w->http;
	int running, mask = 0;

	if (events & (EPOLLIN | EPOLLHUP))
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(h->multi, w->fd, mask, &running);
	tell(h);
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
	struct http *h = arg;
	struct socket_watch *w = of_socket;
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);

	if (what == CURL_POLL_REMOVE) {
		if (w)
			watch_remove(h->loop, &w->watch);
		free(w);
		curl_multi_assign(h->multi, fd, NULL);
		return 0;
	}
	if (w)
		return watch_change(h->loop, &w->watch, events) < 0 ? -1 : 0;
	w = mem_alloc(sizeof(*w));
	w->http = h;
	w->fd = fd;
	if (watch_add(h->loop, &w->watch, fd, events, socket_event, w) < 0) {
		free(w);
		return -1;
	}
	curl_multi_assign(h->multi, fd, w);
	return 0;
}

bool http_init(struct http *h, struct loop *loop, const struct http_tls *tls)
{
	*h = (struct http){.loop = loop, .tls = tls};
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(h->multi = curl_multi_init()))
		return false;
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_time);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	return true;
}

void http_release(struct http *h)
{
	while (h->calls)
		call_cancel(h->calls);
	curl_multi_cleanup(h->multi);
	timer_clear(h->loop, &h->timer);
	curl_global_cleanup();
}

/* ---- a call ---- */

static size_t answer_comes(char *data, size_t one, size_t n, void *arg)
{
	struct call *c = arg;

	if (c->answer.len + n > HTTP_ANSWER_MAX) {
		c->too_long = true;
		return 0;
	}
	buf_add(&c->answer, data, n);
	c->fresh = true;
	return n;
}

static void add_header(struct call *c, const char *line)
{
	struct curl_slist *longer = curl_slist_append(c->headers, line);

	if (longer)
		c->headers = longer;
}

static void set_body(struct call *c, const struct request *r)
{
	if (!r->body)
		return;
	c->posted = mem_strdup(r->body);
	add_header(c, "Content-Type: application/json");
	add_header(c, "Expect:");
	curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, c->posted);
}

static void set_tls(CURL *easy, const struct http_tls *tls)
{
	if (tls->ca)
		curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca);
	if (tls->cert)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert);
	if (tls->key)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key);
}

static void set_manners(CURL *easy, const struct request *r)
{
	curl_easy_setopt(easy, CURLOPT_URL, r->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "tcpproxy-servers/" TCPPROXY_VERSION);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPIDLE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPINTVL_S);
	if (r->user) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERPWD, r->user);
	}
}

void call_start(struct call *c, struct http *h, const struct request *r,
                void (*done)(void *arg, const char *error, long status), void *arg)
{
	void (*heard)(void *) = c->heard;

	call_cancel(c);
	*c = (struct call){.http = h, .heard = heard, .done = done, .arg = arg, .next = h->calls};
	c->easy = curl_easy_init();
	if (!c->easy) {
		log_error("libcurl begins no request: there is no memory");
		exit(2);
	}
	set_manners(c->easy, r);
	set_tls(c->easy, h->tls);
	set_body(c, r);
	for (size_t i = 0; i < ARRAY_LEN(r->headers) && r->headers[i]; i++)
		add_header(c, r->headers[i]);
	curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, answer_comes);
	curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
	curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	h->calls = c;
	curl_multi_add_handle(h->multi, c->easy);
}

void call_cancel(struct call *c)
{
	if (c->easy) {
		unlink_call(c);
		curl_multi_remove_handle(c->http->multi, c->easy);
		curl_easy_cleanup(c->easy);
	}
	curl_slist_free_all(c->headers);
	free(c->posted);
	buf_release(&c->answer);
	*c = (struct call){.heard = c->heard};
}

bool call_goes_on(const struct call *c)
{
	if (!c->easy)
		return false;
	for (const struct call *other = c->http->calls; other; other = other->next) {
		if (other == c)
			return true;
	}
	return false;
}

const char *call_header(const struct call *c, const char *name)
{
	struct curl_header *header;

	return curl_easy_header(c->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value : NULL;
}

/* ---- URLs ---- */

static bool has_part(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return has;
}

static const char *check_parts(CURLU *u, bool *ret_tls)
{
	char *scheme = NULL;
	bool known;

	if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return "it begins neither with http:// nor with https://";
	*ret_tls = strcasecmp(scheme, "https") == 0;
	known = *ret_tls || strcasecmp(scheme, "http") == 0;
	curl_free(scheme);
	if (!known)
		return "it begins neither with http:// nor with https://";
	if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD))
		return "a user and a password there could be seen by everybody: write them into a file, and use "
		       "--user-file";
	if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT))
		return "nothing may follow behind ? or #";
	return NULL;
}

const char *http_check_url(const char *url, bool *ret_tls)
{
	CURLU *u = curl_url();
	const char *why = "this is no URL: write http://HOST:PORT or https://HOST:PORT";

	if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK)
		why = check_parts(u, ret_tls);
	curl_url_cleanup(u);
	return why;
}
