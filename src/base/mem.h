/*
 * mem.h - memory for start-up, configuration and control: never NULL, the program ends with a
 * message if there is none. The data plane allocates nothing for a connection that is being relayed.
 *
 * Before it serves it ends with 2, as whatever else keeps it from starting. Later it aborts: to a manager an exit code of 2
 * says that starting it again is of no use, and a signal that it is.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void mem_serve(void); /* from now on this process serves, and so do its children */

void *mem_alloc(size_t n);                            /* zeroed */
void *mem_resize(void *p, size_t count, size_t size); /* as reallocarray; new bytes are not zeroed */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
