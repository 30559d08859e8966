/*
 * pump.h - what is no stream socket (a pipe, a terminal, a file, /dev/null) behind a socket pair: one
 * small blocking thread per direction. The flags of what we inherited are never touched.
 */
#ifndef DAEMON_PUMP_H
#define DAEMON_PUMP_H

/* Starts both; in and out are duplicated. Returns the socket that stands for them, or -errno. */
int pump_start(int in, int out);

/* Our side of the socket was closed: waits until everything was written to `out`. Nothing if none was
 * started. */
void pump_finish(void);

#endif
