/* recover.h - what a new worker does about what its predecessor left. */
#ifndef TAKEOVER_RECOVER_H
#define TAKEOVER_RECOVER_H

#include "takeover/table.h"

/* Ends every row that is in use: told(arg, row) first, then its sockets get a reset and are closed, its
 * pipes closed, the row freed. A socket is touched only if its cookie is the row's. Then closes every
 * socket and pipe of the table that nobody has recorded. Opens no descriptor. */
void recover_end_rows(struct trio *t, void (*told)(void *arg, uint32_t row), void *arg);

#endif
