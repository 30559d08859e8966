/*
 * recover.h - the descriptors that a dead worker left: which are recorded nowhere?
 */
#ifndef TAKEOVER_RECOVER_H
#define TAKEOVER_RECOVER_H

#include "takeover/table.h"

/* Closes every descriptor from 3 on that neither a row nor the trio itself has recorded; a pidfd only if no keeper is
 * just opening or closing one, else it is left to the next worker. A client that had just been accepted - connected, at
 * the address of a listener - is handed to adopt(arg, fd); adopt NULL: is closed, too (it came from another trio, which
 * has it still). Must run before any descriptor is opened; adopt may open some. */
void recover_descriptors(struct trio *t, void (*adopt)(void *arg, int fd), void *arg);

/* The listener that has accepted this, which is recorded nowhere; NULL: none has. One of several that listen at the same address elsewhere is
 * told by its network namespace and its interface. */
const struct trio_listener *recover_listener_of(const struct trio *t, int fd);

/* Descriptors that are not what the row means (closed, and their numbers used again) are forgotten. */
void recover_row(struct row *row);
/* Is this still the socket that the row means? */
bool recover_is_ours(const struct row *row, enum side side);

#endif
