/*
 * flow.h - one direction of a relay: bytes from a source socket to a destination socket.
 *
 * Ways to move them, each safe to be interrupted anywhere:
 *   flow_copy    through the worker's scratch, which is shared memory: a step that its death leaves open is
 *                finished by its successor. What the destination does not take is parked in a pipe.
 *   flow_splice  through a pipe, without copying. For bulk, and always where one end is a Unix socket,
 *                which has no counters that a successor could ask.
 *   flow_peek    look at what is there, send it, then take what was sent. Needs no pipe: the way out if none
 *                can be had, and where the source may be closed already, so that its counters are a guess.
 * One of them at a time is in charge of a direction, and changes only when nothing is parked. The code above them
 * does not know which is at work: they stop for the same reasons.
 */
#ifndef PROXY_FLOW_H
#define PROXY_FLOW_H

#include "proxy/flow_io.h"

/* Moves by the way that suits; what is parked goes first. Never FLOW_OTHER_WAY. */
enum flow_stop flow_move(struct flow_io *io);

enum flow_stop flow_copy(struct flow_io *io);   /* both ends are TCP; nothing is parked */
enum flow_stop flow_splice(struct flow_io *io); /* nothing is parked */
enum flow_stop flow_peek(struct flow_io *io);   /* nothing is parked */

/* For a successor: whose pipe is it, the step's or the row's? Before it asks what is in it. */
void flow_settle_pipe(struct copy_step *step, struct flow_row *row);

/* For a successor: the last `rest` bytes of the n that an open step had taken have gone nowhere yet. They are
 * parked in the direction's pipe, with what the step had parked before. The step stays open. May be repeated. */
void flow_finish_copy(struct copy_step *step, struct flow_row *row, const char *scratch, size_t n, size_t rest);

#endif
