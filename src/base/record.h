/*
 * record.h - the access record of a connection, and how it is written.
 *
 * A worker fills the fixed part and puts it, with its texts after it, into the ring of its trio;
 * the supervisor renders it. The order and the names of the keys are a promise (tcpproxy.conf(5)).
 */
#ifndef BASE_RECORD_H
#define BASE_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"

enum record_event { RECORD_OPEN, RECORD_CLOSE, RECORD_INTERVAL };

/* Which side ended the connection first, and how. The texts are in record.c, in the same order. */
enum end {
	END_NONE,
	END_CLIENT_FIN,
	END_SERVER_FIN,
	END_CLIENT_RESET,
	END_SERVER_RESET,
	END_DENIED,
	END_CONNECT_FAILED,
	END_CONNECT_TIMEOUT,
	END_UNRESOLVED,
	END_IDLE_TIMEOUT,
	END_HALF_CLOSE_TIMEOUT,
	END_LIMIT,
	END_KILLED,
	END_STOPPED,
	END_HANDLER_EXIT,
	END_POISONED,
	END_LOST,
	END_NO_SERVER,
	END_SERVER_DOWN,
	END_BAD_PROXY,
	END_BAD_TLS,
	END_NO_ROUTE,
	END_COUNT
};

/* The reason, where the end alone does not say it. The texts are in record.c, in the same order. */
enum why {
	WHY_NONE,
	WHY_DENY,            /* a deny rule */
	WHY_NO_ALLOW,        /* no rule matched, and the list allows others only */
	WHY_ACP,             /* the access program */
	WHY_DISABLED,        /* by tcpproxyctl, or all its servers are */
	WHY_LOOP,            /* it has come through this service already */
	WHY_MAX_CONNECTIONS, /* of the service, or of all */
	WHY_MAX_CONNECTIONS_PER_CLIENT,
	WHY_SERVER_MAX,    /* of each server that would do */
	WHY_QUEUE_FULL,    /* so many wait already */
	WHY_QUEUE_TIMEOUT, /* it has waited for a place */
	WHY_HOLD_TIMEOUT,  /* it has waited for a server */
	/* of a PROXY header */
	WHY_TIMEOUT,
	WHY_SYNTAX,
	WHY_VERSION,
	WHY_CRC,
	WHY_TLV,
	WHY_DATAGRAM,
	WHY_FIN,
	WHY_CROWD,
	/* of what a client says first */
	WHY_SNI,
	WHY_PROTOCOL,
	WHY_SILENT,
	WHY_HELLO,
	WHY_SIZE,
	WHY_NAME,
	WHY_SOURCE,          /* the client's address could not be used towards the server */
	WHY_NETNS,           /* the network namespace of its servers is not there */
	WHY_NOT_INTERCEPTED, /* it has called the port to which others are brought */
	WHY_INJECTION,       /* something stood behind its request for TLS that TLS would not protect */
	WHY_COUNT
};

struct record {
	uint64_t id;
	int64_t wall_us;    /* when this record was made */
	int64_t connect_us; /* accept to connected; -1: never was */
	int64_t duration_us;
	int64_t waited_us; /* for a place or a server; 0: not at all */
	uint64_t up, down; /* bytes from the client, from the server */
	struct addr local; /* where the client was accepted: interface and port */
	struct addr client;
	struct addr via,
	        announced;  /* who has announced the client, and where it wanted to go; AF_UNSPEC: nobody, not said */
	struct addr server; /* tried last. AF_UNSPEC: none, or server_text says it */
	uint8_t event;      /* enum record_event */
	uint8_t end;        /* enum end */
	uint8_t why;        /* enum why */
	uint8_t named;      /* `service` is a name */
	uint8_t unwanted;   /* the configuration does not ask for it to be written */
	/* texts; NULL or "": missing */
	const char *format;      /* base/format.h; NULL: the usual text */
	const char *service;     /* its name, else its ports: "mail", "8000-8010" */
	const char *ports;       /* these, where `local` has none: "unix:/run/x" */
	const char *rule;        /* "/etc/tcpproxy.conf:5" */
	const char *sni, *alpn;  /* what the client asked for by TLS: a name; protocols, commas between them */
	const char *protocol;    /* that it speaks; these three only if its section depended on it */
	const char *name;        /* the client's name, if it was looked up */
	const char *uid;         /* its unique id, announced or sent */
	const char *authority;   /* the name it wanted, as announced */
	const char *target;      /* the server's name, else as it is spelt: "db1", "db1.internal:5432" */
	const char *server_text; /* "unix:/run/x.sock" or the path of a handler */
};

const char *end_name(enum end end);
const char *why_name(enum why why);            /* NULL: WHY_NONE */
const char *record_event_name(unsigned event); /* "open", "close", "interval" */

/* Where a client has come, without the port: of a Unix socket its path, which `ports` says. buf holds ADDR_TEXT_MAX. NULL: not known. */
const char *record_interface(const struct addr *local, const char *ports, char *buf);

/* Calls fn for each key after time and event, in their order. value: NULL if it is missing. */
typedef void record_field_fn(void *arg, const char *key, const char *value, bool number);
void record_fields(const struct record *r, record_field_fn *fn, void *arg);

/* A value as it stands in a line of text: quoted if it must be, NULL or "": "-". */
void record_value_text(const char *value, struct buf *out);

/* Each appends one line without a newline.
 * Text: "TIME close id=17 port=25 ...", missing values "-"; a value that holds a space, a quote, a
 * control character or a byte that is not ASCII stands in double quotes, where \" \\ \n \r \t and \xHH
 * are escapes. `service=`, `name=`, `via=`, `announced=`, `uid=`, `authority=`, `sni=`, `alpn=`, `protocol=`, `why=` and `waited=` are left out if there is nothing to say.
 * JSON: an object that begins {"time":"...","event":"close" and goes on with the same keys;
 * numbers are numbers, every key is always there, missing values are null, bytes that are not UTF-8
 * are replaced by U+FFFD. */
void record_render_text(const struct record *r, struct buf *out);
void record_render_json(const struct record *r, struct buf *out);

/* The same text without the time: "close id=17 ...", for a log that has its own clock. */
void record_render_plain(const struct record *r, struct buf *out);

/* A line of the log that is not a record: "TIME error what went wrong", {"time":..., "event":"error",
 * "message":...}. `level` is a name as from log_level_name(). */
void record_render_line_text(int64_t wall_us, const char *level, const char *line, struct buf *out);
void record_render_line_json(int64_t wall_us, const char *level, const char *line, struct buf *out);

/* A server is not what it was. */
struct server_change {
	const char *service, *server;
	const char *address;     /* NULL: none */
	const char *state, *was; /* "up", "down" ... */
	const char *why;         /* NULL: no reason */
	uint32_t up, of;         /* servers of the service that can be used; all */
};

/* Text: "server service=5432 server=db1:5432 ...", a message like others. JSON: {"time":..., "event":"server", "level":"error",
 * ...} with the same keys, all of them. */
void record_render_change_text(const struct server_change *c, struct buf *out);
void record_render_change_json(const struct server_change *c, int64_t wall_us, const char *level, struct buf *out);

#endif
