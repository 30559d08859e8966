/*
 * client.h - one question to a running tcpproxy, by its admin socket (admin/server.h has the other
 * end, and the words of both). Nothing is waited for longer than WAIT_MS without a byte. For root, the process
 * that listens there must be root's or the socket's owner's.
 */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

enum exit_code { DONE = 0, REFUSED = 1, NO_DAEMON = 2 };

struct answer {
	int code;    /* exit with it */
	int fds[64]; /* that came with it */
	size_t n_fds;
	struct buf text; /* the whole answer, as it came; or, for NO_DAEMON and refusals, why, fit for a terminal */
	bool ok;         /* false: it was refused, or there is no daemon */
};

/* words: the command and its arguments. Fills *ret; answer_release() it. */
void client_ask(const char *path, char *const *words, size_t n, struct answer *ret);
void answer_release(struct answer *a);

#endif
