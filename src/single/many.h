/*
 * many.h - lines that stand for many servers, for one connection: each address of a name is one server's, which is tried in turn; the
 * records of a service are asked for first.
 */
#ifndef SINGLE_MANY_H
#define SINGLE_MANY_H

#include "config/config.h"
#include "event/resolve.h"

/* What c is with these servers: itself, if there are no such lines; else another one, and c stays as it is. Turns the loop until name
 * servers have answered, or for 12 s. NULL: no. */
struct config *many_expand(struct config *c, struct loop *loop, struct resolver *resolver);

#endif
