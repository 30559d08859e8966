/* kinds.h - which kinds of blank sockets a configuration needs. */
#ifndef NETWORK_KINDS_H
#define NETWORK_KINDS_H

#include "config/config.h"
#include "os/blank.h"

/* Each once. ret has room for BLANK_KINDS_MAX; returns how many there are, which may be more. */
size_t kinds_of(const struct config *c, struct blank_kind *ret);

#endif
