/* sticks.h - the memory of `stick` (ipc/stick.h), as the supervisor has it: found, made, told to the workers. */
#ifndef CHILDREN_STICKS_H
#define CHILDREN_STICKS_H

#include "config/config.h"

struct workers;

/* What the trios that were found have of it; before sticks_take(). */
void sticks_adopt(struct workers *ws);
/* The first configuration that wants it has it made, and so has one that wants more than there is. It is kept. Workers are told of it
 * with the rules (told.h). */
void sticks_take(struct workers *ws, const struct config *c);

#endif
