/* world.c - files, globs and port names, as a process without special rights sees them. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmdline.h"
#include "daemon/files.h"
#include "os/file.h"

static struct files *files; /* who may read what we may not; NULL: nobody */

void world_use_files(struct files *helper)
{
	files = helper;
}

/* Not to be held up by a FIFO that nobody writes to. */
static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0 || !files)
		return fd;
	fd = files_open_read(files, path);
	if (fd < 0)
		errno = -fd;
	return fd < 0 ? -1 : fd;
}

static char *world_read_file(void *arg, const char *path, const char **why)
{
	int fd = open_file(path);
	char *text = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		*why = strerrordesc_np(errno);
	else if (S_ISDIR(st.st_mode))
		*why = "it is a directory";
	else
		text = file_read_all(fd, why);
	if (fd >= 0)
		close(fd);
	return text;
}

static char **world_glob(void *arg, const char *pattern)
{
	char **paths = NULL;
	glob_t g;

	if (glob(pattern, 0, NULL, &g) == 0) {
		paths = mem_alloc((g.gl_pathc + 1) * sizeof(*paths));
		for (size_t i = 0; i < g.gl_pathc; i++)
			paths[i] = mem_strdup(g.gl_pathv[i]);
	}
	globfree(&g);
	return paths;
}

static uint16_t world_service_port(void *arg, const char *name)
{
	struct servent *s = getservbyname(name, "tcp");

	return s ? ntohs((uint16_t)s->s_port) : 0;
}

const struct config_world *cmdline_world(void)
{
	static const struct config_world world = {
	    .read_file = world_read_file,
	    .glob = world_glob,
	    .service_port = world_service_port,
	};

	return &world;
}
