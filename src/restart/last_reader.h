/*
 * last_reader.h - the guard of an upgrade to another layout, which is the old program: no other process can read the
 * rings of trios that are to end. It writes to the log what they say until the last of them has gone.
 */
#ifndef RESTART_LAST_READER_H
#define RESTART_LAST_READER_H

struct children;

_Noreturn void last_reader_run(struct children *c);

#endif
