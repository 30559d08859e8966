/*
 * ending.h - the last two things that are done about a connection, each so that a successor may do it again.
 */
#ifndef PROXY_ENDING_H
#define PROXY_ENDING_H

#include "proxy/session.h"

/* Writes the access record, once. */
void ending_record(struct session *s);
/* Closes every descriptor of the row. reset: both sides get one. */
void ending_close(struct session *s, bool reset);

#endif
