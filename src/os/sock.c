#include "os/sock.h"
#include "base/progress.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The numbers of net/tcp_states.h, part of the kernel's interface. */
enum {
	ESTABLISHED = 1,
	FIN_WAIT1 = 4,
	FIN_WAIT2 = 5,
	TIME_WAIT = 6,
	CLOSE = 7,
	CLOSE_WAIT = 8,
	LAST_ACK = 9,
	CLOSING = 11
};

#define NEW_SOCKET (SOCK_NONBLOCK | SOCK_CLOEXEC)

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get_int(int fd, int level, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) < 0 ? -errno : value;
}

void sock_share_port(int fd, bool share)
{
	set_int(fd, SOL_SOCKET, SO_REUSEPORT, share);
}

static int bind_and_listen(int fd, const struct addr *a, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(a, &sa);

	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (a->family == AF_INET6) {
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
	} else {
		set_int(fd, IPPROTO_IP, IP_FREEBIND, 1);
	}
	if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, backlog) < 0)
		return -errno;
	return 0;
}

int sock_listen(const struct addr *a, int backlog, bool share)
{
	int fd = socket(a->family, SOCK_STREAM | NEW_SOCKET, 0);
	int rc;

	if (fd < 0)
		return -errno;
	sock_share_port(fd, share);
	rc = bind_and_listen(fd, a, backlog);
	if (share)
		sock_share_port(fd, false);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

void sock_never_wait(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void sock_prepare_listener(int fd)
{
	sock_never_wait(fd);
	set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

bool sock_is_dual(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6 && get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
}

int sock_keepalive(int fd, int64_t idle_ms)
{
	int idle_s = idle_ms > 32767000 ? 32767 : (int)((idle_ms + 999) / 1000);
	int interval_s = idle_s < 30 ? idle_s : 30;
	int rc;

	if (idle_ms <= 0)
		return set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
	rc = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (rc == 0)
		rc = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
	if (rc == 0)
		rc = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
	if (rc == 0)
		rc = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
	return rc;
}

int sock_accept(int fd, struct addr *peer)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int conn = accept4(fd, (struct sockaddr *)&sa, &len, NEW_SOCKET);

	if (conn < 0)
		return -errno;
	progress();
	if (peer)
		addr_from_sockaddr((struct sockaddr *)&sa, len, peer);
	return conn;
}

bool sock_is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

const char *sock_shortage_text(int error)
{
	return error == ENFILE   ? "the system has no descriptors left"
	       : error == EMFILE ? "no descriptors left (see LimitNOFILE, ulimit -n)"
	                         : "no memory";
}

int sock_local(int fd, struct addr *ret)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	addr_from_sockaddr((struct sockaddr *)&sa, len, ret);
	return 0;
}

int sock_peer(int fd, struct addr *ret)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	if (ret)
		addr_from_sockaddr((struct sockaddr *)&sa, len, ret);
	return 0;
}

int sock_interface_index(int fd, const char *name)
{
	struct ifreq wanted = {0};

	memcpy(wanted.ifr_name, name, strnlen(name, sizeof(wanted.ifr_name) - 1));
	return ioctl(fd, SIOCGIFINDEX, &wanted) < 0 ? -errno : wanted.ifr_ifindex;
}

bool sock_is_listening(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

bool sock_binds_freely(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6 ? get_int(fd, IPPROTO_IPV6, IPV6_FREEBIND) == 1
	                                                      : get_int(fd, IPPROTO_IP, IP_FREEBIND) == 1;
}

bool sock_is_stream(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM && !sock_is_listening(fd);
}

bool sock_is_tcp(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

int sock_new_tcp(uint16_t family)
{
	int fd = socket(family, SOCK_STREAM | NEW_SOCKET, 0);

	if (fd < 0)
		return -errno;
	set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1); /* urgent data stays in its place in the stream */
	return fd;
}

void sock_no_delay(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int sock_new_unix(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | NEW_SOCKET, 0);

	return fd < 0 ? -errno : fd;
}

int sock_bind_source(int fd, const struct addr *source)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(source, &sa);

	/* The port is chosen at connect(), so one source address serves more than 28,000 connections. */
	set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
}

int sock_bind_reusing(int fd, const struct addr *a)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(a, &sa);

	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	return bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
}

int sock_be_transparent(int fd, bool v6)
{
	int on = 1;

	if (setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof(on)) < 0)
		return -errno;
	return 0;
}

int sock_mark(int fd, uint32_t mark)
{
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ? -errno : 0;
}

/* A socket of IPv6 may have an IPv4 peer. */
int sock_dscp(int fd, unsigned dscp)
{
	int tos = (int)(dscp << 2);
	bool four = setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos)) == 0;
	bool six = setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos)) == 0;

	return four || six ? 0 : -errno;
}

int sock_device(int fd, const char *name)
{
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) < 0 ? -errno : 0;
}

int sock_source_of(const struct addr *to, struct addr *ret)
{
	struct addr there = *to;
	struct sockaddr_storage sa;
	int fd = socket(to->family, SOCK_DGRAM | NEW_SOCKET, 0);
	socklen_t len;
	int rc;

	if (fd < 0)
		return -errno;
	if (there.port == 0)
		there.port = 1; /* any; 0 would not do */
	len = addr_to_sockaddr(&there, &sa);
	rc = connect(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : sock_local(fd, ret);
	close(fd);
	return rc;
}

/* Interrupted, it may have begun or not: asking again tells, and begins it if it has not. */
static int start_connecting(int fd, const void *sa, socklen_t len)
{
	if (TEMP_FAILURE_RETRY(connect(fd, sa, len)) == 0 || errno == EISCONN)
		return 0;
	return errno == EALREADY ? -EINPROGRESS : -errno;
}

int sock_connect(int fd, const struct addr *a)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(a, &sa);

	return start_connecting(fd, &sa, len);
}

int sock_listen_unix(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	mode_t before;
	int fd, rc;

	if (len >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, len + 1);
	fd = sock_new_unix();
	if (fd < 0)
		return fd;
	before = umask(0111);
	rc = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, SOMAXCONN) < 0 ? -errno : 0;
	umask(before);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int sock_connect_unix(int fd, const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);

	if (len >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, path, len + 1);
	return start_connecting(fd, &sun, sizeof(sun));
}

ssize_t sock_recv(int fd, void *to, size_t n, int flags)
{
	ssize_t taken = TEMP_FAILURE_RETRY(recv(fd, to, n, flags | MSG_DONTWAIT));

	if (taken > 0 && !(flags & MSG_PEEK))
		progress();
	return taken < 0 ? -errno : taken;
}

ssize_t sock_send(int fd, const void *from, size_t n, int flags)
{
	ssize_t sent = TEMP_FAILURE_RETRY(send(fd, from, n, flags | MSG_DONTWAIT | MSG_NOSIGNAL));

	if (sent > 0)
		progress();
	return sent < 0 ? -errno : sent;
}

bool sock_is_over(int fd, int error)
{
	struct sock_tcp_info info;

	if (error == EPIPE || error == ECONNRESET)
		return true;
	/* whatever else ends a connection (no answer, no way there) closes the socket of TCP */
	return sock_tcp_info(fd, &info) == 0 && tcp_closed(info.state);
}

void sock_wake_at(int fd, int n)
{
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

/* The kernel offers no window smaller than a segment, as soon as less than half of the room is left; a segment of which a part was read
 * takes up all of its room. */
static bool is_cramped(int fd)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 &&
	       info[SK_MEMINFO_RMEM_ALLOC] > info[SK_MEMINFO_RCVBUF] / 4;
}

void sock_widen(int fd)
{
	if (is_cramped(fd))
		set_int(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20);
}

int sock_take_error(int fd)
{
	int error = get_int(fd, SOL_SOCKET, SO_ERROR);

	return error < 0 ? -error : error;
}

void sock_reset_on_close(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

int sock_unsent(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCOUTQ, &n) < 0 ? -errno : n;
}

int sock_unread(int fd)
{
	int n = 0;

	return ioctl(fd, SIOCINQ, &n) < 0 ? -errno : n;
}

uint64_t sock_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

int sock_tcp_info(int fd, struct sock_tcp_info *ret)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	*ret = (struct sock_tcp_info){
	        .state = info.tcpi_state,
	        .bytes_received = info.tcpi_bytes_received,
	        .bytes_acked = info.tcpi_bytes_acked,
	        .rtt_us = info.tcpi_rtt,
	        .retransmits = info.tcpi_total_retrans,
	        .settled = info.tcpi_state == ESTABLISHED && info.tcpi_unacked == 0 && info.tcpi_notsent_bytes == 0,
	};
	return 0;
}

bool tcp_fin_received(uint8_t state)
{
	return state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING || state == TIME_WAIT;
}

bool tcp_fin_sent(uint8_t state)
{
	return state == FIN_WAIT1 || state == FIN_WAIT2 || state == CLOSING || state == LAST_ACK || state == TIME_WAIT;
}

bool tcp_closed(uint8_t state)
{
	return state == CLOSE;
}

int sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(SOCK_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > SOCK_MAX_FDS)
		return -EINVAL;
	if (n_fds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	if (TEMP_FAILURE_RETRY(sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0)
		return -errno;
	progress();
	return 0;
}

/* Takes the descriptors out of a received message; those beyond `room` are closed. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t room)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < room)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

static int recv_message(int fd, void *data, size_t len, int *fds, size_t *n_fds, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(SOCK_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	size_t room = n_fds ? *n_fds : 0;
	ssize_t n = TEMP_FAILURE_RETRY(recvmsg(fd, &msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));

	if (n < 0) {
		int error = errno;

		if (n_fds)
			*n_fds = 0;
		return -error;
	}
	if (n > 0 && !(flags & MSG_PEEK))
		progress();
	room = take_fds(&msg, fds, room);
	while (n == 0 && room > 0) /* an empty message is taken for the end, where no descriptors are expected */
		close(fds[--room]);
	if (n_fds)
		*n_fds = room;
	return (int)n;
}

int sock_recv_message(int fd, void *data, size_t len, int *fds, size_t *n_fds)
{
	return recv_message(fd, data, len, fds, n_fds, 0);
}

int sock_peek_message(int fd, void *data, size_t len, int *fds, size_t *n_fds)
{
	return recv_message(fd, data, len, fds, n_fds, MSG_PEEK);
}

void sock_drop_message(int fd)
{
	char byte;

	/* without room for descriptors the kernel drops them with the message */
	sock_recv(fd, &byte, sizeof(byte), 0);
}

int sock_message_pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | NEW_SOCKET, 0, ret) < 0 ? -errno : 0;
}
