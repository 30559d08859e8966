/*
 * sock.h - stream sockets. Everything returns -errno on failure; every descriptor is close-on-exec
 * from birth and nonblocking unless it says otherwise.
 */
#ifndef OS_SOCK_H
#define OS_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"

#define SOCK_BACKLOG 4096 /* clients that may wait at a port, as far as the system lets them (somaxconn) */

#define SOCK_UNIX_PATH_SIZE 109 /* a path, with its NUL */

/* A listening TCP socket. An address that this host does not have is bound all the same. Accepted
 * sockets inherit: no delay, urgent data in line. */
int sock_listen(const struct addr *a, int backlog, bool share);
/* The same in three steps, for one that is not like others: made, of MPTCP or plain TCP, then bound, which does not close it if it
 * fails. -EPROTONOSUPPORT: this kernel has no MPTCP. */
int sock_new_listener(uint16_t family, bool mptcp);
int sock_begin_listening(int fd, const struct addr *a, int backlog, bool share);
/* A listening Unix socket, whose file has these rights; "@NAME" is an abstract one, which has no file. Nothing that is in its
 * place is removed. */
int sock_listen_unix(const char *path, mode_t mode, int backlog);
/* While two sockets of one user both share their port, one may be bound to an address and the other to
 * the wildcard: for the moment in which the one follows the other. */
void sock_share_port(int fd, bool share);

/* From now on it never blocks (a pipe will do, too). */
void sock_never_wait(int fd);
/* Makes a listening socket that another program opened like ours. */
void sock_prepare_listener(int fd);
/* An IPv6 socket that takes IPv4 clients, too. */
bool sock_is_dual(int fd);

/* Keepalive: the first probe after idle_ms (at least a second), then 5 probes 30 s apart (or closer
 * together if idle_ms is shorter than that). 0: none. On a listener: inherited by what it accepts. */
int sock_keepalive(int fd, int64_t idle_ms);

/* Accepts; *peer may be NULL. */
int sock_accept(int fd, struct addr *peer);
/* There are no descriptors or no memory for one more just now (positive errno); and how that is said. */
bool sock_is_shortage(int error);
const char *sock_shortage_text(int error);
int sock_local(int fd, struct addr *ret);
int sock_peer(int fd, struct addr *ret); /* ret may be NULL */
/* Where the peer of a redirected connection wanted to go (nft's redirect). -ENOENT: the kernel follows no connection of it. One that was not
 * redirected has wanted to go where it is. */
int sock_original(int fd, bool v6, struct addr *ret);
bool sock_is_transparent(int fd); /* IP_TRANSPARENT */
/* The index of an interface by its name, asked of any socket: no file and no other socket is needed. -ENODEV: it is
 * not there. */
int sock_interface_index(int fd, const char *name);
bool sock_is_listening(int fd);
bool sock_binds_freely(int fd); /* as those of sock_listen() do */
bool sock_is_stream(int fd);    /* a stream socket that does not listen */
bool sock_is_tcp(int fd);       /* or MPTCP */
bool sock_is_mptcp(int fd);     /* one that has its own counters is TCP, whatever its listener is */
bool sock_is_unix(int fd);
/* Its path ("@NAME": abstract); false: it has none that can be said so. */
bool sock_unix_path(int fd, char ret[SOCK_UNIX_PATH_SIZE]);
/* Who has connected to it, of a Unix socket: the process and the user that it was then. */
int sock_unix_peer(int fd, struct addr *ret);
/* Both are in one network namespace, as far as the kernel tells (Linux 5.14). */
bool sock_same_netns(int a, int b);
/* Could this have been accepted by that listener, as far as the local end tells? exactly: it is bound to no other interface, either. */
bool sock_may_be_of(int fd, int listener, bool exactly);

/* Sockets for a connection to a server: not connected yet. With a delay for small messages (Nagle). */
int sock_new_tcp(uint16_t family);
int sock_new_mptcp(uint16_t family); /* TCP, where the kernel has no MPTCP */
int sock_new_unix(void);
void sock_no_delay(int fd);
int sock_bind_source(int fd, const struct addr *source);
/* With its port, which others may use, too, if no two connections are the same. -EADDRINUSE: somebody listens there. */
int sock_bind_reusing(int fd, const struct addr *a);
/* It may be bound to addresses that are not this machine's (IP_TRANSPARENT); its packets carry this mark. Both need CAP_NET_ADMIN. */
int sock_be_transparent(int fd, bool v6);
int sock_mark(int fd, uint32_t mark);
/* Its packets carry this DSCP (0 to 63; the two bits beside it are the kernel's). */
int sock_dscp(int fd, unsigned dscp);
/* It calls by this interface only, by its name; not bound to one yet. -ENODEV: there is none. */
int sock_device(int fd, const char *name);
/* The interface of that name is another one by now than it was when the socket was bound to it. */
bool sock_device_is_another(int fd, const char *name);
/* The address that the kernel would take for us to call this one; nothing is sent. 0 or -errno: there is no way there. */
int sock_source_of(const struct addr *to, struct addr *ret);
/* 0: connected at once; -EINPROGRESS: wait for writability. A repeated call tells how it stands. */
int sock_connect(int fd, const struct addr *a);
int sock_connect_unix(int fd, const char *path); /* "@NAME": abstract */

/* Like recv() and send(), but they never wait, are not interrupted, and return -errno. */
ssize_t sock_recv(int fd, void *to, size_t n, int flags);
ssize_t sock_send(int fd, const void *from, size_t n, int flags);
/* A receive, a send or a splice has failed with this errno: because the connection is over? If not, the kernel could not do
 * it (ENOMEM, EINVAL), and both ends are still there. */
bool sock_is_over(int fd, int error);

/* Bytes that must have come before a wait for input ends (SO_RCVLOWAT); room is made for them. 1: as it was. */
void sock_wake_at(int fd, int n);

/* If what lies in it unread leaves the peer no window, as much room as the system allows is made for more: it would wait for us, and we
 * for the rest. */
void sock_widen(int fd);

/* The pending error, taken from the socket: 0 or a positive errno. */
int sock_take_error(int fd);
/* From now on close() sends a reset instead of a FIN. */
void sock_reset_on_close(int fd);

/* Bytes that were written and not yet acknowledged (a FIN counts as one); received and not yet read. */
int sock_unsent(int fd);
int sock_unread(int fd);
/* Identifies a socket of this boot; 0 if it cannot be had. */
uint64_t sock_cookie(int fd);

/* What TCP knows of a connection (tcp_info, linux/tcp.h). */
struct sock_tcp_info {
	uint8_t state;           /* TCP_ESTABLISHED... */
	uint64_t bytes_received; /* in order, a FIN included */
	uint64_t bytes_acked;    /* by the peer, SYN of a caller and FIN included */
	uint32_t rtt_us;         /* smoothed */
	uint32_t retransmits;    /* segments sent again, ever */
	bool settled;            /* established, and all that was sent is acknowledged */
};
int sock_tcp_info(int fd, struct sock_tcp_info *ret);
/* The peer's FIN was received (says the state; TCP_CLOSE: not known, false). */
bool tcp_fin_received(uint8_t state);
/* Ours was sent, acknowledged or not. */
bool tcp_fin_sent(uint8_t state);
bool tcp_closed(uint8_t state);

/* Messages with descriptors over a Unix socket. Sending never blocks (-EAGAIN). Receiving returns the
 * length, 0 at the end, and stores up to *n_fds descriptors (close-on-exec), *n_fds becoming their
 * number; what did not fit is closed. An empty message is an end, and brings none. */
int sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds);
int sock_recv_message(int fd, void *data, size_t len, int *fds, size_t *n_fds);
/* The same, but the message stays: a process that dies while doing what it says leaves it to its successor.
 * Its descriptors are new ones each time. sock_drop_message() when it is done. */
int sock_peek_message(int fd, void *data, size_t len, int *fds, size_t *n_fds);
void sock_drop_message(int fd);
/* A connected pair of SOCK_SEQPACKET sockets. */
int sock_message_pair(int ret[2]);
#define SOCK_MAX_FDS 96 /* in one message */

#endif
