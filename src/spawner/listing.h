/*
 * listing.h - programs that bring lists of servers (`servers program`): each runs as long as the configuration names it, once, however
 * many sections have its line, and is started again after a pause when it ends. What it prints, each list ended by a line ".", goes to
 * the supervisor, a whole list or nothing.
 */
#ifndef SPAWNER_LISTING_H
#define SPAWNER_LISTING_H

#include "config/config.h"

struct spawner;

/* Those of this configuration run from now on, and no others. */
void listing_set_config(struct spawner *s, const struct config *c);
/* All are ended, and none is started any more: nobody hears what they say. */
void listing_stop(struct spawner *s);
/* Nothing runs. */
bool listing_is_idle(const struct spawner *s);
/* Lets go of all, in any state. */
void listing_release(struct spawner *s);

#endif
