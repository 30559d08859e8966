/*
 * srv.h - SRV records (RFC 2782) out of an answer of a name server. Whoever has sent it may have sent anything.
 */
#ifndef EVENT_SRV_H
#define EVENT_SRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SRV_HOST_SIZE   254 /* a host name, with the NUL */
#define SRV_RECORDS_MAX 4096

/* Port and host always are those of one record. */
struct srv_record {
	uint16_t priority, weight; /* as they stand there */
	uint16_t port;             /* never 0 */
	char host[SRV_HOST_SIZE];  /* in lower case, no dot at the end; of letters, digits, '-', '_' and dots only */
};

/* The records of a whole answer, malloc()ed; *ret_n of them, each record once. What does not make sense is left out; so is
 * a target of ".", which says that there is no such service: then *ret_none is set. *ret_ttl_s: the smallest. NULL: it is not an
 * answer. */
struct srv_record *srv_read(const uint8_t *answer, size_t len, size_t *ret_n, uint32_t *ret_ttl_s, bool *ret_none);

#endif
