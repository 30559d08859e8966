#include "os/unix_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "os/safepath.h"
#include "os/sock.h"

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

static bool led_astray(const char *path)
{
	struct safepath at;
	int rc = geteuid() == 0 ? safepath_directory(path, &at) : -ENOENT;

	if (rc == 0)
		safepath_release(&at);
	return rc == -ELOOP;
}

int unix_listen(const char *path, mode_t mode, int backlog)
{
	int fd;

	if (*path == '@')
		return sock_listen_unix(path, mode, backlog);
	if (led_astray(path))
		return -ELOOP;
	fd = sock_listen_unix(path, mode, backlog);
	if (fd == -EADDRINUSE && is_stale(path) && unlink(path) == 0)
		fd = sock_listen_unix(path, mode, backlog);
	return fd;
}

/* What is there, if it is a socket; opened as a place only. */
static int open_socket(const char *path)
{
	struct safepath at;
	struct stat st;
	int rc = safepath_directory(path, &at), fd;

	if (rc < 0)
		return rc;
	fd = openat(at.dir, at.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	safepath_release(&at);
	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) < 0 ? -errno : S_ISSOCK(st.st_mode) ? 0 : -ENOTSOCK;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int unix_listen_give(const char *path, uid_t uid, gid_t gid)
{
	int fd = open_socket(path), rc;

	if (fd < 0)
		return fd;
	rc = fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

int unix_listen_mode(const char *path, mode_t mode)
{
	int fd = open_socket(path), rc = fd < 0 ? fd : 0;
	char self[32];
	struct stat st;

	if (fd < 0)
		return fd;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd); /* fchmod() takes no O_PATH */
	if (fstat(fd, &st) == 0 && (st.st_mode & 0777) != mode)
		rc = chmod(self, mode) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

const char *unix_listen_error(int error)
{
	return error == EADDRINUSE ? "somebody answers there, or a file is in its place" : safepath_error(error);
}
