/*
 * server.h - the admin socket: who may speak, one request on each connection, one answer.
 *
 *   request   words in one line, quoted as in the configuration:  kill client=10.0.0.0/8
 *   answer    "ok CODE LENGTH" and LENGTH bytes; CODE is what tcpproxyctl exits with
 *             "ok CODE -" with descriptors beside it, to read from
 *             "error MESSAGE"
 *
 * The server waits for no client: what is slow, silent or too long is closed, and there are never more
 * than a few clients. When all places are taken, the client that has been silent longest without having sent its whole
 * request makes room; the service user never takes root's place. Root and the service user may speak, but none of its
 * processes that move the bytes of strangers; the others are told so.
 */
#ifndef ADMIN_SERVER_H
#define ADMIN_SERVER_H

#include <sys/types.h>
#include "base/buf.h"
#include "event/loop.h"

#define ADMIN_CLIENTS     32
#define ADMIN_REQUEST_MAX 4096                /* bytes, with the newline */
#define ADMIN_ANSWER_MAX  (256 * 1024 * 1024) /* bytes */
#define ADMIN_REQUEST_MS  10000               /* for a request to come whole */
#define ADMIN_SILENT_MS   10000               /* for an answer to be taken: some of it */

struct admin_server;
struct admin_client;

struct admin_setup {
	struct loop *loop;
	uid_t uid; /* the service user; root may always */
	/* Is this process of the service user one that may not speak, though its user may? NULL: none is. */
	bool (*is_refused)(void *arg, pid_t pid);
	/* A request; its words are valid during the call only. It is answered by exactly one of the
	 * functions below, now or later. */
	void (*request)(void *arg, struct admin_client *c, char **words, size_t n);
	void *arg;
};

struct admin_server *admin_server_new(const struct admin_setup *setup);
void admin_server_free(struct admin_server *s); /* takes NULL; closes its clients */

/* A listening socket, nonblocking; it stays the caller's. One that it has already stays. 0 or
 * -errno. */
int admin_server_listen(struct admin_server *s, int fd);
void admin_server_forget(struct admin_server *s, int fd);

/* A client that may speak, as root may: one that has just come; fd is taken. who: for the log, "page=192.0.2.7:51234". */
void admin_server_welcome(struct admin_server *s, int fd, const char *who);
/* "uid=0 pid=4711 program=tcpproxyctl", as the kernel says, but for the name, which every process gives itself. */
const char *admin_client_who(const struct admin_client *c);

/* The answer. `body` is taken, and empty afterwards. */
void admin_answer(struct admin_client *c, int code, struct buf *body);
void admin_error(struct admin_client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Until it is answered: called if the client goes before that. It must not be answered then. */
void admin_on_leave(struct admin_client *c, void (*gone)(void *arg), void *arg);

/* "ok 0 -" with these descriptors beside it: from them the client reads the rest by itself. They
 * stay the caller's. */
void admin_answer_fds(struct admin_client *c, const int *fds, size_t n);
/* For an answer that another process will give: its socket, which stays here, and a client whose
 * request was read there. NULL: there are too many. */
int admin_client_fd(const struct admin_client *c);
struct admin_client *admin_adopt(struct admin_server *s, int fd);

#endif
