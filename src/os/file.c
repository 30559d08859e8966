#include "os/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

#define FILE_MAX (64u << 20)

char *file_read_all(int fd, const char **why)
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
	for (char *nul = text; (nul = memchr(nul, '\0', len - (size_t)(nul - text)));)
		*nul = '\1';
	text[len] = '\0';
	return text;
}
