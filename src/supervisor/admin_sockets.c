#include "supervisor/admin_sockets.h"

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
#include "os/caps.h"
#include "os/file.h"
#include "os/sock.h"
#include "os/unix_listen.h"

#define PAGE_BACKLOG 128
#define ADMIN_MODE   0666 /* its user is asked after accept() */

/* ---- one socket ---- */

/* Its directory, if only that is missing. Returns its name if it was made. Root's, and no more is given away of it than the
 * right to enter: a user who may write it could put a link where we write next (admin_sockets_give()). */
static char *make_directory(const char *path)
{
	char *copy = mem_strdup(path);
	char *directory = mem_strdup(dirname(copy));

	free(copy);
	if (mkdir(directory, 0750) == 0)
		return directory;
	free(directory);
	return NULL;
}

static bool open_one(const char *path, struct admin_socket *ret, struct buf *why)
{
	char *made = NULL;
	int fd = unix_listen(path, ADMIN_MODE, SOMAXCONN);

	if (fd == -ENOENT) {
		made = make_directory(path);
		fd = unix_listen(path, ADMIN_MODE, SOMAXCONN);
	}
	if (fd < 0) {
		buf_addf(why, "the admin socket %s cannot be bound: %s", path, unix_listen_error(-fd));
		free(made);
		return false;
	}
	*ret = (struct admin_socket){.path = mem_strdup(path), .fd = fd, .made = made};
	return true;
}

/* ---- all of them ---- */

static bool open_page(const char *name, const struct addr *a, struct admin_socket *ret, struct buf *why)
{
	int fd = sock_listen(a, PAGE_BACKLOG, false);

	if (fd == -EACCES && caps_raise(CAP_NET_BIND_SERVICE, true) == 0) {
		fd = sock_listen(a, PAGE_BACKLOG, false);
		caps_raise(CAP_NET_BIND_SERVICE, false);
	}
	if (fd < 0) {
		buf_addf(why, "admin %s cannot be bound: %s", name + strlen(ADMIN_PAGE_PREFIX),
		         fd == -EADDRINUSE ? "the port is in use" : strerror(-fd));
		return false;
	}
	*ret = (struct admin_socket){.path = mem_strdup(name), .page = true, .fd = fd};
	return true;
}

/* The first line of its file, which only root may be able to read. */
static bool read_token(struct files *files, const char *path, char **ret, struct buf *why)
{
	const char *reason = NULL;
	int fd = files_open_read(files, path);
	char *text = fd < 0 ? NULL : file_read_all(fd, &reason);

	if (fd >= 0)
		close(fd);
	if (!text) {
		buf_addf(why, "the token file %s cannot be read: %s", path,
		         fd < 0   ? files_error(-fd)
		         : reason ? reason
		                  : "it is too long");
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

static bool add(struct files *files, struct admin_sockets *sockets, const struct admin_point *point,
                const struct admin_sockets *before, struct buf *why)
{
	char page[sizeof(ADMIN_PAGE_PREFIX) + ADDR_TEXT_MAX], text[ADDR_TEXT_MAX];
	const char *path = point->path ? point->path : page;
	const struct admin_socket *old;
	struct admin_socket *place;
	bool ok = true;

	snprintf(page, sizeof(page), ADMIN_PAGE_PREFIX "%s", addr_format_port(&point->addr, text));
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
	return !point->token || read_token(files, point->token, &place->token, why);
}

bool admin_sockets_open(struct files *files, const struct config *c, const struct admin_sockets *before,
                        struct admin_sockets *ret, struct buf *why)
{
	*ret = (struct admin_sockets){0};
	for (size_t i = 0; i < c->n_admins; i++)
		if (!add(files, ret, &c->admins[i], before, why)) {
			admin_sockets_close(NULL, ret, before);
			return false;
		}
	return true;
}

static void remove_file(struct files *files, const char *path)
{
	int rc = files ? files_unlink(files, path) : unlink(path) < 0 ? -errno : 0;

	if (rc < 0 && rc != -ENOENT)
		log_warning("cannot remove the admin socket %s: %s", path, strerror(-rc));
}

/* That we have made; after an upgrade only the helper knows that. It stays if anything else is in there. */
static void remove_directory(struct files *files, const struct admin_socket *a)
{
	char *copy = mem_strdup(a->path);

	if (files)
		files_rmdir(files, dirname(copy), a->made != NULL);
	else if (a->made)
		rmdir(a->made);
	free(copy);
}

void admin_sockets_close(struct files *files, struct admin_sockets *sockets, const struct admin_sockets *except)
{
	for (size_t i = 0; i < sockets->n; i++) {
		struct admin_socket *a = &sockets->list[i];

		if (!find(except, a->path)) {
			close(a->fd);
			if (!a->page)
				remove_file(files, a->path);
			if (!a->page)
				remove_directory(files, a);
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
		int rc;

		if (a->page)
			continue;
		rc = unix_listen_give(a->path, id->uid, id->gid);
		if (rc == 0 && a->made && lchown(a->made, 0, id->gid) < 0)
			rc = -errno;
		if (rc < 0)
			log_warning("giving the admin socket %s to user %s: %s", a->path, id->user,
			            unix_listen_error(-rc));
	}
}

void admin_sockets_listen(const struct admin_sockets *sockets, struct admin_server *server)
{
	for (size_t i = 0; i < sockets->n; i++) {
		const struct admin_socket *a = &sockets->list[i];
		int rc = a->page ? 0 : admin_server_listen(server, a->fd);

		if (rc < 0)
			log_error("the admin socket %s: %s", a->path, strerror(-rc));
	}
}

void admin_sockets_forget(const struct admin_sockets *sockets, struct admin_server *server)
{
	for (size_t i = 0; i < sockets->n; i++)
		admin_server_forget(server, sockets->list[i].fd);
}

void admin_sockets_change(struct files *files, struct admin_sockets *now, struct admin_sockets *next,
                          struct admin_server *server)
{
	struct admin_sockets before = *now;

	if (server)
		admin_sockets_forget(&before, server);
	*now = *next;
	admin_sockets_close(files, &before, next);
	if (server)
		admin_sockets_listen(next, server);
}
