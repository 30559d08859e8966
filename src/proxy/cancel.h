/*
 * cancel.h - a request of Postgres to cancel what another connection does comes by a connection of its own, and says nothing of where that
 * leads: every server is told, which is what each of them expects of a stranger. It is sent once, as well as it goes: who asks does not hear
 * whether it was of use either.
 */
#ifndef PROXY_CANCEL_H
#define PROXY_CANCEL_H

#include "event/loop.h"
#include "ipc/world.h"
#include "proxy/ruleset.h"

/* To all servers of this service that have an address. */
void cancel_send(struct loop *l, const struct ruleset *rules, struct world *world, uint32_t service, uint16_t port,
                 const uint8_t *bytes, size_t n);

#endif
