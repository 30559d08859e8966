#include "proxy/as_client.h"

#include <errno.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "os/blank.h"
#include "os/sock.h"
#include "proxy/seldom.h"

#define OWN_MS  1000 /* so long what the kernel has said is believed */
#define LOST_MS 2000

/* ---- whose address it is ---- */

/* Asked of the kernel: it calls an address of its own from that address. */
static bool ask_own(const struct addr *a)
{
	struct addr source;

	return addr_is_loopback(a) || (sock_source_of(a, &source) == 0 && addr_same_host(&source, a));
}

bool own_address(struct own_addresses *own, const struct addr *a, int64_t now_ms)
{
	size_t at = (size_t)hash_bytes(HASH_START, a->ip, sizeof(a->ip)) % OWN_ADDRESSES;

	if (own->list[at].until_ms <= now_ms || !addr_same_host(&own->list[at].addr, a)) {
		own->list[at].addr = *a;
		own->list[at].own = ask_own(a);
		own->list[at].until_ms = now_ms + OWN_MS;
	}
	return own->list[at].own;
}

/* ---- whether ---- */

static void tell_family(struct step_env *env, const struct addr *client, const struct addr *to)
{
	char from[ADDR_TEXT_MAX], server[ADDR_TEXT_MAX];

	if (!seldom_now(env->seldom, SELDOM_FAMILY, env->loop->now_ms))
		return;
	log_warning(
	        "source client: %s cannot be the source towards %s, which is of the other family: the server sees this "
	        "machine's address (said once a minute)",
	        addr_format(client, from), addr_format_port(to, server));
}

bool as_client_may(struct step_env *env, const struct addr *client, const struct addr *to)
{
	int64_t now = env->loop->now_ms;

	if (client->family != AF_INET && client->family != AF_INET6)
		return false;
	if (client->family != to->family) {
		tell_family(env, client, to);
		return false;
	}
	return own_address(env->own, to, now) || !own_address(env->own, client, now);
}

/* ---- how ---- */

static struct blank_kind kind_for(struct step_env *env, const struct addr *to, const struct marks *m)
{
	bool here = !m->netns && own_address(env->own, to, env->loop->now_ms);

	return (struct blank_kind){
	        .family = to->family, .transparent = true, .mark = m->own | (here ? m->back : 0), .netns = m->netns};
}

static int bind_to(int fd, const struct addr *client, bool port)
{
	struct addr a = *client;
	int rc = -EADDRINUSE;

	if (port && a.port)
		rc = sock_bind_reusing(fd, &a);
	a.port = 0;
	return rc == -EADDRINUSE ? sock_bind_source(fd, &a) : rc;
}

/* Those that make them may have given way to those of the next supervisor, which are told of in a moment; or they have ended. */
static int lost(struct step_env *env, int queue)
{
	static int lost_queue = -1;
	static int64_t lost_ms;

	if (queue != lost_queue) {
		lost_queue = queue;
		lost_ms = env->loop->now_ms;
	}
	return env->loop->now_ms - lost_ms < LOST_MS ? -EAGAIN : -EPIPE;
}

static int take(struct step_env *env, const struct blank_kind *kind)
{
	int at = blank_find(&env->trio->blanks, kind);
	/* else for one connection under inetd: by our own right */
	int fd = at >= 0 ? blank_take(env->trio->blanks.fds[at], kind) : kind->netns ? -EPERM : blank_make(kind);

	return at >= 0 && fd == -EPIPE ? lost(env, env->trio->blanks.fds[at]) : fd;
}

int as_ourselves_open(struct step_env *env, const struct marks *marks, const struct addr *to)
{
	const struct blank_kind kind = {.family = to->family, .mark = marks->own, .netns = marks->netns};

	return take(env, &kind);
}

int as_client_open(struct step_env *env, const struct addr *client, bool port, const struct marks *marks,
                   const struct addr *to, bool *refused)
{
	const struct blank_kind kind = kind_for(env, to, marks);
	int fd = take(env, &kind), rc;

	*refused = false;
	FAULT_POINT();
	if (fd < 0) {
		*refused = fd != -EAGAIN && fd != -ENONET;
		return fd;
	}
	rc = bind_to(fd, client, port);
	FAULT_POINT();
	if (rc == 0)
		return fd;
	*refused = true;
	close(fd);
	return rc;
}
