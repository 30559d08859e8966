/*
 * recording.h - the records of a connection that has not ended: when it is connected, and at
 * intervals, where that is wanted (access-log).
 *
 * A worker that dies at the very moment may leave such a record twice, with the same id; the one of
 * the end is written once (session_end.c).
 */
#ifndef PROXY_RECORDING_H
#define PROXY_RECORDING_H

#include "proxy/session.h"

/* Its server is connected, or its program is about to be started. */
void recording_begin(struct session *s);
/* In the next worker. */
void recording_resume(struct session *s);
void recording_stop(struct session *s);

#endif
