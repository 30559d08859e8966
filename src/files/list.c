#include "files/list.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/safepath.h"

/* ---- the directory of a path ---- */

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static char *folder_of(const char *path)
{
	size_t len = (size_t)(name_of(path) - path);

	return len > 1 ? mem_printf("%.*s", (int)len - 1, path) : mem_strdup("/");
}

/* Root reads a file wherever links lead. Where root writes, no other user may lead it. */
static int open_folder(enum files_verb verb, const char *path)
{
	struct safepath at;
	char *folder;
	int fd;

	if (verb != FILES_READ)
		return safepath_directory(path, &at) < 0 ? -1 : at.dir;
	folder = folder_of(path);
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	return fd;
}

/* ---- the rooms ---- */

static unsigned rights_of(const struct files_entry *e)
{
	switch (e->verb) {
	case FILES_APPEND:
		return LANDLOCK_WRITE | LANDLOCK_MAKE;
	case FILES_PID:
	case FILES_NEW:
	case FILES_COMMIT:
		return LANDLOCK_WRITE | LANDLOCK_MAKE | LANDLOCK_REMOVE;
	case FILES_REMOVE:
		return e->directory ? LANDLOCK_REMOVE_DIR : LANDLOCK_REMOVE;
	default:
		return LANDLOCK_READ;
	}
}

static void add_room(struct files_list *l, int dir, unsigned rights)
{
	l->rooms = mem_resize(l->rooms, l->n_rooms + 1, sizeof(*l->rooms));
	l->rooms[l->n_rooms++] = (struct landlock_room){.dir = dir, .rights = rights};
}

/* Its directory, and that of what it leads to, if it is a link. */
static void add_rooms(struct files_list *l, const struct files_entry *e)
{
	struct safepath at;

	add_room(l, e->dir, rights_of(e));
	if (e->verb != FILES_REMOVE && safepath_follow(e->dir, e->name, &at) == 0)
		add_room(l, at.dir, rights_of(e));
}

/* ---- adding ---- */

static void add(struct files_list *l, struct files_entry e)
{
	l->entries = mem_resize(l->entries, l->n + 1, sizeof(*l->entries));
	l->entries[l->n++] = e;
	add_rooms(l, &e);
}

static void add_file(struct files_list *l, enum files_verb verb, const char *path, bool directory)
{
	int dir = open_folder(verb, path);

	if (dir >= 0 && *name_of(path))
		add(l, (struct files_entry){.verb = verb,
		                            .path = mem_strdup(path),
		                            .name = mem_strdup(name_of(path)),
		                            .directory = directory,
		                            .dir = dir});
	else if (dir >= 0)
		close(dir);
}

void files_list_add(struct files_list *l, enum files_verb verb, const char *path)
{
	add_file(l, verb, path, false);
}

void files_list_add_directory(struct files_list *l, const char *path)
{
	add_file(l, FILES_REMOVE, path, true);
}

static void add_folder(struct files_list *l, const char *pattern, const char *folder)
{
	int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir >= 0)
		add(l, (struct files_entry){.verb = FILES_LIST,
		                            .path = mem_strdup(pattern),
		                            .folder = mem_strdup(folder),
		                            .name = mem_strdup(name_of(pattern)),
		                            .dir = dir});
}

void files_list_add_pattern(struct files_list *l, const char *pattern)
{
	char *folder = folder_of(pattern);
	glob_t g;

	if (glob(folder, GLOB_ONLYDIR, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			add_folder(l, pattern, g.gl_pathv[i]);
	globfree(&g);
	free(folder);
}

void files_list_release(struct files_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->entries[i].path);
		free(l->entries[i].folder);
		free(l->entries[i].name);
	}
	for (size_t i = 0; i < l->n_rooms; i++)
		close(l->rooms[i].dir);
	free(l->entries);
	free(l->rooms);
	*l = (struct files_list){.n = 0};
}

/* ---- looking ---- */

static bool is_in(const char *folder, const char *path)
{
	size_t len = (size_t)(name_of(path) - path);

	if (len > 1)
		len--; /* without the slash */
	return strncmp(folder, path, len) == 0 && folder[len] == '\0';
}

static bool allows(const struct files_entry *e, enum files_verb verb, const char *path)
{
	if (e->verb == verb)
		return strcmp(e->path, path) == 0;
	/* what can be listed can be read */
	return e->verb == FILES_LIST && verb == FILES_READ && is_in(e->folder, path) &&
	       fnmatch(e->name, name_of(path), FNM_PERIOD) == 0;
}

const struct files_entry *files_list_find(const struct files_list *l, enum files_verb verb, const char *path,
                                          const char **ret_name)
{
	if (path[0] != '/')
		return NULL;
	for (size_t i = 0; i < l->n; i++) {
		if (!allows(&l->entries[i], verb, path))
			continue;
		*ret_name = verb == FILES_READ ? name_of(path) : l->entries[i].name;
		return &l->entries[i];
	}
	return NULL;
}
