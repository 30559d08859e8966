#include "children/refusing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "os/refuse.h"
#include "os/sock.h"

#define NAMES_MAX (SOCK_UNIX_PATH_SIZE + 40)

bool refusing_is_wanted(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (section_may_refuse(&c->sections[i]) && c->sections[i].has_pool)
			return true;
	return false;
}

/* All that is reached there does. */
static bool is_asked_to(const struct rules *r, const struct socket_entry *e)
{
	const struct section **list;
	size_t n = config_sections_at(r->config, &e->addr, r->ifs, r->n_ifs, &list);
	bool all = n > 0;

	for (size_t i = 0; i < n; i++)
		all = all && section_may_refuse(list[i]);
	free(list);
	return all;
}

bool refusing_may(const struct rules *r, const struct socket_entry *e)
{
	return is_asked_to(r, e) && !e->overlaps && socket_is_ours(e) && !sock_is_transparent(e->fd) && refuse_works();
}

/* Several sockets, of which one is named. */
struct some {
	size_t n;
	const struct socket_entry *first;
};

static void add(struct some *x, const struct socket_entry *e)
{
	if (x->n++ == 0)
		x->first = e;
}

/* "10.0.0.1:25 and 3 more" */
static const char *name(const struct some *x, char *ret, size_t size)
{
	char text[NAMES_MAX - 32], path[SOCK_UNIX_PATH_SIZE];

	if (sock_unix_path(x->first->fd, path))
		snprintf(text, sizeof(text), "unix:%s", path);
	else
		addr_format_port(&x->first->addr, text);
	if (x->n == 1)
		snprintf(ret, size, "%s", text);
	else
		snprintf(ret, size, "%s and %zu more", text, x->n - 1);
	return ret;
}

size_t refusing_end(const struct rules *r, struct world *w, bool all, bool again, bool *listen)
{
	struct some ended = {0}, failed = {0};
	char names[NAMES_MAX];
	int error = 0;

	for (size_t i = 0; i < r->listeners.n; i++) {
		const struct socket_entry *e = &r->listeners.list[i];
		int rc;

		if (sock_is_listening(e->fd) || !socket_is_ours(e) || (!all && refusing_may(r, e)))
			continue;
		rc = refuse_end(e->fd, SOCK_BACKLOG);
		error = rc < 0 ? -rc : error;
		add(rc < 0 ? &failed : &ended, e);
	}
	for (size_t i = 0; i < COUNTED_SERVICES && all; i++)
		atomic_store(&w->refusing[i], 0);
	*listen = ended.n > 0;
	if (ended.n > 0)
		log_info("%s: accepting clients again", name(&ended, names, sizeof(names)));
	if (failed.n > 0 && !again)
		log_error("%s: cannot listen again: %s: tried again every 0.1 s", name(&failed, names, sizeof(names)),
		          strerror(error));
	return failed.n;
}

/* ---- what is said ---- */

static const struct server *implied_for(const struct section *s)
{
	return s->n_checks == 1 && s->checks[0].implied && s->n_servers ? &s->servers[0] : NULL;
}

static void tell_implied(const struct config *c)
{
	const struct check_line *last = NULL;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (implied_for(s) && s->checks != last)
			log_info("%s: \"on-down refuse\" without a \"check\": the servers are checked with \"check "
			         "tcp\"",
			         s->origin);
		last = s->checks;
	}
}

static void tell_exceptions(const struct some *x, const char *why)
{
	char names[NAMES_MAX];

	if (x->n > 0)
		log_warning("%s cannot refuse clients, as \"on-down refuse\" wants: %s: they are reset there",
		            name(x, names, sizeof(names)), why);
}

void refusing_tell(const struct rules *r)
{
	struct some local = {0}, caught = {0}, foreign = {0}, overlap = {0}, kernel = {0};

	if (!refusing_is_wanted(r->config))
		return;
	tell_implied(r->config);
	for (size_t i = 0; i < r->listeners.n; i++) {
		const struct socket_entry *e = &r->listeners.list[i];

		if (!is_asked_to(r, e))
			continue;
		if (e->addr.family == AF_UNIX)
			add(&local, e);
		else if (sock_is_transparent(e->fd))
			add(&caught, e);
		else if (!socket_is_ours(e))
			add(&foreign, e);
		else if (e->overlaps)
			add(&overlap, e);
		else if (!refuse_works())
			add(&kernel, e);
	}
	tell_exceptions(&local, "a Unix socket cannot stop listening and begin again");
	tell_exceptions(&caught, "who is caught by \"intercept tproxy\" would pass us then");
	tell_exceptions(&foreign, "the socket was passed by another program (systemd)");
	tell_exceptions(&overlap,
	                "until the next start two sockets serve this port, one of an address, one of all of them");
	tell_exceptions(&kernel, "this kernel does not let a socket stop listening and begin again");
}
