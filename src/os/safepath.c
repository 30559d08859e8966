#include "os/safepath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

#define LINKS_MAX 40 /* as the kernel */
#define BY_ROOT   0

/* A walk: where it stands, and what is still to go. */
struct walk {
	int dir;    /* O_PATH, ours */
	bool roots; /* only root could have led us here */
	unsigned links;
	char rest[PATH_MAX];
};

static bool only_root_writes(const struct stat *st)
{
	return st->st_uid == BY_ROOT && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

bool safepath_is_roots(int dir)
{
	struct stat st;

	return fstat(dir, &st) == 0 && only_root_writes(&st);
}

/* Only root can have put the entry there. In a sticky directory every user makes entries, but cannot replace those of
 * another. */
static bool is_roots_entry(int dir, const struct stat *entry)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return false;
	return only_root_writes(&st) || (st.st_uid == BY_ROOT && st.st_mode & S_ISVTX && entry->st_uid == BY_ROOT);
}

static int start_at(struct walk *w, const char *path, int from)
{
	*w = (struct walk){.dir = from, .roots = true};
	if (w->dir < 0)
		return -errno;
	if (strlen(path) >= sizeof(w->rest)) {
		close(w->dir);
		return -ENAMETOOLONG;
	}
	strcpy(w->rest, path);
	return 0;
}

/* Takes the next component off what is left. false: there is none. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1])
{
	size_t skip = strspn(w->rest, "/");
	size_t len = strcspn(w->rest + skip, "/");

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, w->rest + skip, len);
	name[len] = '\0';
	memmove(w->rest, w->rest + skip + len, strlen(w->rest + skip + len) + 1);
	return true;
}

static bool is_last(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

static void go_to(struct walk *w, int dir)
{
	close(w->dir);
	w->dir = dir;
}

static int enter(struct walk *w, int dir, const struct stat *st)
{
	w->roots = w->roots && is_roots_entry(w->dir, st);
	go_to(w, dir);
	return w->links > 0 && !w->roots ? -ELOOP : 0;
}

/* Its target takes the place of the link. */
static int follow_link(struct walk *w, int link, const struct stat *st)
{
	char target[PATH_MAX], after[PATH_MAX];
	ssize_t n = readlinkat(link, "", target, sizeof(target));
	int root;

	if (n <= 0)
		return n == 0 ? -ENOENT : -errno;
	w->roots = w->roots && is_roots_entry(w->dir, st) && st->st_uid == BY_ROOT && st->st_nlink == 1;
	if (!w->roots || ++w->links > LINKS_MAX)
		return -ELOOP;
	memcpy(after, w->rest, sizeof(after));
	if (snprintf(w->rest, sizeof(w->rest), "%.*s%s", (int)n, target, after) >= (int)sizeof(w->rest))
		return -ENAMETOOLONG;
	if (target[0] != '/')
		return 0;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	go_to(w, root);
	return 0;
}

/* One component. 0: gone on; 1: it is the last one, no link, and stands in `name`; or -errno. */
static int step(struct walk *w, char name[NAME_MAX + 1], bool follow_last)
{
	struct stat st;
	int fd, rc;

	if (!next_name(w, name))
		return -EISDIR;
	if (is_last(w) && !follow_last)
		return 1;
	fd = openat(w->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno != ENOENT || !is_last(w)))
		return -errno;
	if (fd < 0) /* to be made there */
		return w->links > 0 && !safepath_is_roots(w->dir) ? -ELOOP : 1;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (S_ISLNK(st.st_mode))
		rc = follow_link(w, fd, &st);
	else if (is_last(w))
		rc = w->links > 0 && !is_roots_entry(w->dir, &st) ? -ELOOP : 1;
	else if (!S_ISDIR(st.st_mode))
		rc = -ENOTDIR;
	else
		return enter(w, fd, &st);
	close(fd);
	return rc;
}

static int walk_to_end(struct walk *w, struct safepath *ret, bool follow_last)
{
	int rc = 0;

	while (rc == 0)
		rc = step(w, ret->name, follow_last);
	if (rc < 0) {
		close(w->dir);
		return rc;
	}
	ret->dir = w->dir;
	return 0;
}

int safepath_directory(const char *path, struct safepath *ret)
{
	struct walk w;
	int rc = start_at(&w, path, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));

	return rc < 0 ? rc : walk_to_end(&w, ret, false);
}

int safepath_plain_directory(const char *path, struct safepath *ret)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	if (!slash || slash - path >= (int)sizeof(folder) || strlen(slash) > sizeof(ret->name))
		return -ENAMETOOLONG;
	snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	snprintf(ret->name, sizeof(ret->name), "%s", slash + 1);
	ret->dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return ret->dir < 0 ? -errno : 0;
}

int safepath_follow(int dir, const char *name, struct safepath *ret)
{
	struct walk w;
	int rc = start_at(&w, name, fcntl(dir, F_DUPFD_CLOEXEC, 3));

	return rc < 0 ? rc : walk_to_end(&w, ret, true);
}

void safepath_release(struct safepath *at)
{
	close(at->dir);
	at->dir = -1;
}

#define ALWAYS (O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static int open_here(const struct safepath *at, int flags)
{
	int fd = openat(at->dir, at->name, flags | ALWAYS);

	/* a FIFO without a reader so far: as a reader of it we keep what is written until one comes */
	if (fd < 0 && errno == ENXIO)
		fd = openat(at->dir, at->name, (flags & ~O_ACCMODE) | O_RDWR | ALWAYS);
	return fd < 0 ? -errno : fd;
}

static int check_kind(const struct stat *st)
{
	if (S_ISREG(st->st_mode) || S_ISFIFO(st->st_mode))
		return 0;
	return S_ISDIR(st->st_mode) ? -EISDIR : S_ISLNK(st->st_mode) ? -ELOOP : -ENODEV;
}

static int check_opened(const struct safepath *at, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (check_kind(&st) < 0)
		return check_kind(&st);
	return st.st_nlink > 1 && !safepath_is_roots(at->dir) ? -EMLINK : 0;
}

int safepath_open(const struct safepath *at, int flags)
{
	struct stat st;
	int fd, rc;

	/* opening a device may already do something to it */
	if (fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	rc = check_kind(&st);
	if (rc < 0)
		return rc;
	fd = open_here(at, flags);
	rc = fd < 0 ? fd : check_opened(at, fd);
	if (rc < 0 && fd >= 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

int safepath_create(const struct safepath *at, int flags, mode_t mode)
{
	int fd = openat(at->dir, at->name, flags | O_CREAT | O_EXCL | ALWAYS, mode);

	return fd < 0 ? -errno : fd;
}

static bool is_stream(const char *path)
{
	static const char *const list[] = {"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty"};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (strcmp(path, list[i]) == 0)
			return true;
	return strncmp(path, "/dev/fd/", 8) == 0;
}

static int empty(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(fd, 0) < 0 ? -errno : 0;
}

static int open_new_at(const struct safepath *at, mode_t mode)
{
	int fd = safepath_open(at, O_WRONLY);
	int rc;

	if (fd == -ENOENT)
		fd = safepath_create(at, O_WRONLY, mode);
	rc = fd < 0 ? fd : empty(fd);
	if (rc < 0 && fd >= 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

static int resolve(const char *path, struct safepath *ret)
{
	struct safepath at;
	int rc = path[0] == '/' ? safepath_directory(path, &at) : 0;

	if (path[0] != '/') /* from where we are, which was chosen by whatever started us */
		at = (struct safepath){.dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
	if (rc < 0 || at.dir < 0)
		return rc < 0 ? rc : -errno;
	rc = safepath_follow(at.dir, path[0] == '/' ? at.name : path, ret);
	safepath_release(&at);
	return rc;
}

int safepath_open_new(const char *path, mode_t mode)
{
	struct safepath at;
	int fd;

	if (geteuid() != BY_ROOT || is_stream(path)) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, mode);
		return fd < 0 ? -errno : fd;
	}
	fd = resolve(path, &at);
	if (fd < 0)
		return fd;
	fd = open_new_at(&at, mode);
	safepath_release(&at);
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

const char *safepath_error(int error)
{
	switch (error) {
	case ELOOP:
		return "it is a symbolic link that others than root can change, and so is not followed";
	case ENODEV:
		return "it is neither a regular file nor a FIFO";
	case EMLINK:
		return "it has a second name (a hard link), in a directory that others than root may write";
	default:
		return strerrordesc_np(error);
	}
}
