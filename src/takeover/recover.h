/*
 * recover.h - the descriptors that a dead worker left: which does nobody know?
 */
#ifndef TAKEOVER_RECOVER_H
#define TAKEOVER_RECOVER_H

#include "takeover/table.h"

/* Looks at every socket and pipe of the trio's table that neither a row nor the trio itself has recorded.
 * A client that had just been accepted - connected, at the address of a listener - is handed to
 * adopt(arg, fd); everything else is
 * closed. adopt NULL: those, too (they came from another trio, which has them still). Must run before any descriptor is opened; adopt may open some. */
void recover_descriptors(struct trio *t, void (*adopt)(void *arg, int fd), void *arg);

/* Is this still the socket that the row means? */
bool recover_is_ours(const struct row *row, enum side side);

#endif
