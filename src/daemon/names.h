/*
 * names.h - keeps the addresses of the configured servers fresh: asked at start, asked again when their
 * time to live ends (at least a second), and, after a failure, again after 1, 2, 4 ... 30 s. A name
 * that was good once keeps its last addresses.
 */
#ifndef DAEMON_NAMES_H
#define DAEMON_NAMES_H

#include "config/config.h"
#include "event/resolve.h"
#include "proxy/targets.h"

struct names; /* opaque */

/* changed(arg): some target got its first answer, or other addresses. Returns 0 or -errno. */
int names_new(struct loop *l, struct targets *targets, void (*changed)(void *arg), void *arg,
	      struct names **ret);
void names_free(struct names *n); /* takes NULL */

/* From now on these servers (all of c's) are looked after; each is put into the targets. */
int names_set_config(struct names *n, const struct config *c);

#endif
