#include "os/pathwatch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "base/mem.h"

#define LINKS_MAX 40   /* as the kernel follows */
#define READS_MAX 1000 /* of events at a time */

#define FOLDER_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define FILE_EVENTS   (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

void pathwatch_open(struct pathwatch *w)
{
	*w = (struct pathwatch){.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
	w->whole = w->fd >= 0;
}

void pathwatch_close(struct pathwatch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	for (size_t i = 0; i < w->n; i++)
		free(w->names[i].name);
	free(w->names);
	*w = (struct pathwatch){.fd = -1};
}

/* name NULL: the path is that of the file. */
static void add(struct pathwatch *w, const char *path, const char *name)
{
	/* two paths may lead through the same directory, and a file may be one, too */
	int wd = inotify_add_watch(w->fd, *path ? path : "/", (name ? FOLDER_EVENTS : FILE_EVENTS) | IN_MASK_ADD);

	if (wd < 0) {
		w->whole = w->whole && errno == ENOENT; /* it has just gone, which its directory tells */
		return;
	}
	w->names = mem_resize(w->names, w->n + 1, sizeof(*w->names));
	w->names[w->n++] = (struct pathwatch_name){wd, name ? mem_strdup(name) : NULL};
}

/* Where we are on the way: without links, "" is the root; and what is still before us. */
struct way {
	char done[PATH_MAX];
	char rest[PATH_MAX];
	int links;
};

static void go_up(struct way *way)
{
	char *slash = strrchr(way->done, '/');

	if (slash)
		*slash = '\0';
}

/* The link's target comes first now. False: the way is too long. */
static bool follow(struct way *way, const char *target)
{
	char rest[2 * PATH_MAX];
	int len = snprintf(rest, sizeof(rest), "%s/%s", target, way->rest);

	if (++way->links > LINKS_MAX || len >= PATH_MAX)
		return false;
	memcpy(way->rest, rest, (size_t)len + 1);
	if (*target == '/')
		way->done[0] = '\0';
	return true;
}

/* The next part of the way. False: it goes no further. */
static bool step(struct pathwatch *w, struct way *way)
{
	char name[NAME_MAX + 1], next[PATH_MAX + NAME_MAX + 2], target[PATH_MAX];
	char *at = way->rest + strspn(way->rest, "/");
	size_t len = strcspn(at, "/");
	ssize_t n;

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, at, len);
	name[len] = '\0';
	memmove(way->rest, at + len, strlen(at + len) + 1);
	if (strcmp(name, ".") == 0)
		return true;
	if (strcmp(name, "..") == 0) {
		go_up(way);
		return true;
	}
	add(w, way->done, name);
	if (snprintf(next, sizeof(next), "%s/%s", way->done, name) >= PATH_MAX)
		return false;
	n = readlink(next, target, sizeof(target) - 1);
	if (n >= 0) {
		target[n] = '\0';
		return follow(way, target);
	}
	if (errno != EINVAL) {
		w->whole = w->whole && errno == ENOENT;
		return false;
	}
	strcpy(way->done, next);
	return true;
}

void pathwatch_add(struct pathwatch *w, const char *path)
{
	struct way *way = mem_alloc(sizeof(*way));

	if (w->fd >= 0 && strlen(path) < sizeof(way->rest)) {
		strcpy(way->rest, path);
		while (step(w, way))
			;
		if (way->rest[strspn(way->rest, "/")] == '\0' && way->done[0])
			add(w, way->done, NULL);
	} else {
		w->whole = false;
	}
	free(way);
}

static bool is_ours(const struct pathwatch *w, const struct inotify_event *e)
{
	if (e->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF))
		return true;
	for (size_t i = 0; i < w->n; i++)
		if (w->names[i].wd == e->wd &&
		    (w->names[i].name ? e->len > 0 && strcmp(w->names[i].name, e->name) == 0 : e->len == 0))
			return true;
	return false;
}

bool pathwatch_heard(struct pathwatch *w)
{
	_Alignas(struct inotify_event) char events[16384];
	bool ours = false;

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t n = read(w->fd, events, sizeof(events));

		if (n <= 0)
			break;
		for (char *at = events; at < events + n;) {
			const struct inotify_event *e = (const struct inotify_event *)at;

			ours |= is_ours(w, e);
			at += sizeof(*e) + e->len;
		}
	}
	return ours;
}
