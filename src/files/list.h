/*
 * list.h - what "tcpproxy: files" may do, and nothing else: drawn up while we still are root, of what the configuration
 * names then. The directories are held open, so others cannot be put in their place.
 */
#ifndef FILES_LIST_H
#define FILES_LIST_H

#include "files/wire.h"
#include "os/landlock.h"

struct files_entry {
	enum files_verb verb;
	char *path;     /* by which it is asked for: of the file, or the pattern */
	char *folder;   /* of a pattern: the path of the directory */
	char *name;     /* of the file in the directory, or its pattern */
	bool directory; /* FILES_REMOVE: that is what it is */
	int dir;        /* O_PATH */
};

struct files_list {
	struct files_entry *entries;
	size_t n;
	struct landlock_room *rooms; /* that all this takes place in */
	size_t n_rooms;
};

/* Adds a file, by its absolute path; one whose directory is not there, or is reached over a link that others can change, is left
 * out (but files to be read are where root finds them now). */
void files_list_add(struct files_list *l, enum files_verb verb, const char *path);
void files_list_add_directory(struct files_list *l, const char *path); /* FILES_REMOVE */
/* Adds what matches (glob(7)): to be listed and to be read, in each directory that matches now. */
void files_list_add_pattern(struct files_list *l, const char *pattern);
void files_list_release(struct files_list *l);

/* The entry that allows this, or NULL; and the name of the file in its directory. */
const struct files_entry *files_list_find(const struct files_list *l, enum files_verb verb, const char *path,
                                          const char **ret_name);

#endif
