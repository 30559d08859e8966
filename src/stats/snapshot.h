/*
 * snapshot.h - what there is at one moment: services, servers, workers, connections, counters.
 * Plain data without a way back: each asker (a command, the metrics, a page) gets one of its own,
 * which is filled outside of this folder.
 *
 * Times are microseconds, ages too; rates are bytes a second. Texts of the snapshot point into
 * memory that outlives it, or are owned by it (snapshot_keep()).
 */
#ifndef STATS_SNAPSHOT_H
#define STATS_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/name_answer.h"
#include "base/buf.h"
#include "base/program_kind.h"
#include "base/record.h"
#include "stats/counters.h"

/* What TCP says of one side; only when it was asked for, and only of TCP. */
struct tcp_view {
	bool known;
	uint32_t rtt_us;
	uint32_t retransmits;
};

struct connection_view {
	uint64_t id;                       /* as in the access record */
	uint32_t worker, row, serial;      /* where it is; steering wants all three */
	bool leaving;                      /* on its way from one worker to another */
	const char *state;                 /* "relay", "connecting"... */
	const char *service;               /* its name, else its ports: "mail", "8000-8010" */
	const char *within;                /* the service whose section that is; NULL: of none */
	const char *ports;                 /* of the service: "25", "unix:/run/x" */
	const char *rule;                  /* "/etc/tcpproxy.conf:5" */
	const char *name;                  /* the client's, if it was looked up */
	const char *uid, *authority;       /* as its PROXY header says; NULL: nothing */
	const char *sni, *alpn, *protocol; /* what it has said first, if its section depended on it; NULL: nothing */
	const char *server;                /* its name, else as it is spelt; NULL: none yet */
	const char *spelt;                 /* the same, as the file has it */
	const char *server_of;             /* what the line is called of which it is a member; NULL: of none */
	const char *server_text;           /* one without an address: "unix:/run/x.sock" */
	struct addr local, client, server_addr; /* AF_UNSPEC: none */
	struct addr via;                        /* who has announced the client; AF_UNSPEC: nobody */
	uint64_t up, down, rate_up, rate_down;
	int64_t age_us, idle_us, connect_us; /* connect_us -1: never was */
	struct tcp_view tcp[2];              /* of the client, of the server */
};

/* Whether clients, or connections, may come. */
struct service_view {
	const char *label;       /* its name, else its ports; of its own in the list */
	const char *ports;       /* "25", "8000-8010" */
	const char *within;      /* the service whose section it is; NULL: of none */
	const char *admin_state; /* "enabled", "draining", "drained", "disabled" */
	bool configured;         /* still */
	bool refusing;           /* a port of it does not listen: no server is usable */
	uint32_t active;
	uint32_t waiting;        /* of these: for a place, or for a server */
	uint32_t servers;        /* in its pools; 0: programs only */
	uint32_t usable;         /* of these: clients may come to them now */
	struct counted *counted; /* sums over all workers; owned */
};

/* What checks have found out, over all who want to know. */
struct checks_view {
	bool any;            /* it is checked */
	uint64_t answers[3]; /* yes, no, none in time */
	uint64_t changes[3]; /* to unknown, up, down */
	int64_t took_us;     /* the last one; -1: there was none */
};

struct server_view {
	const char *label;       /* its name, else as it is spelt; of its own in the list: "SERVICE/NAME" if need be */
	const char *spelt;       /* as the file has it */
	const char *name;        /* NULL: it has none */
	const char *service;     /* in which it has the name */
	const char *of;          /* what the line is called of which it is an address (`each`, srv:); NULL: of none */
	const char *metric;      /* its label in metrics: "OF/SPELT", or as in the list */
	bool stands;             /* it is such a line: no server */
	const char *admin_state; /* likewise */
	const char
	        *health; /* checked: "unknown", "up", "down"; else "untried", "up"; "failed": its last client could not
	                     * connect; "unresolved": it has no address; "ejected": too many could not, or it ended them early */
	const char *why; /* of "down", "failed", "unresolved", "ejected"; NULL: not known */
	int64_t health_us; /* how long it has been so; -1: not known */
	bool configured;
	uint32_t active;
	uint32_t addresses;
	bool in_pool;          /* some section has it; the first one says: */
	uint32_t weight_milli; /* what holds, in thousandths: it may grow (slow-start) */
	uint32_t weight_file;  /* what the file says */
	struct checks_view checks;
	uint32_t ejections; /* ever */
	struct counted *counted;
};

/* A server in the pool of a section. */
struct member_view {
	const char *service, *rule, *server;
	const char *ports, *within;  /* of the service, as in its view */
	uint32_t target;             /* which server: the same number, the same server */
	uint32_t weight_milli;       /* what holds, in thousandths: it may grow (slow-start) */
	uint32_t weight_file;        /* what the file says; likewise below */
	uint32_t max, max_file;      /* 0: no limit */
	bool backup, disabled;       /* as the file says */
	bool usable;                 /* clients may come to it now */
	const char *state, *why;     /* as in server_view, but by its own checks */
	int64_t since_wall_us;       /* 0: not known */
	const char *check, *address; /* what is asked; where it is: "10.0.0.1:25,10.0.0.2:25". NULL: nothing */
	uint32_t connections;        /* of the server, in all pools; so are those that failed */
	uint64_t failures;
	uint32_t waiting;   /* clients that wait now in its service, for a place or for a server, this one or another */
	uint32_t ejections; /* likewise */
	const char *changed; /* commands that would change it so again, one a line; NULL: none */
};

struct worker_view {
	uint32_t number;
	int pid;                /* 0: there is none at the moment */
	bool serving;           /* it is there and has taken everything up */
	bool accepting;         /* false: it has more than its share, or we are stopping */
	uint32_t keepers;       /* of two */
	uint32_t active, slots; /* connections; how many there may be */
	uint32_t descriptors;   /* that its table can hold */
	uint32_t parked_pipes;
	uint32_t early, early_max; /* connections that have not said yet what must be known first; as many as may be */
	uint64_t takeovers;        /* of connections of a worker that died, or by an upgrade */
	uint64_t memory;           /* resident bytes */
};

struct snapshot {
	const char *version;
	const char *config_path; /* NULL: no file */
	const char *log_level;
	int pid;
	int64_t wall_us, started_wall_us;
	uint64_t generation; /* of the configuration */
	uint64_t reloads, reloads_failed, upgrades, upgrades_failed;
	int64_t reload_wall_us; /* 0: none was tried */
	bool reload_failed;     /* the last one */
	bool stopping;          /* no new connections */
	uint64_t lines_lost;    /* of the log */
	uint64_t programs_failed[PROGRAM_KINDS];
	uint64_t checks_late;         /* began later than they should have */
	uint64_t names[NAME_ANSWERS]; /* questions for names of servers */

	struct service_view *services;
	size_t n_services;
	struct server_view *servers;
	size_t n_servers;
	struct member_view *members;
	size_t n_members;
	struct worker_view *workers;
	size_t n_workers;
	struct connection_view *connections;
	size_t n_connections;

	char **kept; /* texts */
	size_t n_kept;
};

struct snapshot *snapshot_new(void);
void snapshot_free(struct snapshot *s); /* takes NULL */
/* A copy that the snapshot owns; of so many bytes. */
const char *snapshot_keep(struct snapshot *s, const char *text, size_t len);

/* labels.c: gives servers of several services that have the same name the labels "SERVICE/NAME"; and all a label in metrics. */
void snapshot_label_servers(struct snapshot *s);
/* Lines that stand for many are no servers: they are dropped. The numbers of servers (struct member_view) mean nothing any more. */
void snapshot_drop_lines(struct snapshot *s);
/* A service that was moved to another port, a server that was moved to another host, go on under their labels: what the old ones
 * have counted is in the new ones, which alone are left in the lists. */
void snapshot_merge(struct snapshot *s);

/* Keeps the members of pools of this service: its name, port or ports. false: there is none. */
bool snapshot_select_members(struct snapshot *s, const char *service);

/* Which connections are meant: all the words must fit. */
struct connection_filter {
	uint64_t id;          /* 0: any */
	uint16_t port;        /* on which it came in; 0: any */
	const char *service;  /* its name; NULL: any */
	struct cidr client;   /* AF_UNSPEC: any */
	uint16_t client_port; /* 0: any */
	struct cidr via;      /* likewise */
	uint16_t via_port;
	const char *server; /* its name, SERVICE/NAME, as it is spelt, or ADDRESS:PORT; NULL: any */
	const char *sni;    /* as the record has it, in any case of letters; NULL: any */
	const char *state;  /* NULL: any */
};

/* One word: an id, or service=, client=, via=, server=, sni=, state= (port= is service=). The texts are not
 * copied. Returns NULL, or what is wrong (static). */
const char *connection_filter_word(struct connection_filter *f, const char *word);
/* A service or a server of this name is in the snapshot? Else false: `why` says what is missing. */
bool connection_filter_known(const struct connection_filter *f, const struct snapshot *s, struct buf *why);
bool connection_matches(const struct connection_filter *f, const struct connection_view *c);
/* Keeps those that match. */
void snapshot_select(struct snapshot *s, const struct connection_filter *f);
/* Keeps those that have each of these words somewhere: in an address, a name, a state... */
void snapshot_search(struct snapshot *s, const char *words);
/* By "id", "service", "client", "server", "state", "age", "up", "down", "rate", "rtt",
 * "retransmits"; of numbers the largest first, but the smallest id. false: no such word. */
bool snapshot_sort(struct snapshot *s, const char *by);
/* The words, for messages and completion: "id, service, ...". */
const char *snapshot_sort_words(void);

#endif
