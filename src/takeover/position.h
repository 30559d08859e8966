/*
 * position.h - how far a stream got, asked of the kernel.
 *
 * TCP counts what passed through a socket since its birth; a worker that takes up a connection
 * learns from that what its predecessor had done. Exact in every state but SYN_SENT, SYN_RECV and
 * TCP_CLOSE, where a FIN and a reset look alike: there position_ask() probes.
 *
 * Sources: tcp_info (linux/tcp.h, RFC 4898 for the octet counters); ioctl SIOCINQ, SIOCOUTQ (tcp(7)).
 */
#ifndef TAKEOVER_POSITION_H
#define TAKEOVER_POSITION_H

#include <stdbool.h>
#include <stdint.h>

struct position {
	uint64_t consumed; /* payload bytes that were read from the socket */
	uint64_t written;  /* payload bytes that were written to it; only if !closed */
	bool fin;          /* the peer's FIN was received */
	bool closed;       /* TCP_CLOSE: a reset, or both FINs and everything acknowledged */
	bool certain;      /* else `fin` is a guess, and `consumed` may be wrong by that one */
};

/* An error is pending: the peer has reset. Does not take it. To be noted in the row before position_ask(),
 * whose probe may take it. */
bool position_error_pending(int fd);

/* caller: this socket called connect(). error_seen: it has had an error, noted or not. Returns 0 or -errno. */
int position_ask(int fd, bool caller, bool error_seen, struct position *ret);

#endif
