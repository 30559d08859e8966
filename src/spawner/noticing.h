/*
 * noticing.h - the programs that are told of changes of servers (program/notice.h): asked for by the supervisor, started one at a time
 * for a server, ended when their time is over.
 */
#ifndef SPAWNER_NOTICING_H
#define SPAWNER_NOTICING_H

struct spawner;

/* The supervisor's channel (SOCK_SEQPACKET, nonblocking, owned from now on), in the place of one before it. Programs go on whoever
 * asked for them. Returns 0 or -errno. */
int noticing_channel(struct spawner *s, int fd);
/* A program has ended: another one may begin that waited for that. */
void noticing_go_on(struct spawner *s);
/* All are ended, none begins. */
void noticing_stop(struct spawner *s);
/* Lets go of all, in any state. */
void noticing_release(struct spawner *s);

#endif
