/*
 * pump.h - what is not a stream socket (a pipe, a terminal, a file, /dev/null) behind a socket pair: one
 * small blocking thread per direction. The flags of what we inherited are never touched.
 */
#ifndef SINGLE_PUMP_H
#define SINGLE_PUMP_H

/* Starts both; in and out are duplicated. Returns the socket that stands for them, or -errno. */
int pump_start(int in, int out);
/* A socket that stands for a client that has reset before we looked, or -errno. Nothing is started. */
int pump_gone(void);

/* Our side of the socket was closed: waits until everything was written to `out`. Nothing if none was
 * started. */
void pump_finish(void);

#endif
