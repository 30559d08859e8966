/* explain.h - which rule would serve a client, and why: looked up, not tried. */
#ifndef CONFIG_EXPLAIN_H
#define CONFIG_EXPLAIN_H

#include "config/openings.h"

/* What it amounts to: exit codes of --explain. */
enum explained { EXPLAIN_SERVED = 0, EXPLAIN_NO_RULE = 1, EXPLAIN_DENIED = 3 };

struct explain {
	struct addr client; /* its port does not matter */
	struct addr local;  /* with its port; AF_UNSPEC: any address */
	const char *at;     /* instead: "unix:PATH", "fd:NAME"; NULL: a port */
	struct addr via;    /* who comes, and announces the client; AF_UNSPEC: the client comes */
	/* What the client says first, if that matters. */
	const char *protocol; /* as behind protocol; NULL: not said */
	const char *sni;      /* NULL: not said */
	uint8_t alpn[256];    /* as in base/hello.h */
	size_t n_alpn;
	const struct interface_address *ifs;
	size_t n_ifs;
	/* Says in lines which server it would be; false: none. Without it: as the file says. */
	bool (*say_server)(void *arg, const struct section *s, const struct explain *q, struct buf *out);
	/* Why no client is let in here ("is disabled"); NULL: it is open. Without it: as the file says. */
	const char *(*why_closed)(void *arg, const struct section *s);
	void *arg;
};

/* Reads "CLIENT[:PORT]" or "unix", "[LOCAL:]PORT" or "unix:PATH" or "fd:NAME", and n of "via=ADDRESS", "sni=NAME", "alpn=PROTO,...", "protocol=WORD", to which ret then
 * points. false: *why says which is wrong. world: for names of ports, may be NULL. */
bool explain_words(const char *client, const char *local, char *const *more, size_t n, const struct config_ops *world,
                   struct explain *ret, struct buf *why);
#define EXPLAIN_MORE "[via=ADDRESS] [sni=NAME] [alpn=PROTO,...] [protocol=WORD]"
/* Is it one of these words? */
bool explain_is_more(const char *word);

/* explain_proxy.c, for explain.c. Whether a header of the PROXY protocol is expected, and what follows; returns whom the rules then
 * are about. What this server hears first. */
const struct addr *explain_header_in(const struct section *s, const struct explain *q, struct buf *out);
void explain_header_out(const struct section *s, const struct server *server, const struct explain *q, struct buf *out);
/* From which address it is called, if the file says so. */
void explain_source(const struct config *c, const struct section *s, const struct server *server,
                    const struct explain *q, struct buf *out);

/* explain_opening.c, for explain.c. false: the word is wrong, and *why says so. */
bool explain_opening_word(const char *word, struct explain *ret, struct buf *why);
/* To which section behind sni or protocol the client of s comes, in a line; s, if there are none. NULL: to none. */
const struct section *explain_opening(const struct config *c, const struct section *s, const struct explain *q,
                                      struct buf *out);

/* "db1, db1.example:25": as it stands in the file, with its port; part of a line. */
void explain_server(const struct server *server, const struct explain *q, struct buf *out);

/* A line that clients stick here, if they do. */
void explain_stick(const struct section *s, struct buf *out);

/* Appends lines. Returns enum explained. */
int config_explain(const struct config *c, const struct explain *q, struct buf *out);

#endif
