#include "os/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "os/safepath.h"

#define TRIES 10

/* What is not a file cannot be replaced by one: /dev/null, a FIFO. */
static int write_in_place(const struct safepath *at, pid_t pid, bool wait)
{
	int fd = openat(at->dir, at->name, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC | (wait ? 0 : O_NONBLOCK));
	int rc = fd < 0 || dprintf(fd, "%d\n", (int)pid) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

static int write_new(int dir, const char *name, pid_t pid)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int rc = fd < 0 || dprintf(fd, "%d\n", (int)pid) < 0 ? -errno : 0;

	if (fd >= 0 && close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int replace(const struct safepath *at, pid_t pid)
{
	char fresh[NAME_MAX + 1];
	int rc = -EEXIST;

	for (int i = 0; i < TRIES && rc == -EEXIST; i++) {
		snprintf(fresh, sizeof(fresh), ".%.200s.%d.%d", at->name, (int)pid, i);
		rc = write_new(at->dir, fresh, pid);
	}
	if (rc == 0 && renameat(at->dir, fresh, at->dir, at->name) < 0)
		rc = -errno;
	if (rc < 0 && rc != -EEXIST)
		unlinkat(at->dir, fresh, 0);
	return rc;
}

int pidfile_write_at(int dir, const char *name, pid_t pid, bool wait)
{
	struct safepath at, link = {.dir = dir};
	int rc = safepath_follow(dir, name, &at);
	struct stat st;

	if (rc == -ELOOP) { /* the link is replaced */
		snprintf(link.name, sizeof(link.name), "%s", name);
		return replace(&link, pid);
	}
	if (rc < 0)
		return rc;
	if (fstatat(at.dir, at.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		rc = write_in_place(&at, pid, wait);
	else
		rc = replace(&at, pid);
	safepath_release(&at);
	return rc;
}

int pidfile_write(const char *path, pid_t pid, bool safely, bool wait)
{
	struct safepath at;
	int rc = safely ? safepath_directory(path, &at) : safepath_plain_directory(path, &at);

	if (rc < 0)
		return rc;
	rc = pidfile_write_at(at.dir, at.name, pid, wait);
	safepath_release(&at);
	return rc;
}
