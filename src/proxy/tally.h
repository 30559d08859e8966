/* tally.h - what a connection adds to the counters of its service and its server. */
#ifndef PROXY_TALLY_H
#define PROXY_TALLY_H

#include "proxy/session.h"

/* Its service is known. */
void tally_accepted(struct session *s);
/* By what it has said it comes to this section, which may be a service of its own. */
void tally_section(struct session *s, const struct section *found);
/* A header was waited for: this came of it. version: 1, 2; 0: of the sender's own connection. */
void tally_preamble(struct session *s, enum preamble_outcome outcome, uint8_t version, enum why why);
/* cold->target was chosen. */
void tally_server(struct session *s);
/* Its server is connected, or it failed: END_CONNECT_FAILED, END_CONNECT_TIMEOUT, END_UNRESOLVED.
 */
void tally_connected(struct session *s);
void tally_failed(struct session *s, enum end end);
/* Bytes may have moved. Takes a session whose row has just been freed. */
void tally_moved(struct session *s);
/* It is over; once, even over the death of a worker. */
void tally_ended(struct session *s);

#endif
