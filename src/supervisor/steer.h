/*
 * steer.h - what the commands do that come by the admin sockets.
 */
#ifndef SUPERVISOR_STEER_H
#define SUPERVISOR_STEER_H

#include <stdbool.h>
#include <stddef.h>
#include "base/addr.h"
#include "base/record.h"

struct supervisor;
struct admin_client;
struct connection_filter;
struct connection_view;

/* The trios are there: commands are heard. */
void steer_start(struct supervisor *s);
/* No more; the sockets are closed and removed, too. */
void steer_stop(struct supervisor *s);
/* A client that comes by the page, from this address, and may steer; fd is taken. */
void steer_welcome(struct supervisor *s, int fd, const struct addr *from);

/* The client that waits for the end of an upgrade; -1: none. */
int steer_upgrade_client(const struct supervisor *s);
/* It is over; the client that has asked for it is told. */
void steer_upgrade_over(struct supervisor *s, bool done, const char *text);

/* steer_tap.c: answers the client with where to read what is seen. */
void steer_tap(struct supervisor *s, struct admin_client *c, const struct connection_filter *filter);
/* steer_kill.c: these end, wherever they are by now; no client waits for that any more. */
void steer_kill(struct supervisor *s, const struct connection_view *list, size_t n, enum end end);
void steer_kill_stop(struct supervisor *s);

#endif
