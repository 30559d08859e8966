#include "ipc/rendezvous.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/mem.h"
#include "os/proc.h"
#include "os/sock.h"

#define RENDEZVOUS_BACKLOG 128 /* strangers may knock as fast as they can */
#define RANDOM_LEN         17  /* "~" and 64 bits in hexadecimal */
#define OTHERS_MAX         65536
#define LISTENS            0x10000 /* __SO_ACCEPTCON of the kernel */

static socklen_t name_of(const char *what, uint32_t number, struct sockaddr_un *ret)
{
	unsigned long long netns = proc_netns();
	size_t room = sizeof(ret->sun_path) - 1 - RANDOM_LEN;
	int n;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(ret->sun_path + 1, room, "tcpproxy/%llu/%s/%u", netns, what, number);
	if (n < 0 || (size_t)n >= room)
		n = snprintf(ret->sun_path + 1, room, "tcpproxy/%llu/%016llx/%u", netns,
		             (unsigned long long)hash_bytes(HASH_START, what, strlen(what)), number);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int listen_as(const struct sockaddr_un *sun, socklen_t len)
{
	int fd = new_socket();

	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)sun, len) < 0 || listen(fd, RENDEZVOUS_BACKLOG) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

int rendezvous_open(const char *what, uint32_t number, bool *taken)
{
	struct sockaddr_un sun;
	socklen_t len = name_of(what, number, &sun);
	int fd = listen_as(&sun, len);
	unsigned long long random;

	*taken = fd == -EADDRINUSE;
	if (!*taken)
		return fd;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		return fd;
	snprintf((char *)&sun + len, RANDOM_LEN + 1, "~%016llx", random);
	return listen_as(&sun, len + RANDOM_LEN);
}

/* ---- which names there are ---- */

/* Of a line of /proc/net/unix, if it is of a socket that listens (what it has accepted has the same name): the name, where an @
 * stands for each NUL. */
static const char *listeners_name(const char *line)
{
	const char *at = strstr(line, " @");
	unsigned flags;

	return at && sscanf(line, "%*s %*s %*s %x", &flags) == 1 && flags & LISTENS ? at + 2 : NULL;
}

/* Is this the usual name of this number, and something after it? */
static bool is_other_name(const char *name, const struct sockaddr_un *usual, socklen_t len)
{
	size_t n = len - offsetof(struct sockaddr_un, sun_path) - 1;

	return strncmp(name, usual->sun_path + 1, n) == 0 && name[n] == '~' && strlen(name + n) == RANDOM_LEN &&
	       strspn(name + n + 1, "0123456789abcdef") == RANDOM_LEN - 1;
}

static size_t add_name(struct rendezvous_name **list, size_t n, const struct rendezvous_name *usual, const char *suffix)
{
	struct rendezvous_name *d;

	if ((n & (n - 1)) == 0)
		*list = mem_resize(*list, n ? 2 * n : 1, sizeof(**list));
	d = &(*list)[n];
	*d = *usual;
	memcpy((char *)&d->sun + d->len, suffix, strlen(suffix));
	d->len += (socklen_t)strlen(suffix);
	return n + 1;
}

/* There may be very many, of strangers: each costs no more than to be asked whose it is. */
static size_t add_others(const struct rendezvous_name *usual, uint32_t n_usual, struct rendezvous_name **list, size_t n)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char *line = NULL;
	size_t room = 0;

	while (f && n < OTHERS_MAX && getline(&line, &room, f) > 0) {
		const char *name;

		line[strcspn(line, "\n")] = '\0';
		name = listeners_name(line);
		if (!name || strncmp(name, "tcpproxy/", 9) != 0 || !strchr(name, '~'))
			continue;
		for (uint32_t i = 0; i < n_usual; i++)
			if (is_other_name(name, &usual[i].sun, usual[i].len))
				n = add_name(list, n, &usual[i], strrchr(name, '~'));
	}
	if (f)
		fclose(f);
	free(line);
	return n;
}

size_t rendezvous_names(const char *what, uint32_t n, struct rendezvous_name **ret)
{
	struct rendezvous_name *usual = mem_alloc((n + 1) * sizeof(*usual));
	size_t found = 0;

	*ret = NULL;
	for (uint32_t i = 0; i < n; i++) {
		usual[i] = (struct rendezvous_name){.number = i};
		usual[i].len = name_of(what, i, &usual[i].sun);
		found = add_name(ret, found, &usual[i], "");
	}
	found = add_others(usual, n, ret, found);
	free(usual);
	return found;
}

bool rendezvous_is(int fd, const struct rendezvous_name *name)
{
	struct sockaddr_un own = {.sun_family = AF_UNSPEC};
	socklen_t len = sizeof(own);

	return sock_is_listening(fd) && getsockname(fd, (struct sockaddr *)&own, &len) == 0 && len == name->len &&
	       memcmp(&own, &name->sun, len) == 0;
}

uid_t rendezvous_peer(int fd, pid_t *pid)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		cred = (struct ucred){.uid = (uid_t)-1};
	if (pid)
		*pid = cred.pid;
	return cred.uid;
}

pid_t rendezvous_session(int fd)
{
	pid_t pid, session;

	rendezvous_peer(fd, &pid);
	session = pid > 0 ? getsid(pid) : -1;
	return session > 0 && session != getsid(0) ? session : 0;
}

static int connect_to(const struct sockaddr_un *sun, socklen_t len)
{
	int fd = new_socket();

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)sun, len) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

int rendezvous_connect(const struct rendezvous_name *name, uid_t owner)
{
	int fd = connect_to(&name->sun, name->len);

	if (fd >= 0 && rendezvous_peer(fd, NULL) != owner && rendezvous_peer(fd, NULL) != 0) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

uid_t rendezvous_taker(const char *what, uint32_t number, pid_t *pid)
{
	struct sockaddr_un sun;
	socklen_t len = name_of(what, number, &sun);
	int fd = connect_to(&sun, len);
	uid_t uid;

	*pid = 0;
	if (fd < 0)
		return (uid_t)-1;
	uid = rendezvous_peer(fd, pid);
	close(fd);
	return uid;
}
