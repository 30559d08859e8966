#include "os/refuse.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/sock.h"

#define TRIAL_TIMES 5    /* a port that is free now may be taken a moment later */
#define TRIAL_MS    1000 /* for a connection to ourselves */

/* While it is on, another user's socket may be bound to the same port, and listen there if ours does not. */
static int may_be_shared(int fd, bool may)
{
	int on = may;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ? -errno : 0;
}

int refuse_begin(int fd)
{
	if (shutdown(fd, SHUT_RD) < 0 && errno != ENOTCONN) /* that is: it did not listen */
		return -errno;
	return may_be_shared(fd, false);
}

int refuse_end(int fd, int backlog)
{
	int rc = may_be_shared(fd, true); /* before it accepts: what it accepts inherits it */

	if (rc == 0 && listen(fd, backlog) < 0)
		rc = -errno;
	if (rc < 0)
		may_be_shared(fd, false);
	return rc;
}

/* ---- the trial ---- */

/* 0: somebody listens there; or -errno. */
static int knock(const struct addr *at)
{
	int fd = sock_new_tcp(at->family), rc;
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (fd < 0)
		return fd;
	sock_reset_on_close(fd);
	rc = sock_connect(fd, at);
	if (rc == -EINPROGRESS)
		rc = poll(&p, 1, TRIAL_MS) == 1 ? -sock_take_error(fd) : -ETIMEDOUT;
	close(fd);
	return rc;
}

/* A port that was free a moment ago. */
static int find_free(struct addr *at)
{
	int fd = sock_listen(at, 1, false), rc;

	if (fd < 0)
		return fd;
	rc = sock_local(fd, at);
	close(fd);
	return rc;
}

static bool holds(int fd, const struct addr *at)
{
	struct addr now;

	return knock(at) == 0 && refuse_begin(fd) == 0 && !sock_is_listening(fd) && knock(at) == -ECONNREFUSED &&
	       refuse_end(fd, 1) == 0 && sock_is_listening(fd) && sock_local(fd, &now) == 0 && now.port == at->port &&
	       knock(at) == 0;
}

static bool try_at(struct addr at)
{
	int fd = -EADDRINUSE;
	bool ok;

	for (int i = 0; i < TRIAL_TIMES && fd == -EADDRINUSE; i++) {
		at.port = 0;
		fd = find_free(&at);
		if (fd == 0)
			fd = sock_listen(&at, 4, false);
	}
	if (fd < 0)
		return false;
	ok = holds(fd, &at);
	close(fd);
	return ok;
}

bool refuse_works(void)
{
	static enum { UNTRIED, NO, YES } known;

	if (known == UNTRIED)
		known = try_at((struct addr){.family = AF_INET, .ip = {127, 0, 0, 1}}) ||
		                        try_at((struct addr){.family = AF_INET6, .ip = {[15] = 1}})
		                ? YES
		                : NO;
	return known == YES;
}
