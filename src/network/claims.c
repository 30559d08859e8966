#include "network/claims.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/caps.h"
#include "os/private.h"
#include "os/sock.h"

#define PATIENCE_MS    1000
#define AGAIN_MS       10
#define CLAIM_NOT_HELD (-1) /* a stranger has the name: we do without */

/* What is answered; the layout never changes. */
struct claim_answer {
	int32_t supervisor; /* pid; 0: it is yours */
};

struct claim_name {
	struct sockaddr_un sa;
	socklen_t len;
};

static struct claim_name name_of(const char *what, uint32_t n)
{
	struct claim_name name = {.sa.sun_family = AF_UNIX};
	int len = snprintf(name.sa.sun_path + 1, sizeof(name.sa.sun_path) - 1, "tcpproxy/%s/%u", what, n);

	name.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
	return name;
}

static int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* -EADDRINUSE: a living process has it. */
static int take_one(const struct claim_name *name)
{
	int fd = open_socket(), error;

	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&name->sa, name->len) == 0 && listen(fd, 16) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

/* ---- asking who has it ---- */

/* Anybody can take a name that is free. Only who has the right to do what is claimed can be one of us. */
static bool may_be_ours(const struct ucred *peer)
{
	return peer->uid == 0 || caps_has(peer->pid, CAP_NET_ADMIN);
}

enum asked {
	ASKED_OWNER, /* *pid has it, whether it answers or not; 0: that is not known */
	ASKED_STRANGER,
	ASKED_LEAVING, /* it was given to us; or who had it is about to have closed it: the kernel does so after the last sign of a process */
};

static enum asked answer_of(int fd, int *pid)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct claim_answer answer;
	ssize_t len;

	if (poll(&p, 1, PATIENCE_MS) != 1)
		return ASKED_OWNER; /* it is stopped, say */
	len = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);
	if (len != (ssize_t)sizeof(answer) || answer.supervisor == 0)
		return ASKED_LEAVING;
	*pid = answer.supervisor;
	return ASKED_OWNER;
}

static enum asked ask_who(const struct claim_name *name, int *pid)
{
	int fd = open_socket();
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	enum asked asked;

	*pid = 0;
	if (fd < 0)
		return ASKED_OWNER;
	if (connect(fd, (const struct sockaddr *)&name->sa, name->len) < 0) {
		asked = errno == ECONNREFUSED ? ASKED_LEAVING : ASKED_OWNER;
	} else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && !may_be_ours(&peer)) {
		asked = ASKED_STRANGER;
	} else {
		*pid = peer.pid;
		asked = answer_of(fd, pid);
	}
	close(fd);
	return asked;
}

/* word: how it is called, and shown; what: the name of its word behind "routes". */
static int take(const char *what, const char *word, uint32_t n, const char *shown, struct buf *why)
{
	struct claim_name name = name_of(what, n);
	int fd = take_one(&name), pid = 0;

	for (int tries = 0; fd == -EADDRINUSE && tries < PATIENCE_MS / AGAIN_MS; tries++) {
		enum asked asked = ask_who(&name, &pid);

		if (asked == ASKED_STRANGER)
			return CLAIM_NOT_HELD;
		if (asked == ASKED_OWNER)
			break;
		poll(NULL, 0, AGAIN_MS);
		fd = take_one(&name);
	}
	if (fd == -EADDRINUSE)
		buf_addf(why,
		         "the %s %s is used by another tcpproxy, pid %d: \"routes %s=N\" chooses another for this one",
		         word, shown, pid, what);
	else if (fd < 0)
		buf_addf(why, "the %s %s cannot be claimed: %s", word, shown, strerror(-fd));
	return fd;
}

bool claims_take(struct claims *c, const struct routes *r, struct buf *why)
{
	char shown[CLAIMS][16];
	int fds[CLAIMS] = {-1, -1, -1};

	snprintf(shown[0], sizeof(shown[0]), "%u", r->table);
	snprintf(shown[1], sizeof(shown[1]), "0x%x", r->mark);
	snprintf(shown[2], sizeof(shown[2]), "%u", r->priority);
	fds[0] = take("table", "routing table", r->table, shown[0], why);
	if (!why->len)
		fds[1] = take("mark", "mark", r->mark, shown[1], why);
	if (!why->len)
		fds[2] = take("priority", "priority", r->priority, shown[2], why);
	for (size_t i = 0; i < CLAIMS; i++)
		c->fds[i] = fds[i] >= 0 ? fds[i] : -1;
	if (!why->len)
		return true;
	claims_drop(c);
	return false;
}

void claims_drop(struct claims *c)
{
	for (size_t i = 0; i < CLAIMS; i++) {
		if (c->fds[i] >= 0)
			close(c->fds[i]);
		c->fds[i] = -1;
	}
}

/* ---- answering ---- */

/* Root may take what has no supervisor any more; and so may one of our own user, unless root was given up: others of it are strangers
 * then. */
static bool may_have(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || (!private_is() && peer.uid == geteuid()));
}

bool claims_answer(int fd, int supervisor)
{
	int asker = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct claim_answer answer = {.supervisor = supervisor};
	bool given;

	if (asker < 0)
		return false;
	if (supervisor == 0 && !may_have(asker))
		answer.supervisor = (int32_t)getpid();
	given = answer.supervisor == 0;
	send(asker, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(asker);
	return given;
}

bool claims_table_is_used(uint32_t table)
{
	struct claim_name name = name_of("table", table);
	int fd = take_one(&name);

	if (fd >= 0)
		close(fd);
	return fd == -EADDRINUSE;
}
