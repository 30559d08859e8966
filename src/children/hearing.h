/* hearing.h - a line for the log that the spawner or the page process has sent (ipc/saying.h). */
#ifndef CHILDREN_HEARING_H
#define CHILDREN_HEARING_H

#include "ipc/saying.h"
#include "log/logger.h"

/* A WIRE_LINE whose text has been looked at. who: is said of lines that are lost, which are added to *lost. */
void hearing_line(const struct said *m, struct logger *l, const char *who, atomic_ullong *lost);

#endif
