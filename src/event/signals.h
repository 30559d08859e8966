/* signals.h - signals as events of a loop (signalfd). */
#ifndef EVENT_SIGNALS_H
#define EVENT_SIGNALS_H

#include "event/loop.h"

struct signals {
	struct watch watch;
	void (*fn)(void *arg, int sig);
	void *arg;
};

/* Blocks these signals (0-terminated list) for this process; each that comes calls fn.
 * Returns 0 or -errno. */
int signals_watch(struct loop *l, struct signals *s, const int *list, void (*fn)(void *arg, int sig), void *arg);

#endif
