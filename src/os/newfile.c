#include "os/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "os/safepath.h"

#define MODE 0640

/* Where it is, and what the new one is called there. */
struct place {
	struct safepath at;
	char fresh[NAME_MAX + 1];
	bool ours; /* at is to be released */
};

static int find_place(int dir, const char *name, struct place *ret)
{
	int rc = safepath_follow(dir, name, &ret->at);

	ret->ours = rc == 0;
	if (rc == -ELOOP) { /* the link is replaced */
		ret->at.dir = dir;
		snprintf(ret->at.name, sizeof(ret->at.name), "%s", name);
		rc = 0;
	}
	if (rc == 0 && snprintf(ret->fresh, sizeof(ret->fresh), ".%s.new", ret->at.name) >= (int)sizeof(ret->fresh))
		rc = -ENAMETOOLONG;
	return rc;
}

static void leave_place(struct place *p)
{
	if (p->ours)
		safepath_release(&p->at);
}

static int open_fresh(const struct place *p)
{
	struct stat st;
	int fd;

	if (fstatat(p->at.dir, p->at.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode) &&
	    !S_ISLNK(st.st_mode))
		return -ENODEV;
	if (unlinkat(p->at.dir, p->fresh, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(p->at.dir, p->fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE);
	return fd < 0 ? -errno : fd;
}

int newfile_open_at(int dir, const char *name)
{
	struct place p = {0};
	int rc = find_place(dir, name, &p);

	if (rc == 0)
		rc = open_fresh(&p);
	leave_place(&p);
	return rc;
}

/* That it is called so now is on the disk, too; where the directory cannot be opened the kernel sees to it a little later. */
static void sync_directory(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

int newfile_commit_at(int dir, const char *name)
{
	struct place p = {0};
	int rc = find_place(dir, name, &p);

	if (rc == 0 && renameat(p.at.dir, p.fresh, p.at.dir, p.at.name) < 0) {
		rc = -errno;
		if (rc != -EACCES && rc != -EPERM) /* else somebody with more rights may do it */
			unlinkat(p.at.dir, p.fresh, 0);
	}
	if (rc == 0)
		sync_directory(p.at.dir);
	leave_place(&p);
	return rc;
}

static int by_path(const char *path, int (*at)(int dir, const char *name))
{
	struct safepath where;
	int rc = safepath_plain_directory(path, &where);

	if (rc < 0)
		return rc;
	rc = at(where.dir, where.name);
	safepath_release(&where);
	return rc;
}

int newfile_open(const char *path)
{
	return by_path(path, newfile_open_at);
}

int newfile_commit(const char *path)
{
	return by_path(path, newfile_commit_at);
}
