#include "takeover/position.h"

#include <poll.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "os/sock.h"

#define STABLE_TRIES 100

struct reading {
	struct sock_tcp_info info;
	int unread, unsent;
};

static bool same(const struct sock_tcp_info *a, const struct sock_tcp_info *b)
{
	return a->state == b->state && a->bytes_received == b->bytes_received && a->bytes_acked == b->bytes_acked;
}

/* Three questions are not one instant: asked again until nothing has changed between the first and
 * the last. */
static int read_stable(int fd, struct reading *r)
{
	for (int i = 0; i < STABLE_TRIES; i++) {
		struct sock_tcp_info after;
		int rc = sock_tcp_info(fd, &r->info);

		if (rc < 0)
			return rc;
		r->unread = sock_unread(fd);
		r->unsent = sock_unsent(fd);
		rc = sock_tcp_info(fd, &after);
		if (rc < 0)
			return rc;
		if (same(&r->info, &after))
			break;
	}
	/* a sender that never pauses for so long: the last reading may be behind by what has come since,
	 * which the unread count of the same reading includes or not; ask for less, later */
	return 0;
}

bool position_error_pending(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

/* In TCP_CLOSE: did a FIN come? Looks past what is unread: the kernel answers 0 there for a FIN
 * (it looks for that first), and the error of a reset otherwise. */
static bool probe_fin(int fd, int unread)
{
	int behind = unread, off = -1;
	char byte;
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &behind, sizeof(behind)) < 0)
		return false;
	FAULT_POINT();
	n = sock_recv(fd, &byte, 1, MSG_PEEK);
	FAULT_POINT();
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	return n == 0;
}

int position_ask(int fd, bool caller, bool error_seen, struct position *ret)
{
	struct reading r;
	int rc = read_stable(fd, &r);

	if (rc < 0)
		return rc;
	*ret = (struct position){
	        .closed = tcp_closed(r.info.state), .fin = tcp_fin_received(r.info.state), .certain = true};
	if (ret->closed) {
		bool pending = position_error_pending(fd);
		bool nothing_behind = probe_fin(fd, r.unread);

		/* "no FIN" is certain; "FIN" only if its error is still there or there never was one */
		ret->certain = pending || !nothing_behind;
		ret->fin = nothing_behind && (pending || !error_seen);
	}
	ret->consumed = r.info.bytes_received - (uint64_t)r.unread - (ret->fin ? 1 : 0);
	ret->written =
	        r.info.bytes_acked + (uint64_t)r.unsent - (tcp_fin_sent(r.info.state) ? 1 : 0) - (caller ? 1 : 0);
	return 0;
}
