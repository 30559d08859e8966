/* landlock.h - this process may touch no file outside the given directories any more (landlock(7)). */
#ifndef OS_LANDLOCK_H
#define OS_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

bool landlock_available(void);
/* Confines this process and what it starts to these directories (reading, writing, making and removing
 * files in them) for good. n 0: to nothing. Sets no_new_privs. Returns 0 or -errno. */
int landlock_confine(char *const *directories, size_t n);

#endif
