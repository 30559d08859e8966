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

#define FILE_MAX (64u << 20)

static char *read_all(int fd, const char **why)
{
	size_t len = 0, room = 16384;
	char *text = mem_alloc(room);

	for (;;) {
		ssize_t n = read(fd, text + len, room - len - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len + (size_t)n > FILE_MAX) {
			*why = n < 0 ? strerrordesc_np(errno) : "it is larger than 64 MiB";
			free(text);
			return NULL;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len + 1 == room)
			text = mem_resize(text, room *= 2, 1);
	}
	/* A NUL would end the text early; another control character is an error at its place. */
	for (char *nul = text; (nul = memchr(nul, '\0', len - (size_t)(nul - text)));)
		*nul = '\1';
	text[len] = '\0';
	return text;
}

static char *world_read_file(void *arg, const char *path, const char **why)
{
	/* Not to be held up by a FIFO that nobody writes to. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *text = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		*why = strerrordesc_np(errno);
	else if (S_ISDIR(st.st_mode))
		*why = "it is a directory";
	else
		text = read_all(fd, why);
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
