/* admin_sockets.c - admin sockets in the file system: binding, giving away, removing, handing to
 * the next program. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "daemon/supervisor.h"
#include "os/file.h"
#include "os/sock.h"
#include "os/user.h"

#define PAGE_PREFIX  "tcp:"
#define PAGE_BACKLOG 128
#define VARIABLE "TCPPROXY_ADMIN" /* "CLIENT\nFD PATH\nFD PATH\n"; CLIENT -1: none waits */

/* ---- one socket ---- */

/* Its directory, if only that is missing. Returns its name if it was made. */
static char *make_directory(const char *path)
{
	char *copy = mem_strdup(path);
	char *directory = mem_strdup(dirname(copy));

	free(copy);
	if (mkdir(directory, 0755) == 0)
		return directory;
	free(directory);
	return NULL;
}

/* A socket file that nobody answers at was left by somebody who was killed. */
static bool is_stale(const char *path)
{
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = sock_new_unix();
	if (fd < 0)
		return false;
	rc = sock_connect_unix(fd, path);
	close(fd);
	return rc == -ECONNREFUSED;
}

static int bind_one(const char *path)
{
	int fd = sock_listen_unix(path);

	if (fd == -EADDRINUSE && is_stale(path) && unlink(path) == 0)
		fd = sock_listen_unix(path);
	return fd;
}

static bool open_one(const char *path, struct admin_socket *ret, struct buf *why)
{
	char *made = NULL;
	int fd = bind_one(path);

	if (fd == -ENOENT) {
		made = make_directory(path);
		fd = bind_one(path);
	}
	if (fd < 0) {
		buf_addf(why, "the admin socket %s cannot be bound: %s", path,
		         fd == -EADDRINUSE ? "somebody answers there, or a file is in its place"
		                           : strerror(-fd));
		free(made);
		return false;
	}
	*ret = (struct admin_socket){.path = mem_strdup(path), .fd = fd, .made = made};
	return true;
}

/* ---- all of them ---- */

static bool open_page(const char *name, const struct addr *a, struct admin_socket *ret,
                      struct buf *why)
{
	int fd = sock_listen(a, PAGE_BACKLOG, false);

	if (fd == -EACCES && user_raise(CAP_NET_BIND_SERVICE, true) == 0) {
		fd = sock_listen(a, PAGE_BACKLOG, false);
		user_raise(CAP_NET_BIND_SERVICE, false);
	}
	if (fd < 0) {
		buf_addf(why, "admin %s cannot be bound: %s", name + strlen(PAGE_PREFIX),
		         fd == -EADDRINUSE ? "the port is in use" : strerror(-fd));
		return false;
	}
	*ret = (struct admin_socket){.path = mem_strdup(name), .page = true, .fd = fd};
	return true;
}

/* The first line of its file, which only root may be able to read. */
static bool read_token(struct supervisor *s, const char *path, char **ret, struct buf *why)
{
	const char *reason = NULL;
	int fd = files_open_read(&s->files, path);
	char *text = fd < 0 ? NULL : file_read_all(fd, &reason);

	if (fd >= 0)
		close(fd);
	if (!text) {
		buf_addf(why, "the token file %s cannot be read: %s", path,
		         fd < 0 ? strerror(-fd) : reason ? reason : "it is too long");
		return false;
	}
	text[strcspn(text, "\r\n")] = '\0';
	if (!*text) {
		buf_addf(why, "the token file %s has nothing in its first line", path);
		free(text);
		return false;
	}
	*ret = text;
	return true;
}

static const struct admin_socket *find(const struct admin_sockets *sockets, const char *path)
{
	for (size_t i = 0; sockets && i < sockets->n; i++)
		if (strcmp(sockets->list[i].path, path) == 0)
			return &sockets->list[i];
	return NULL;
}

static bool add(struct supervisor *s, struct admin_sockets *sockets,
                const struct admin_point *point, const struct admin_sockets *before,
                struct buf *why)
{
	char page[sizeof(PAGE_PREFIX) + ADDR_TEXT_MAX], text[ADDR_TEXT_MAX];
	const char *path = point->path ? point->path : page;
	const struct admin_socket *old;
	struct admin_socket *place;
	bool ok = true;

	snprintf(page, sizeof(page), PAGE_PREFIX "%s", addr_format_port(&point->addr, text));
	old = find(before, path);
	sockets->list = mem_resize(sockets->list, sockets->n + 1, sizeof(*sockets->list));
	place = &sockets->list[sockets->n];
	if (old)
		*place = (struct admin_socket){.path = mem_strdup(path),
		                               .page = old->page,
		                               .fd = old->fd,
		                               .made = old->made ? mem_strdup(old->made) : NULL};
	else if (point->path)
		ok = open_one(path, place, why);
	else
		ok = open_page(path, &point->addr, place, why);
	if (!ok)
		return false;
	sockets->n++;
	return !point->token || read_token(s, point->token, &place->token, why);
}

bool admin_sockets_open(struct supervisor *s, const struct config *c,
                        const struct admin_sockets *before, struct admin_sockets *ret,
                        struct buf *why)
{
	*ret = (struct admin_sockets){0};
	for (size_t i = 0; i < c->n_admins; i++)
		if (!add(s, ret, &c->admins[i], before, why)) {
			admin_sockets_close(NULL, ret, before);
			return false;
		}
	return true;
}

static void remove_file(struct supervisor *s, const char *path)
{
	int rc = s ? files_unlink(&s->files, path) : unlink(path) < 0 ? -errno : 0;

	if (rc < 0 && rc != -ENOENT)
		log_warning("cannot remove the admin socket %s: %s", path, strerror(-rc));
}

void admin_sockets_close(struct supervisor *s, struct admin_sockets *sockets,
                         const struct admin_sockets *except)
{
	for (size_t i = 0; i < sockets->n; i++) {
		struct admin_socket *a = &sockets->list[i];

		if (!find(except, a->path)) {
			close(a->fd);
			if (!a->page)
				remove_file(s, a->path);
			if (a->made)
				rmdir(a->made); /* stays if anything else is in there, or it is
				                   root's */
		}
		free(a->path);
		free(a->made);
		free(a->token);
	}
	free(sockets->list);
	*sockets = (struct admin_sockets){0};
}

void admin_sockets_give(const struct admin_sockets *sockets, const struct identity *id)
{
	for (size_t i = 0; i < sockets->n; i++) {
		const struct admin_socket *a = &sockets->list[i];

		if (a->page)
			continue;
		if (lchown(a->path, id->uid, id->gid) < 0 ||
		    (a->made && lchown(a->made, id->uid, id->gid) < 0))
			log_warning("giving the admin socket %s to user %s: %s", a->path, id->user,
			            strerror(errno));
	}
}

/* ---- over an upgrade ---- */

static void keep(int fd, bool yes)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, yes ? 0 : FD_CLOEXEC);
}

void admin_keep_over_exec(struct supervisor *s, bool yes)
{
	int client = admin_upgrade_client(s);
	struct buf text = BUF_INIT;

	buf_addf(&text, "%d\n", client);
	keep(client, yes);
	for (size_t i = 0; i < s->admin_sockets.n; i++) {
		keep(s->admin_sockets.list[i].fd, yes);
		buf_addf(&text, "%d %s\n", s->admin_sockets.list[i].fd,
		         s->admin_sockets.list[i].path);
	}
	if (yes)
		setenv(VARIABLE, text.s, 1);
	else
		unsetenv(VARIABLE);
	buf_release(&text);
}

void admin_inherit(struct supervisor *s)
{
	const char *value = getenv(VARIABLE);
	char *text = value ? mem_strdup(value) : NULL, *save = NULL;
	char *line = text ? strtok_r(text, "\n", &save) : NULL;

	s->upgrade_client_fd = line ? atoi(line) : -1;
	keep(s->upgrade_client_fd, false);
	while (line && (line = strtok_r(NULL, "\n", &save))) {
		char *path = strchr(line, ' ');
		struct admin_sockets *list = &s->admin_sockets;

		if (!path)
			continue;
		*path++ = '\0';
		list->list = mem_resize(list->list, list->n + 1, sizeof(*list->list));
		list->list[list->n] =
		    (struct admin_socket){.path = mem_strdup(path),
		                          .page = strncmp(path, PAGE_PREFIX, strlen(PAGE_PREFIX)) == 0,
		                          .fd = atoi(line)};
		keep(list->list[list->n++].fd, false);
	}
	unsetenv(VARIABLE);
	free(text);
}
