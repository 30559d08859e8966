/*
 * lists.h - "servers file:PATH": lists are read, and read again when they change, whole or not at all (members.h).
 */
#ifndef SUPERVISOR_LISTS_H
#define SUPERVISOR_LISTS_H

struct config;
struct supervisor;

/* Reads those that are new in this configuration, which is not in force yet. */
void lists_read(struct supervisor *s, const struct config *c);
/* Looks after those of the configuration that is in force, and no others. */
void lists_look_after(struct supervisor *s);
void lists_end(struct supervisor *s);

#endif
