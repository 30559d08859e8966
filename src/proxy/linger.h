/*
 * linger.h - a client that was denied is given time to take the banner: the rest of it, then a FIN; what
 * the client still sends is thrown away, because closing over unread input would send a reset that
 * destroys the banner on its way.
 */
#ifndef PROXY_LINGER_H
#define PROXY_LINGER_H

#include "proxy/step.h"

struct lingering {
	struct step_env *env;
	struct row *row;
	void (*done)(void *arg);
	void *arg;
	struct timer timer;
	int64_t since_ms; /* the last byte was taken, or the FIN was sent */
	bool shut;
	bool client_done; /* it has ended its stream */
};

void linger_start(struct lingering *l, struct step_env *env, struct row *row, void (*done)(void *arg), void *arg);
void linger_event(struct lingering *l, uint32_t events);
void linger_cancel(struct lingering *l);

#endif
