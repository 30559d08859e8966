/*
 * pcapng.h - tapped streams as packets, in the format pcapng (draft-ietf-opsawg-pcapng): what a tap
 * sees are streams, so the TCP and IP headers are made up around them: with a handshake where the
 * stream was seen from its beginning, numbers that show gaps, and a FIN or a reset at the end.
 */
#ifndef BASE_PCAPNG_H
#define BASE_PCAPNG_H

#include "base/buf.h"
#include "base/tap.h"

struct pcapng;

struct pcapng *pcapng_new(const char *program);
void pcapng_free(struct pcapng *p); /* takes NULL */
void pcapng_begin(struct pcapng *p, struct buf *out);
void pcapng_record(struct pcapng *p, const struct tap_record *r, const char *data, struct buf *out);

#endif
