#include "network/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

struct space {
	uint32_t id;
	const char *path; /* the configuration's */
	int fd;           /* -1: it is not there */
	dev_t dev;
	ino_t ino;
};

static struct space *list;
static size_t n_spaces;
static int home = -1;

static void add(const char *path)
{
	for (size_t i = 0; i < n_spaces; i++)
		if (list[i].id == netns_id(path))
			return;
	list = mem_resize(list, n_spaces + 1, sizeof(*list));
	list[n_spaces++] = (struct space){.id = netns_id(path), .path = path, .fd = -1};
}

static void add_section(const struct section *s)
{
	if (s->netns && s->has_pool)
		add(s->netns);
	for (size_t i = 0; i < s->n_servers; i++)
		if (server_netns(s, &s->servers[i]))
			add(server_netns(s, &s->servers[i]));
}

int spaces_open(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		add_section(&c->sections[i]);
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].netns)
			add(c->services[i].netns);
	if (n_spaces == 0)
		return 0;
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return home < 0 ? -errno : 0;
}

/* Is what is open still what is there? */
static void look(struct space *s)
{
	struct stat st;
	bool there = stat(s->path, &st) == 0;

	if (s->fd >= 0 && (!there || st.st_dev != s->dev || st.st_ino != s->ino)) {
		close(s->fd);
		s->fd = -1;
	}
	if (s->fd >= 0 || !there)
		return;
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
	if (s->fd >= 0 && fstat(s->fd, &st) == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
	}
}

bool spaces_enter(uint32_t id)
{
	for (size_t i = 0; i < n_spaces; i++)
		if (list[i].id == id) {
			look(&list[i]);
			return list[i].fd >= 0 && setns(list[i].fd, CLONE_NEWNET) == 0;
		}
	return false;
}

void spaces_leave(void)
{
	if (setns(home, CLONE_NEWNET) < 0)
		_exit(1); /* the one that watches begins where we did */
}
