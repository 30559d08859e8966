/*
 * as_client.h - calling a server from the client's address (`source client`): by a blank socket (os/blank.h) that another process has
 * made, bound to that address.
 */
#ifndef PROXY_AS_CLIENT_H
#define PROXY_AS_CLIENT_H

#include "config/config.h"
#include "proxy/step.h"

/* Which addresses are this machine's, as the kernel has said lately. All 0: nothing is known yet. */
#define OWN_ADDRESSES 64
struct own_addresses {
	struct {
		struct addr addr;
		int64_t until_ms;
		bool own;
	} list[OWN_ADDRESSES];
};

/* Is it one of this machine's? */
bool own_address(struct own_addresses *own, const struct addr *a, int64_t now_ms);

/* Who calls: is it the client's address? Not if it has none, or one of the other family, nor if it is one of this machine's and the
 * server elsewhere: its answer would not come back to us. */
bool as_client_may(struct step_env *env, const struct addr *client, const struct addr *to);

/* Of packets towards servers, and where they go. */
struct marks {
	uint32_t own;   /* what `mark` says; 0: nothing */
	uint32_t netns; /* a number for the network namespace in which servers are called; 0: ours */
	uint32_t back;  /* brings the answers of this machine's servers back (network/routes.h) */
};

/* A socket that is bound to this address, to call `to`. port: and to its port, if that is free. -errno: -EAGAIN: there is no blank one
 * just now; *refused: the kernel does not let us use the address. */
int as_client_open(struct step_env *env, const struct addr *client, bool port, const struct marks *marks,
                   const struct addr *to, bool *refused);
/* One that is not bound, with a mark, or in a namespace. Likewise; -ENONET: that is not there. */
int as_ourselves_open(struct step_env *env, const struct marks *marks, const struct addr *to);

#endif
