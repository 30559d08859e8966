/* lists.h - "servers file:PATH" for one connection: lists are read once. */
#ifndef SINGLE_LISTS_H
#define SINGLE_LISTS_H

#include "config/config.h"

/* c with the servers that its lists have now; what is wrong with one is logged. c is taken over. */
struct config *lists_taken(struct config *c, const struct config_ops *world);

#endif
