/*
 * checking.h - the programs that check servers: asked for by the checker, started, ended when their time is over, answered for.
 */
#ifndef SPAWNER_CHECKING_H
#define SPAWNER_CHECKING_H

struct spawner;

/* The checker's channel (SOCK_SEQPACKET, nonblocking, owned from now on), in the place of one before it, whose programs are ended.
 * Returns 0 or -errno. */
int checking_channel(struct spawner *s, int fd);
/* No more: all are ended, nothing is answered. */
void checking_stop(struct spawner *s);
/* Lets go of all, in any state. */
void checking_release(struct spawner *s);

#endif
