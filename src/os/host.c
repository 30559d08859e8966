#include "os/host.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

#define HOSTS      "/etc/hosts"
#define HOSTS_LINE 4096

static void add(char ***names, size_t *n, const char *name)
{
	*names = mem_resize(*names, *n + 2, sizeof(**names));
	(*names)[(*n)++] = mem_strdup(name);
	(*names)[*n] = NULL;
}

/* All names of a line that has this one: after the address. */
static void add_names_beside(char ***names, size_t *n, char *line, const char *name)
{
	char *words[64], *save = NULL;
	size_t count = 0;
	bool ours = false;

	line[strcspn(line, "#\n")] = '\0';
	for (char *w = strtok_r(line, " \t", &save); w && count < ARRAY_LEN(words); w = strtok_r(NULL, " \t", &save)) {
		ours |= count > 0 && strcasecmp(w, name) == 0;
		words[count++] = w;
	}
	for (size_t i = 1; ours && i < count; i++)
		add(names, n, words[i]);
}

const char *host_name(void)
{
	static char name[256];

	if (!*name && gethostname(name, sizeof(name) - 1) < 0)
		*name = '\0';
	if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")])
		strcpy(name, "localhost");
	return name;
}

char **host_names(void)
{
	char name[256] = "", line[HOSTS_LINE], **names = mem_alloc(sizeof(*names));
	FILE *f = fopen(HOSTS, "re");
	size_t n = 0;

	if (gethostname(name, sizeof(name) - 1) == 0 && *name)
		add(&names, &n, name);
	while (f && *name && fgets(line, sizeof(line), f))
		add_names_beside(&names, &n, line, name);
	if (f)
		fclose(f);
	return names;
}
