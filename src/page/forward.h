/*
 * forward.h - a command for another process: said in the words of the admin socket (server.h) over
 * a connection to it, its answer taken apart. Nothing waits.
 */
#ifndef PAGE_FORWARD_H
#define PAGE_FORWARD_H

#include "base/buf.h"
#include "event/loop.h"

#define FORWARD_ANSWER_MAX (64 * 1024) /* bytes */
#define FORWARD_MS         (30 * 1000) /* for an answer: a reload may wait for a name */

/* fd: connected, nonblocking; closed by us in the end. done is called once, later: whether it was
 * obeyed, and what was said (valid during the call). */
void forward_command(struct loop *l, int fd, const char *words, void (*done)(void *arg, bool obeyed, const char *text),
                     void *arg);

#endif
