/*
 * starttls.h - what is said before the hello of TLS where a protocol begins without it: by a client to us, and by us to a server. Pure:
 * bytes so far in, what follows out; nothing is kept but a step.
 *
 * Sources: PostgreSQL's documentation, "Message Flow" (SSLRequest, GSSENCRequest, CancelRequest); RFC 3207 (SMTP), RFC 9051, 6.2.1 (IMAP),
 * RFC 2595 (POP3).
 */
#ifndef BASE_STARTTLS_H
#define BASE_STARTTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum starttls { STARTTLS_NONE, STARTTLS_POSTGRES, STARTTLS_SMTP, STARTTLS_IMAP, STARTTLS_POP3 };

/* STARTTLS_NONE: no such word. */
enum starttls starttls_word(const char *text);
const char *starttls_name(enum starttls protocol);

/* How far a client has come with us. */
enum {
	TALK_BEGIN,
	TALK_GOES_ON,
	TALK_OVER,  /* the hello of TLS is next */
	TALK_PLAIN, /* it begins without TLS */
};

#define TALK_MOST     2048 /* bytes of one thing that a client says */
#define TALK_TAG_MOST 64   /* IMAP: what it calls a command */

enum talk_kind {
	TALK_MORE,      /* that is not the whole of it yet */
	TALK_ANSWER,    /* `take` bytes are answered */
	TALK_PASS,      /* nothing is taken: what is there is for the server */
	TALK_CANCEL,    /* Postgres: take bytes are a request to cancel what another connection does */
	TALK_QUIT,      /* as ANSWER, and then it is over */
	TALK_INJECTION, /* something stands behind the request that would be taken for a part of what TLS protects */
	TALK_WRONG,
};

struct talk_heard {
	enum talk_kind kind;
	uint16_t take;
	uint8_t answer; /* never 0 where something is said: for starttls_answer() */
	uint8_t step;   /* from then on */
	uint8_t n_tag;
	char tag[TALK_TAG_MOST];
};

/* n bytes of a client that is at this step. At TALK_BEGIN n may be 0: some are greeted. */
void starttls_hear(enum starttls protocol, uint8_t step, const uint8_t *bytes, size_t n, struct talk_heard *ret);
/* Appends what is said. host: our name. */
void starttls_answer(enum starttls protocol, uint8_t answer, const char *tag, size_t n_tag, const char *host,
                     struct buf *out);

/* A server: what we say to it, and what it answers. */
enum ask_kind {
	ASK_MORE,    /* that is not the whole of its answer yet */
	ASK_SAY,     /* say this, and take that */
	ASK_DONE,    /* take that, and the client's hello is next */
	ASK_REFUSED, /* it will not; `why` in words */
	ASK_WRONG,   /* it does not speak this protocol */
};

struct ask_heard {
	enum ask_kind kind;
	uint16_t take;
	const char *say;
	size_t n_say;
	uint8_t step;
};

/* Begins with step 0 and no bytes. host: our name; what is to be said is valid until the next call. */
void starttls_ask(enum starttls protocol, uint8_t step, const uint8_t *bytes, size_t n, const char *host,
                  struct ask_heard *ret);

#endif
