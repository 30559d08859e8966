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
#include <stddef.h>
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

/* Those that headers of Linux 5.10 do not have. */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

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

int sock_new_listener(uint16_t family, bool mptcp)
{
	int fd = socket(family, SOCK_STREAM | NEW_SOCKET, mptcp ? IPPROTO_MPTCP : 0);

	/* EINVAL, ENOPROTOOPT: it was not built in, or is switched off (net.mptcp.enabled) */
	if (fd < 0 && mptcp && (errno == EINVAL || errno == ENOPROTOOPT || errno == EPROTONOSUPPORT))
		return -EPROTONOSUPPORT;
	return fd < 0 ? -errno : fd;
}

int sock_begin_listening(int fd, const struct addr *a, int backlog, bool share)
{
	int rc;

	sock_share_port(fd, share);
	rc = bind_and_listen(fd, a, backlog);
	if (share)
		sock_share_port(fd, false);
	return rc;
}

int sock_listen(const struct addr *a, int backlog, bool share)
{
	int fd = sock_new_listener(a->family, false), rc;

	if (fd < 0)
		return fd;
	rc = sock_begin_listening(fd, a, backlog, share);
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

int sock_original(int fd, bool v6, struct addr *ret)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	/* SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST of the kernel's netfilter headers */
	if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, 80, &sa, &len) < 0)
		return -errno;
	addr_from_sockaddr((struct sockaddr *)&sa, len, ret);
	return 0;
}

bool sock_is_transparent(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6 ? get_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT) == 1
	                                                      : get_int(fd, IPPROTO_IP, IP_TRANSPARENT) == 1;
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
	int protocol = get_int(fd, SOL_SOCKET, SO_PROTOCOL);

	return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
}

bool sock_is_mptcp(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP;
}

bool sock_is_unix(int fd)
{
	return get_int(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX;
}

bool sock_unix_path(int fd, char ret[SOCK_UNIX_PATH_SIZE])
{
	struct sockaddr_un sun = {0};
	socklen_t len = sizeof(sun);
	size_t n;

	if (getsockname(fd, (struct sockaddr *)&sun, &len) < 0 || sun.sun_family != AF_UNIX ||
	    len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof(sun))
		return false;
	n = len - offsetof(struct sockaddr_un, sun_path);
	memcpy(ret, sun.sun_path, n);
	ret[n] = '\0';
	if (*ret)
		return true;
	*ret = '@';
	return strlen(ret) == n;
}

int sock_unix_peer(int fd, struct addr *ret)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return -errno;
	*ret = addr_of_process((uint32_t)who.pid, who.uid);
	return 0;
}

/* Of its network namespace; 0: not known (before Linux 5.14). */
static uint64_t netns_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

bool sock_same_netns(int a, int b)
{
	return netns_cookie(a) == netns_cookie(b);
}

static bool same_unix_name(int a, int b)
{
	char one[SOCK_UNIX_PATH_SIZE], other[SOCK_UNIX_PATH_SIZE];

	return sock_unix_path(a, one) && sock_unix_path(b, other) && strcmp(one, other) == 0;
}

bool sock_may_be_of(int fd, int listener, bool exactly)
{
	struct addr here, there;
	int device = get_int(listener, SOL_SOCKET, SO_BINDTOIFINDEX);

	if (sock_local(fd, &here) < 0 || sock_local(listener, &there) < 0)
		return false;
	if (here.family == AF_UNIX)
		return there.family == AF_UNIX && same_unix_name(fd, listener);
	if (here.family == there.family && sock_is_transparent(fd) && sock_is_transparent(listener))
		return sock_same_netns(fd, listener); /* whoever it was meant for */
	if (here.port != there.port || (!addr_is_wildcard(&there) && !addr_same_host(&here, &there)) ||
	    !sock_same_netns(fd, listener))
		return false;
	return device == get_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX) || (!exactly && device <= 0);
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

int sock_new_mptcp(uint16_t family)
{
	int fd = sock_new_listener(family, true);

	if (fd < 0)
		return sock_new_tcp(family);
	set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	return fd;
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

bool sock_device_is_another(int fd, const char *name)
{
	int now = sock_interface_index(fd, name);

	return now > 0 && now != get_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
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

/* The length, or 0: it is too long. */
static socklen_t unix_address(const char *path, struct sockaddr_un *ret)
{
	size_t len = strlen(path);

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len >= sizeof(ret->sun_path))
		return 0;
	memcpy(ret->sun_path, path, len + 1);
	if (*path != '@')
		return sizeof(*ret);
	ret->sun_path[0] = '\0'; /* no NUL ends it: what belongs to the name is said by the length */
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

int sock_listen_unix(const char *path, mode_t mode, int backlog)
{
	struct sockaddr_un sun;
	socklen_t len = unix_address(path, &sun);
	mode_t before;
	int fd, rc;

	if (len == 0)
		return -ENAMETOOLONG;
	fd = sock_new_unix();
	if (fd < 0)
		return fd;
	before = umask(0777 & ~mode);
	rc = bind(fd, (struct sockaddr *)&sun, len) < 0 || listen(fd, backlog) < 0 ? -errno : 0;
	umask(before);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int sock_connect_unix(int fd, const char *path)
{
	struct sockaddr_un sun;
	socklen_t len = unix_address(path, &sun);

	return len == 0 ? -ENAMETOOLONG : start_connecting(fd, &sun, len);
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
