/* fuzz_admin.c - any bytes as a request to the admin socket: never a crash, and exactly one answer, of the promised form. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/commands.h"
#include "base/check.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a world that has two connections ---- */

static void look(void *arg, bool connections, bool tcp, void (*done)(void *done_arg, struct snapshot *s),
                 void *done_arg)
{
	struct snapshot *s = snapshot_new();

	s->version = "0";
	s->log_level = "info";
	s->n_connections = connections ? 2 : 0;
	s->connections = mem_alloc(2 * sizeof(*s->connections));
	s->connections[0] = (struct connection_view){.id = 1, .state = "relay", .service = "25", .server = "a:1"};
	s->connections[1] = (struct connection_view){.id = 2, .state = "resolve", .service = "26"};
	s->connections[0].client = (struct addr){.family = AF_INET, .port = 4, .ip = {127, 0, 0, 1}};
	done(done_arg, s);
}

static void kill_all(void *arg, const struct connection_view *list, size_t n)
{
	CHECK(n > 0);
}

static bool set_admin_state(void *arg, const char *service, const char *what, enum admin_change change,
                            int64_t within_ms, struct buf *why)
{
	CHECK(service || what);
	if (service && what)
		buf_addf(why, "no %s\nin %s", what, service);
	else if (strcmp(what ? what : service, "25") != 0)
		buf_adds(why, "no");
	return why->len == 0;
}

static bool change(void *arg, const char *server, enum change_kind change, uint32_t n, struct buf *text)
{
	CHECK(change <= CHANGE_FORGET && n <= 1000000000);
	buf_adds(text, server);
	return n % 2;
}

static void add(void *arg, struct admin_client *c, const char *service, const char *server)
{
	admin_error(c, "%s\n%s", service, server);
}

static void take_out(void *arg, struct admin_client *c, const char *service, const char *server)
{
	struct buf body = BUF_INIT;

	buf_addf(&body, "%s\n%s", service, server);
	admin_answer(c, 0, &body);
	buf_release(&body);
}

static void forget_all(void *arg, struct buf *text)
{
}

static void changes(void *arg, struct buf *out)
{
	buf_adds(out, "force a up\n");
}

static int is(void *arg, const char *server, enum server_is is, struct buf *text)
{
	CHECK(is <= SERVER_IS_DRAINED);
	if (!*server)
		buf_adds(text, "no");
	return *server ? (int)is % 2 : -1;
}

static void check(void *arg, struct admin_client *c, const char *server)
{
	admin_error(c, "%s", server);
}

static void tap(void *arg, struct admin_client *c, const struct connection_filter *filter)
{
	int fd = STDIN_FILENO;

	admin_answer_fds(c, &fd, 1);
}

static void reload(void *arg, struct admin_client *c)
{
	admin_error(c, "a\nb");
}

static void upgrade(void *arg, struct admin_client *c)
{
	admin_error(c, "no");
}

static const char *log_level(void *arg)
{
	return "info";
}

static bool set_log_level(void *arg, const char *level)
{
	return strcmp(level, "info") == 0;
}

static int explain(void *arg, const char *client, const char *local, char *const *more, size_t n, struct buf *out)
{
	buf_adds(out, client);
	return strcmp(local, "25") ? -1 : 3;
}

static const struct admin_ops world = {.look = look,
                                       .kill = kill_all,
                                       .set_admin_state = set_admin_state,
                                       .change = change,
                                       .add = add,
                                       .remove = take_out,
                                       .forget_all = forget_all,
                                       .changes = changes,
                                       .is = is,
                                       .check = check,
                                       .tap = tap,
                                       .reload = reload,
                                       .upgrade = upgrade,
                                       .log_level = log_level,
                                       .set_log_level = set_log_level,
                                       .explain = explain};

/* ---- one request ---- */

/* A socket of a name that only this process has. */
static int listen_somewhere(struct sockaddr_un *sun, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	*len = sizeof(sa_family_t); /* the kernel finds a name */
	CHECK(bind(fd, (struct sockaddr *)sun, *len) == 0 && listen(fd, 8) == 0);
	*len = sizeof(*sun);
	CHECK(getsockname(fd, (struct sockaddr *)sun, len) == 0);
	return fd;
}

static void check_answer(const struct buf *answer, bool whole)
{
	unsigned long long length;
	const char *end = answer->s ? memchr(answer->s, '\n', answer->len) : NULL;
	int code;

	if (!whole) { /* a line without its end is not answered */
		CHECK(answer->len == 0 || strncmp(answer->s, "error ", 6) == 0);
		return;
	}
	CHECK(end);
	if (strncmp(answer->s, "error ", 6) == 0)
		CHECK(end + 1 == answer->s + answer->len);
	else if (sscanf(answer->s, "ok %d %llu", &code, &length) == 2)
		CHECK(answer->len == (size_t)(end + 1 - answer->s) + length);
	else
		CHECK(strcmp(answer->s, "ok 0 -\n") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop loop;
	struct admin_setup setup = {.loop = &loop, .uid = getuid(), .request = admin_dispatch, .arg = (void *)&world};
	struct admin_server *server;
	struct sockaddr_un sun;
	struct buf answer = BUF_INIT;
	socklen_t len;
	char chunk[4096];
	ssize_t n = 1;
	int listener, fd;

	if (size > 60000)
		return 0;
	CHECK(loop_init(&loop, -1, NULL, 16) == 0);
	server = admin_server_new(&setup);
	listener = listen_somewhere(&sun, &len);
	CHECK(admin_server_listen(server, listener) == 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(connect(fd, (struct sockaddr *)&sun, len) == 0);
	if (size > 0)
		CHECK(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	shutdown(fd, SHUT_WR);
	for (int turns = 0; n != 0 && turns < 1000; turns++) {
		CHECK(loop_turn(&loop, 100) == 0);
		while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
			buf_add(&answer, chunk, (size_t)n);
		if (n < 0 && errno == ECONNRESET) /* it had more to say than it was asked for */
			n = 0;
	}
	CHECK(n == 0);
	check_answer(&answer, size > 0 && memchr(data, '\n', size < ADMIN_REQUEST_MAX ? size : ADMIN_REQUEST_MAX));
	buf_release(&answer);
	close(fd);
	admin_server_free(server);
	close(listener);
	loop_release(&loop);
	return 0;
}
