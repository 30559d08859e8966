/*
 * proxy_header.h - the PROXY protocol, versions 1 and 2: a proxy says before the first byte of a connection who the client is ("The
 * PROXY protocol", section 2, haproxy.org). Pure: bytes in, an answer out; bytes are made, and the caller sends them.
 *
 * Reading goes on from piece to piece, however small, and takes not a byte after the header. The reader is plain memory without
 * pointers, which may stand where another process goes on with it.
 */
#ifndef BASE_PROXY_HEADER_H
#define BASE_PROXY_HEADER_H

#include "base/addr.h"
#include "base/buf.h"

#define PROXY_V1_MAX   107          /* its line, with CR LF */
#define PROXY_V2_HEAD  16           /* before addresses and TLVs */
#define PROXY_V2_MAX   (16 + 65535) /* whole */
#define PROXY_TLVS_MAX 4096         /* that are kept */

enum proxy_type {
	PROXY_TYPE_ALPN = 0x01,
	PROXY_TYPE_AUTHORITY = 0x02,
	PROXY_TYPE_CRC32C = 0x03,
	PROXY_TYPE_NOOP = 0x04,
	PROXY_TYPE_UNIQUE_ID = 0x05,
	PROXY_TYPE_SSL = 0x20,
};

/* ---- reading ---- */

enum proxy_reading {
	PROXY_MORE,  /* it is not whole */
	PROXY_WHOLE, /* all is known */
	PROXY_NONE,  /* what came begins as no header does */
	PROXY_WRONG, /* it began as one does: `why` */
};

enum proxy_why { PROXY_SYNTAX, PROXY_VERSION, PROXY_CRC, PROXY_TLV, PROXY_DATAGRAM };

struct proxy_reader {
	/* what was read */
	uint8_t state;         /* enum proxy_reading */
	uint8_t why;           /* enum proxy_why */
	uint8_t version;       /* 1, 2 */
	uint8_t own;           /* LOCAL, UNKNOWN, or addresses that are not IP: the connection is the sender's own */
	struct addr from, to;  /* AF_UNSPEC: own */
	uint32_t length;       /* so many bytes of it have come; when it is whole, all that it has */
	uint16_t n_tlvs;       /* bytes in tlvs: whole ones, each type, length (2, the highest first), value */
	uint8_t tlvs_left_out; /* there was no room for some */
	/* how far it is */
	uint8_t n_head;   /* bytes in head */
	uint8_t tlv_kept; /* the TLV that is being read, is kept */
	uint8_t crc_there;
	uint8_t opaque;                 /* of LOCAL: what follows the fixed part is not known, and dropped */
	uint8_t head[PROXY_V1_MAX + 1]; /* the line; or the fixed part, then the addresses, then the head of a TLV */
	uint32_t left;                  /* of version 2: bytes that are still to come */
	uint16_t tlv_left;              /* of the value of the TLV that is being read */
	uint32_t crc, crc_said;         /* of all bytes so far; what the header says */
	uint8_t tlvs[PROXY_TLVS_MAX];
};

/* Zero it before the first piece. Returns how many of the n bytes belong to the header: all of them, if it is not whole after
 * them. NONE and WRONG: it does not matter. */
size_t proxy_read(struct proxy_reader *r, const void *bytes, size_t n);
/* The least number of bytes that are still to come; 0: it is not read on. */
uint32_t proxy_wanted(const struct proxy_reader *r);
/* The value of the first TLV of this type, its length in *len; NULL: there is none. */
const uint8_t *proxy_tlv(const struct proxy_reader *r, uint8_t type, size_t *len);
/* The same in n bytes of TLVs; they may be spoilt. */
const uint8_t *proxy_find_tlv(const uint8_t *tlvs, size_t n, uint8_t type, size_t *len);
/* The TLV that begins at *at, which is moved behind it. false: there is none, or the rest is spoilt. */
bool proxy_next_tlv(const uint8_t *tlvs, size_t n, size_t *at, uint8_t *type, const uint8_t **value, size_t *len);
/* A value as it is shown: text, if it has only signs that need no quotes anywhere, else "0x" and hexadecimal digits; a long one is
 * cut. ret: room for PROXY_VALUE_TEXT_MAX. Returns the length. */
#define PROXY_VALUE_MAX      256
#define PROXY_VALUE_TEXT_MAX (2 * PROXY_VALUE_MAX + 3)
size_t proxy_value_text(const uint8_t *value, size_t len, char *ret);
/* "syntax" ... */
const char *proxy_why_text(enum proxy_why why);

/* ---- writing ---- */

/* The line of version 1. from AF_UNSPEC, or no IP: "PROXY UNKNOWN". Of two families both are written as IPv6. */
void proxy_put_v1(struct buf *b, const struct addr *from, const struct addr *to);
/* Version 2, in three steps; b holds nothing before. from NULL: LOCAL, by the sender itself; AF_UNSPEC: of a client whose address is
 * not known. */
void proxy_begin_v2(struct buf *b, const struct addr *from, const struct addr *to);
/* Nothing, if there is no room in a header. */
void proxy_add_tlv(struct buf *b, uint8_t type, const void *value, size_t len);
/* crc: with a checksum. */
void proxy_end_v2(struct buf *b, bool crc);

#endif
