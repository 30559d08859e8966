/*
 * stderrs.h - the read ends of running programs' stderr, as the supervisor keeps them.
 *
 * The spawner reads them; the supervisor only holds copies, so that the death of the spawner costs no program a
 * SIGPIPE. Then it reads what they still say, to their end.
 */
#ifndef CHILDREN_STDERRS_H
#define CHILDREN_STDERRS_H

#include "event/loop.h"

struct stderrs; /* opaque */

struct stderrs *stderrs_new(struct loop *l);
/* fd: owned from now on; what is not a pipe is closed. label: what its lines begin with (copied). */
void stderrs_keep(struct stderrs *s, int fd, const char *label);
/* The spawner is gone: from now on their lines are logged here. */
void stderrs_read(struct stderrs *s);

#endif
