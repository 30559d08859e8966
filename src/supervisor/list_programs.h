/*
 * list_programs.h - "servers program": the spawner runs the programs, and says which lists they have printed; they are taken as those of
 * files are (lists.h).
 */
#ifndef SUPERVISOR_LIST_PROGRAMS_H
#define SUPERVISOR_LIST_PROGRAMS_H

struct supervisor;

/* A list has come. line: what the spawner says is the line of its program; if the configuration has none, nothing happens. */
void list_programs_heard(struct supervisor *s, const char *line, const char *list);
/* Those of the configuration that is in force are known from now on, and no others. */
void list_programs_look_after(struct supervisor *s);
void list_programs_end(struct supervisor *s);

#endif
