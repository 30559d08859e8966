#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/text.h"
#include "base/utf8.h"
#include "os/sock.h"

#define CLIENT_WAIT_MS 60000 /* an upgrade may take a while */
#define HEAD_MAX       4200  /* a status line */

static void fail(struct answer *a, enum exit_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void fail(struct answer *a, enum exit_code code, const char *fmt, ...)
{
	va_list ap;

	a->ok = false;
	a->code = code;
	buf_clear(&a->text);
	va_start(ap, fmt);
	buf_vaddf(&a->text, fmt, ap);
	va_end(ap);
}

static int connect_to(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

/* Root does what the answer says only if it comes from root, or from the user that the socket was given to. False:
 * *ret_uid is its user. */
static bool is_trusted(const char *path, int fd, uid_t *ret_uid)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	struct stat st;

	if (geteuid() != 0)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		cred.uid = (uid_t)-1;
	*ret_uid = cred.uid;
	return cred.uid == 0 || (cred.uid != (uid_t)-1 && stat(path, &st) == 0 && st.st_uid == cred.uid);
}

/* As the configuration quotes: "..." with \" and \\. */
static void add_word(const char *word, struct buf *out)
{
	if (*word && !strpbrk(word, " \t\"#\\")) {
		buf_adds(out, word);
		return;
	}
	buf_addc(out, '"');
	for (; *word; word++) {
		if (*word == '"' || *word == '\\')
			buf_addc(out, '\\');
		buf_addc(out, *word);
	}
	buf_addc(out, '"');
}

static bool send_request(int fd, char *const *words, size_t n)
{
	struct buf line = BUF_INIT;
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_addc(&line, ' ');
		add_word(words[i], &line);
	}
	buf_addc(&line, '\n');
	while (at < line.len) {
		ssize_t sent = send(fd, line.s + at, line.len - at, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			break; /* it may have said already why */
		at += (size_t)sent;
	}
	buf_release(&line);
	return true;
}

static bool wait_for(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int ready;

	do
		ready = poll(&p, 1, CLIENT_WAIT_MS);
	while (ready < 0 && errno == EINTR);
	return ready == 1;
}

/* The next bytes; 0: the end; -1: error or silence. */
static ssize_t receive(int fd, char *data, size_t len)
{
	ssize_t n;

	do {
		if (!wait_for(fd))
			return -1;
		n = read(fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Byte by byte, because what follows belongs to the answer; descriptors come with the first one. */
static bool read_head(int fd, char *head, struct answer *a)
{
	size_t n = 0;

	while (n + 1 < HEAD_MAX) {
		size_t room = n == 0 ? sizeof(a->fds) / sizeof(a->fds[0]) : 0;
		int got = wait_for(fd) ? sock_recv_message(fd, head + n, 1, a->fds, &room) : -1;

		if (n == 0 && got > 0)
			a->n_fds = room;
		if (got <= 0)
			return false;
		if (head[n] == '\n') {
			head[n] = '\0';
			return true;
		}
		n++;
	}
	return false;
}

static void read_body(int fd, unsigned long long len, struct answer *a, const char *path)
{
	static char chunk[65536];

	while (a->text.len < len) {
		size_t want = len - a->text.len < sizeof(chunk) ? (size_t)(len - a->text.len) : sizeof(chunk);
		ssize_t n = receive(fd, chunk, want);

		if (n <= 0) {
			fail(a, NO_DAEMON, "%s: the answer was cut off after %zu of %llu bytes", path, a->text.len,
			     len);
			return;
		}
		buf_add(&a->text, chunk, (size_t)n);
	}
}

void client_ask(const char *path, char *const *words, size_t n, struct answer *ret)
{
	unsigned long long len;
	char head[HEAD_MAX];
	int fd, used = 0;
	uid_t uid;

	*ret = (struct answer){.ok = true};
	for (size_t i = 0; i < n; i++)
		if (strchr(words[i], '\n')) {
			fail(ret, REFUSED, "a word of a request has no newline in it");
			return;
		}
	fd = connect_to(path);
	if (fd < 0) {
		fail(ret, NO_DAEMON, "%s: %s: is tcpproxy running there, with \"admin unix:%s\"?", path, strerror(-fd),
		     path);
		return;
	}
	if (!is_trusted(path, fd, &uid)) {
		fail(ret, NO_DAEMON,
		     "%s: user %u listens there, who is neither root nor the owner of the socket: nothing was asked",
		     path, (unsigned)uid);
	} else if (!send_request(fd, words, n) || !read_head(fd, head, ret)) {
		fail(ret, NO_DAEMON, "%s: no answer", path);
	} else if (strncmp(head, "error ", 6) == 0) {
		utf8_tame(head, strlen(head));
		fail(ret, REFUSED, "%s", head + 6);
	} else if (sscanf(head, "ok %d %llu", &ret->code, &len) == 2) {
		read_body(fd, len, ret, path);
	} else if (sscanf(head, "ok %d -%n", &ret->code, &used) == 1 && used > 0) {
		if (ret->n_fds == 0)
			fail(ret, NO_DAEMON, "%s: descriptors are missing in the answer", path);
	} else {
		fail(ret, NO_DAEMON, "%s: whoever answers there is no tcpproxy", path);
	}
	close(fd);
}

void answer_release(struct answer *a)
{
	for (size_t i = 0; i < a->n_fds; i++)
		close(a->fds[i]);
	a->n_fds = 0;
	buf_release(&a->text);
}
