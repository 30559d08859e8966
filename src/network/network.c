#include "network/network.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "network/kinds.h"
#include "network/obstacles.h"
#include "network/routes.h"
#include "network/socketsd.h"
#include "os/blank.h"
#include "os/caps.h"
#include "os/sock.h"

#define START_PATIENCE_MS 10000
#define STOP_PATIENCE_MS  5000

static void close_all(struct network *n, struct socketsd_setup *setup)
{
	for (size_t i = 0; i < n->blanks.n; i++) {
		close(n->blanks.fds[i]);
		if (setup->queues[i] >= 0)
			close(setup->queues[i]);
	}
	n->blanks.n = 0;
}

static int open_queues(struct network *n, struct socketsd_setup *setup)
{
	size_t kinds = kinds_of(setup->config, n->blanks.kinds);

	if (kinds > BLANK_KINDS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < kinds; i++) {
		struct blank_queue q;
		int rc = blank_open(&q);

		if (rc < 0)
			return rc;
		n->blanks.fds[i] = q.read;
		setup->queues[i] = q.write;
		n->blanks.n++;
	}
	setup->kinds = n->blanks.kinds;
	setup->n = kinds;
	return 0;
}

/* The first that it says. */
static bool wait_for_beginning(struct network *n, struct buf *text)
{
	struct pollfd p = {.fd = n->control_fd, .events = POLLIN};
	struct network_said said;
	int len = -EAGAIN;

	if (poll(&p, 1, START_PATIENCE_MS) == 1)
		len = sock_recv_message(n->control_fd, &said, sizeof(said), NULL, NULL);
	if (len != (int)sizeof(said)) {
		buf_adds(text, len == -EAGAIN ? "\"tcpproxy: sockets\" does not answer"
		                              : "\"tcpproxy: sockets\" has ended at once");
		return false;
	}
	buf_addf(text, "%.*s", (int)sizeof(said.text), said.text);
	return !said.failed;
}

static bool start(struct network *n, struct socketsd_setup *setup, struct buf *text)
{
	int pair[2], rc = open_queues(n, setup);
	pid_t pid = -1;

	if (rc == 0)
		rc = sock_message_pair(pair);
	if (rc < 0) {
		if (rc == -E2BIG)
			buf_addf(text,
			         "\"source client\" and \"mark\" together need more than %d kinds of sockets: fewer "
			         "marks, please",
			         BLANK_KINDS_MAX);
		else
			buf_adds(text, strerror(-rc));
		return false;
	}
	setup->control_fd = pair[1];
	pid = fork();
	if (pid == 0)
		socketsd_run(setup);
	close(pair[1]);
	n->control_fd = pair[0];
	if (pid < 0) {
		buf_adds(text, strerror(errno));
		return false;
	}
	return wait_for_beginning(n, text);
}

#if HAVE_NETWORK
bool network_start(struct network *n, const struct config *c, const struct identity *identity, struct buf *text)
{
	struct socketsd_setup setup = {.config = c, .identity = identity, .supervisor = getpid()};
	bool ok;

	*n = NETWORK_NONE;
	n->caught = config_interceptions_number(c);
	if (config_enters_netns(c) && !caps_may(CAP_SYS_ADMIN)) {
		buf_adds(text, "\"netns\" needs root at start (CAP_SYS_ADMIN)");
		return false;
	}
	if (!caps_may(CAP_NET_ADMIN)) {
		buf_addf(text, "\"%s\" needs root at start (CAP_NET_ADMIN)",
		         config_calls_as_client(c) ? "source client"
		         : config_intercepts(c)    ? "intercept"
		                                   : "mark");
		return false;
	}
	ok = start(n, &setup, text);
	for (size_t i = 0; i < n->blanks.n; i++) {
		close(setup.queues[i]);
		setup.queues[i] = -1;
	}
	if (ok)
		return true;
	close_all(n, &setup);
	if (n->control_fd >= 0)
		close(n->control_fd);
	n->control_fd = -1;
	return false;
}

bool network_look(const struct config *c, struct buf *lines)
{
	if (geteuid() != 0 && !caps_may(CAP_NET_ADMIN))
		buf_adds(lines, "--network needs root: else the rules of nft cannot be read\n");
	else if (config_calls_as_client(c))
		obstacles_find(c, lines);
	return lines->len == 0;
}

bool network_clean(struct buf *lines)
{
	bool may = geteuid() == 0 || caps_may(CAP_NET_ADMIN);

	if (may)
		routes_clean(lines);
	else
		buf_adds(lines, "--clean-network needs root\n");
	return may;
}
#else
bool network_look(const struct config *c, struct buf *lines)
{
	buf_adds(lines, "--network cannot look: this was built without libmnl or libnftables\n");
	return false;
}

bool network_clean(struct buf *lines)
{
	buf_adds(lines, "--clean-network has nothing to do: this was built without libmnl or libnftables\n");
	return false;
}

bool network_start(struct network *n, const struct config *c, const struct identity *identity, struct buf *text)
{
	*n = NETWORK_NONE;
	buf_adds(text, "\"source client\" and \"mark\" cannot be had: this was built without libmnl or libnftables");
	return false;
}
#endif

bool network_hear(struct network *n, struct buf *lines, bool *ended)
{
	struct network_said said;
	int len = n->control_fd < 0 ? -EAGAIN : sock_recv_message(n->control_fd, &said, sizeof(said), NULL, NULL);

	*ended = false;
	if (len == -EAGAIN || len == -EINTR)
		return false;
	if (len == (int)sizeof(said)) {
		buf_addf(lines, "%.*s", (int)sizeof(said.text), said.text);
		return true;
	}
	*ended = true;
	buf_adds(lines, "both processes \"tcpproxy: sockets\" have ended: until the next restart no server is called "
	                "from a client's "
	                "address, and what was set up of the routing stays (tcpproxy --clean-network)");
	return true;
}

void network_stop(struct network *n)
{
	struct pollfd p = {.fd = n->control_fd, .events = 0};

	if (n->control_fd < 0)
		return;
	if (sock_send_message(n->control_fd, "end", 3, NULL, 0) == 0)
		poll(&p, 1, STOP_PATIENCE_MS); /* hung up */
	close(n->control_fd);
	n->control_fd = -1;
}

void network_leave(struct network *n)
{
	if (n->control_fd >= 0)
		close(n->control_fd);
	n->control_fd = -1;
}

bool network_is_needed(const struct config *c)
{
	struct blank_kind kinds[BLANK_KINDS_MAX];

	return kinds_of(c, kinds) > 0;
}

const char *network_too_late(const struct network *n, const struct config *c)
{
	struct blank_kind kinds[BLANK_KINDS_MAX];
	size_t wanted = kinds_of(c, kinds);

	if (n->caught != config_interceptions_number(c))
		return "\"intercept\" takes effect at the next start";
	for (size_t i = 0; i < wanted; i++)
		if (i >= BLANK_KINDS_MAX || blank_find(&n->blanks, &kinds[i]) < 0)
			return i >= BLANK_KINDS_MAX   ? "so many kinds of sockets take effect at the next start"
			       : kinds[i].netns       ? "\"netns\" takes effect at the next start"
			       : kinds[i].transparent ? "\"source client\" takes effect at the next start"
			                              : "\"mark\" takes effect at the next start";
	return NULL;
}
