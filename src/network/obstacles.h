/* obstacles.h - what of this machine's network is in the way of calling servers from the clients' addresses. */
#ifndef NETWORK_OBSTACLES_H
#define NETWORK_OBSTACLES_H

#include "base/buf.h"
#include "config/config.h"

/* Appends a line for each; as root. What is asked is this machine alone: nothing is sent. */
void obstacles_find(const struct config *c, struct buf *lines);

#endif
