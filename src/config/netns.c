/* netns.c - network namespaces, as they are said: by their names (ip-netns(8)), or by the paths of their files. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "config/parser.h"

#define NETNS_DIRECTORY "/run/netns/"

char *netns_path(const char *text)
{
	if (*text == '/')
		return mem_strdup(text);
	return !*text || strchr(text, '/') || *text == '.' ? NULL : mem_printf(NETNS_DIRECTORY "%s", text);
}

const char *netns_word(const char *path)
{
	size_t len = strlen(NETNS_DIRECTORY);

	if (!path)
		return "off";
	return strncmp(path, NETNS_DIRECTORY, len) || strchr(path + len, '/') ? path : path + len;
}

uint32_t netns_id(const char *path)
{
	uint64_t h = path ? hash_bytes(HASH_START, path, strlen(path)) : 0;

	return path ? (uint32_t)(h ^ h >> 32) | 1 : 0;
}
