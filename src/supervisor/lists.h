/*
 * lists.h - "servers file:PATH": lists are read, and read again when they change, whole or not at all (members.h).
 */
#ifndef SUPERVISOR_LISTS_H
#define SUPERVISOR_LISTS_H

#include <stdbool.h>

struct config;
struct supervisor;

/* text is the list of the source of this line now, as it was read from path: whole, or not at all. False: the servers stay, and the
 * log says why, unless that is what it was told last: *told, which is the caller's, as is its memory; NULL: nothing. */
bool list_take(struct supervisor *s, const char *line, const char *path, const char *text, char **told);

/* Reads those that are new in this configuration, which is not in force yet. */
void lists_read(struct supervisor *s, const struct config *c);
/* Looks after those of the configuration that is in force, and no others. */
void lists_look_after(struct supervisor *s);
void lists_end(struct supervisor *s);

#endif
