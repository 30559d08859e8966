/*
 * header_out.h - what a server hears before the first byte of its client: a header of the PROXY protocol.
 *
 * It is sent between the moment in which the server is connected and the one in which the row says RELAY. Its bytes are not kept: they
 * are a function of the row and of the rules, with no clock and no chance in it, so a successor makes the same ones again, and TCP says
 * how many of them went. base[CLIENT] stands before the first of them. What the server's socket does not take, and all of it if that
 * counts no bytes (a Unix socket), is parked in the pipe of the client's stream, in front of which it leaves.
 */
#ifndef PROXY_HEADER_OUT_H
#define PROXY_HEADER_OUT_H

#include "base/buf.h"
#include "config/config.h"
#include "proxy/step.h"

/* Appends it, to an empty buf. start: as in struct totals. */
void header_make(const struct trio *t, uint32_t row, const struct row_cold *cold, const struct send_proxy *how,
                 struct buf *out);
/* fd[SERVER] is connected. how NULL: it hears nothing of us. more: bytes of the client follow at once. Returns 0; or -errno, then
 * this server is to be dropped: -ESTALE, because it has heard a part of another header, before the rules changed; else it is gone. */
int header_send(struct step_env *env, struct row *row, struct row_cold *cold, const struct send_proxy *how,
                uint64_t start, bool more);
/* This server is dropped: the next one hears all of it. */
void header_forget(struct row *row, struct row_cold *cold);

#endif
