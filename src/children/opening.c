#include "children/opening.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "os/caps.h"
#include "os/netns.h"
#include "os/sock.h"
#include "os/unix_listen.h"
#include "os/user.h"

#define BLANK_PATIENCE_MS 1000

/* ---- Unix ---- */

/* owner=USER[:GROUP] of the file, which is ours now. */
static int give_file(const struct service *service)
{
	const char *colon = strchr(service->owner, ':');
	char *user = strndup(service->owner, colon ? (size_t)(colon - service->owner) : strlen(service->owner));
	struct identity id;
	char why[160];
	int rc = user ? 0 : -ENOMEM;

	if (rc == 0 && !user_lookup(user, colon ? colon + 1 : NULL, &id, why, sizeof(why)))
		rc = -EKEYREJECTED; /* whose it would be is not known here */
	if (rc == 0)
		rc = unix_listen_give(service->path, id.uid, id.gid);
	free(user);
	return rc;
}

static int listen_unix(const struct service *service)
{
	int fd = unix_listen(service->path, service->mode, SOCK_BACKLOG), rc;

	if (fd < 0 || !service->owner)
		return fd;
	rc = give_file(service);
	if (rc == 0)
		return fd;
	unlink(service->path);
	close(fd);
	return rc;
}

/* ---- ports ---- */

/* Another process, which may, makes sockets of that namespace; they wait. */
static int take_blank(const struct service *service, uint16_t family, const struct blank_list *blanks)
{
	const struct blank_kind kind = {.family = family, .netns = netns_id(service->netns)};
	int i = blanks ? blank_find(blanks, &kind) : -1, fd = -EPERM;
	int64_t now_ms = clock_mono_ms(), until_ms = now_ms + BLANK_PATIENCE_MS;

	/* of the namespace that is there now, not a moment ago */
	while (i >= 0 && (fd = blank_take_new(blanks->fds[i], now_ms)) == -EAGAIN && clock_mono_ms() < until_ms)
		poll(&(struct pollfd){.fd = blanks->fds[i], .events = POLLIN}, 1, 50);
	return fd;
}

/* In its namespace. */
static int make(const struct service *service, uint16_t family, bool mptcp, const struct blank_list *blanks)
{
	int home, rc = service->netns ? netns_enter(service->netns, &home) : 0, fd;

	if ((rc == -EPERM || rc == -EACCES) && !mptcp)
		return take_blank(service, family, blanks);
	if (rc < 0)
		return rc == -ENOENT || rc == -EINVAL ? -ENONET : rc;
	fd = sock_new_listener(family, mptcp);
	if (service->netns)
		netns_leave(home);
	return fd;
}

static int make_for(const struct service *service, const struct addr *a, const struct blank_list *blanks)
{
	int fd = make(service, a->family, service->mptcp, blanks);

	if (fd != -EPROTONOSUPPORT)
		return fd;
	log_warning("port %u: this kernel has no MPTCP: its clients are served by TCP", a->port);
	return make(service, a->family, false, blanks);
}

int opening_is_there(const struct service *service, int fd, const struct blank_list *blanks)
{
	int there = make(service, AF_INET, false, blanks), rc;

	if (there < 0)
		return there;
	rc = sock_same_netns(fd, there);
	close(there);
	return rc;
}

/* What it accepts has the client's mark of the packet where tcp_fwmark_accept is 1, and its answers would come back to us, unless it
 * has one itself. */
static int be_transparent(const struct service *service, int fd, const struct addr *a)
{
	int rc = sock_be_transparent(fd, a->family == AF_INET6);

	return rc == 0 ? sock_mark(fd, service->answers_mark) : rc;
}

static int listen_at_port(const struct service *service, const struct addr *a, bool share,
                          const struct blank_list *blanks)
{
	int fd = make_for(service, a, blanks), rc = 0;

	if (fd < 0)
		return fd;
	if (service->device)
		rc = sock_device(fd, service->device);
	if (service->intercept == INTERCEPT_TPROXY)
		rc = be_transparent(service, fd, a);
	if (a->port < 1024)
		caps_raise(CAP_NET_BIND_SERVICE, true);
	if (rc == 0)
		rc = sock_begin_listening(fd, a, SOCK_BACKLOG, share);
	if (a->port < 1024)
		caps_raise(CAP_NET_BIND_SERVICE, false);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int opening_listen(const struct service *service, const struct addr *a, bool share, const struct blank_list *blanks)
{
	return a->family == AF_UNIX ? listen_unix(service) : listen_at_port(service, a, share, blanks);
}

/* ---- what is said ---- */

static void explain_unix(const struct service *service, int error, struct buf *why)
{
	buf_addf(why, "port unix:%s: cannot listen there: ", service->path);
	if (error == EKEYREJECTED)
		buf_addf(why, "there is no such user or group as owner=%s says", service->owner);
	else if (service->owner && error == EPERM)
		buf_addf(why, "only root may give the file to owner=%s, so this takes effect at the next start",
		         service->owner);
	else
		buf_adds(why, unix_listen_error(error));
}

static void explain_port(const struct service *service, const struct addr *a, int error, struct buf *why)
{
	char text[ADDR_TEXT_MAX];

	buf_addf(why, "port %u: cannot listen on %s", a->port, addr_format_port(a, text));
	if (service->device)
		buf_addf(why, " of %s", service->device);
	if (service->netns)
		buf_addf(why, " in the network namespace %s", service->netns);
	if (service->intercept == INTERCEPT_TPROXY && error == EPERM)
		buf_adds(why, ": \"intercept tproxy\" needs root at the start (CAP_NET_ADMIN)");
	else if (error == ENONET)
		buf_adds(why, ": there is no such namespace (ip netns)");
	else if (service->netns && error == EPERM)
		buf_adds(why, ": \"netns=\" needs root at the start (CAP_SYS_ADMIN)");
	else if (service->device && error == ENODEV)
		buf_adds(why, ": there is no such interface (ip link)");
	else
		buf_addf(why, ": %s", strerror(error));
	if (error == EADDRINUSE)
		buf_addf(why, " (see who has it: %s%s%sss -ltnp 'sport = :%u')", service->netns ? "nsenter --net=" : "",
		         service->netns ? service->netns : "", service->netns ? " " : "", a->port);
	else if (error == EACCES)
		buf_adds(why, " (ports below 1024 need root or CAP_NET_BIND_SERVICE)");
}

void opening_explain(const struct service *service, const struct addr *a, int error, struct buf *why)
{
	if (a->family == AF_UNIX)
		explain_unix(service, error, why);
	else
		explain_port(service, a, error, why);
	buf_addc(why, '\n');
}
