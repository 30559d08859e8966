/* arming.h - which workers are woken for clients (arming.c). For all listeners at once: engine_balance(). */
#ifndef PROXY_ARMING_H
#define PROXY_ARMING_H

#include <stdbool.h>

struct engine;
struct listener;

bool arming_more_than_share(struct engine *e);
/* epoll has said that it does not listen: if so, it is not watched until it does. False: it does again. */
bool arming_hung_up(struct engine *e, struct listener *l);
/* -errno: it is deaf for now. */
int arming_set(struct engine *e, struct listener *l, bool armed);

#endif
