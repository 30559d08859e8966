/*
 * hello.h - what a client of TLS says before anything is secret: its ClientHello (RFC 8446, 4.1.2), for the name of the server that it
 * wants (SNI, RFC 6066) and the protocols that it would speak (ALPN, RFC 7301). Pure.
 *
 * Reading goes on from piece to piece, however small, over any number of records; a hello of SSL 2.0 has neither. The reader is plain
 * memory without pointers. Whatever is not known (GREASE, extensions, versions, ciphers) is passed over.
 */
#ifndef BASE_HELLO_H
#define BASE_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_MAX      (16 * 1024) /* bytes of a hello */
#define HELLO_RECORDS  (20 * 1024) /* with the heads of its records */
#define HELLO_NAME_MAX 255
#define HELLO_ALPN_MAX 1024 /* that are kept */

enum hello_reading {
	HELLO_MORE,  /* it is not whole */
	HELLO_WHOLE, /* all is known */
	HELLO_NONE,  /* what came begins as TLS does not */
	HELLO_WRONG, /* it began as TLS does: `why` */
};

enum hello_why {
	HELLO_BROKEN, /* lengths that do not add up, no hello */
	HELLO_SIZE,   /* more than there may be */
	HELLO_NAME,   /* two names, or one with bytes that no name has */
};

struct hello_reader {
	/* what was read */
	uint8_t state;   /* enum hello_reading */
	uint8_t why;     /* enum hello_why */
	uint8_t n_name;  /* bytes of the name; 0: it has said none */
	uint16_t n_alpn; /* in alpn: whole protocols, a length before each; those of GREASE are left out */
	char name[HELLO_NAME_MAX + 1]; /* as it was said, with a NUL */
	uint8_t alpn[HELLO_ALPN_MAX];
	/* how far it is */
	uint8_t n_head;    /* bytes in head */
	uint8_t head[5];   /* of a record */
	uint8_t field;     /* that is being read: hello.c */
	uint8_t name_type; /* of the name that is */
	bool names_said, alpn_said;
	bool grease;     /* of the protocol that is being read: so far it is one of GREASE */
	uint16_t type;   /* of the extension */
	uint16_t item;   /* where that protocol begins in alpn */
	uint32_t record; /* left of the record */
	uint32_t seen;   /* bytes so far */
	uint32_t left;   /* of the field */
	uint32_t number; /* its value so far, if it is one */
	/* left of each; what is left of an inner one is left of the outer ones, too */
	uint32_t hello, extensions, extension, list;
};

/* Zero it before the first piece. */
void hello_read(struct hello_reader *r, const void *bytes, size_t n);
/* The least number of bytes that are still to come; 0: it is not read on. */
uint32_t hello_wanted(const struct hello_reader *r);
/* Is this protocol among those of the hello? In n bytes of them. */
bool hello_offers(const uint8_t *alpn, size_t n, const char *protocol);
/* As they are shown: "h2,http/1.1", cut after whole ones. ret: room for max bytes; returns how many. */
size_t hello_join(const uint8_t *alpn, size_t n, char *ret, size_t max);

#endif
