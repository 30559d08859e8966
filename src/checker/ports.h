/*
 * ports.h - the listening sockets that may refuse: each refuses while no server that could serve its clients is usable.
 *
 * What a socket does is asked from the kernel when it comes, and now and then again, so it does not matter where a checker before
 * this one was killed: all that it has done is done again. Nobody else does either while there is a checker that may act
 * (os/refuse.h). Workers see that a socket does not listen, and need not be told (proxy/arming.c).
 */
#ifndef CHECKER_PORTS_H
#define CHECKER_PORTS_H

#include "checker/pools.h"
#include "config/config.h"

struct ports_ops {
	void *arg;
	/* No other process has taken our place. */
	bool (*may_act)(void *arg);
	/* Something listens again, and clients may be there: the workers look. */
	void (*resumed)(void *arg);
};

struct ports; /* opaque */

struct ports *ports_new(const struct ports_ops *ops, struct world *world);
/* All of them, one after the other: a list that is begun replaces the one before once it is ended; those that are not in it any more
 * listen again, and are closed. id: the supervisor's number of the socket; the descriptor is taken over. */
void ports_begin(struct ports *p);
void ports_add(struct ports *p, uint32_t id, uint32_t place, int fd);
void ports_end(struct ports *p);
/* From now on these pools count, the caller's, for these addresses of the interfaces. NULL: none does, and nothing refuses. */
void ports_use(struct ports *p, struct pools *pools, const struct interface_address *ifs, size_t n_ifs);
/* Does what is due, and says so; what fails is said once, and tried again when this is called again. */
void ports_look(struct ports *p, int64_t now_ms);
/* All listen again, as far as they can, and are closed. */
void ports_give_back(struct ports *p);
/* All are closed, as they are. */
void ports_drop(struct ports *p);
void ports_free(struct ports *p); /* likewise; takes NULL */

#endif
