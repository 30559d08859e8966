/*
 * config.h - text in, one read-only struct config out.
 *
 * The text is the configuration file, or what the command line amounts to. config/ never touches
 * the world outside: files, globs and port names are asked from the caller (struct config_ops).
 * config_print() writes the canonical text, which parses back to the same text, needs no world at
 * all (includes and lists expanded, port names as numbers), and is what every process is handed.
 *
 * Sections are flat: each holds every setting that is in force for it, wherever it was inherited
 * from. A connection looks at nothing but its section.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/sniff.h"
#include "base/starttls.h"

struct config;
struct section;
struct server;
struct source;

/* Where the parser looks outside. Any member may be NULL: then what needs it is an error. */
struct config_ops {
	void *arg;
	/* The whole file, malloc()ed and NUL-terminated, or NULL with *why set to a static text. */
	char *(*read_file)(void *arg, const char *path, const char **why);
	/* Paths that match, sorted, NULL-terminated, malloc()ed with its strings; NULL: none. */
	char **(*glob)(void *arg, const char *pattern);
	/* Port number of a service name (tcp), host byte order; 0: unknown. */
	uint16_t (*service_port)(void *arg, const char *name);
	/* Of an interface; 0: it is not there. NULL is not an error: the zones of the configuration are looked at
	 * later. */
	uint32_t (*interface_index)(void *arg, const char *name);
	/* Is this the file of a network namespace? NULL is not an error: whether they are there is not looked at. */
	bool (*netns_exists)(void *arg, const char *path);
	/* The port that is usually called so ("smtp", but not its other name "mail"); 0: none. */
	uint16_t (*usual_port)(void *arg, const char *name);
	/* The addresses that this host's interfaces have now (free()); returns how many. NULL: whether a server
	 * is one of our own ports is not looked at. */
	size_t (*addresses)(void *arg, struct interface_address **ret);
	/* The servers that a source of this section has now, one a line, as behind "server" (free()); source NULL: those that
	 * tcpproxyctl has added to it. NULL: there are none, as everywhere without this function. */
	char *(*members)(void *arg, const struct config *c, const struct section *s, const struct source *source);
	/* tcpproxyctl has taken this server of the section out; source: it is a line that stands for many, else NULL. */
	bool (*removed)(void *arg, const struct config *c, const struct section *s, const struct server *server,
	                const struct source *source);
	bool packed; /* the text is one of config_print_packed(): it has the members in it */
};

/* An interface that stands after the % of an address. It may come and go: its name is kept, and its index, the scope of
 * these addresses, is looked at again whenever it matters. */
struct zone {
	char name[ADDR_ZONE_MAX];
	uint32_t index; /* when last looked at; ADDR_NO_SCOPE: it was not there */
};

/* A name that the file gives to a service or a server ("port 25 as mail"): bytes, with the NUL. */
#define CALLED_SIZE 65

enum server_kind {
	SERVER_HOST,
	SERVER_UNIX,
	SERVER_PROGRAM,
	SERVER_ORIGINAL, /* where the client wanted to go, before it came to us (`intercept`) */
};

/* Who has said that there is this server. */
enum server_from {
	FROM_FILE,   /* a line of the configuration */
	FROM_SOURCE, /* a source: it may go, and come again */
	FROM_ADDED,  /* tcpproxyctl add */
};

struct server {
	enum server_kind kind;
	enum server_from from;
	uint32_t source;  /* FROM_SOURCE: index in the section's sources */
	char *host;       /* SERVER_HOST: name or numeric address, no brackets */
	struct addr addr; /* SERVER_HOST: its address if `host` is one, else AF_UNSPEC */
	uint16_t zone;    /* of addr; number in config.zones, from 1; 0: none, or said by its number. Likewise below */
	uint16_t port;    /* SERVER_HOST: 0: the port on which the client was accepted */
	char *path;       /* SERVER_UNIX: of the socket; SERVER_PROGRAM: argv[0] */
	char **argv;      /* SERVER_PROGRAM: NULL-terminated */
	char *key;        /* as spelt, one line: "mail:25", "mail", "[::1]:25", "unix:/p", "/bin/x -y" */
	char *called;     /* its name ("as db1"), of its own in its service; NULL: none */
	uint32_t weight;  /* 0..1000, default 1; 0: no new connection */
	uint32_t max;     /* connections at a time; 0: no limit */
	uint16_t
	        priority; /* of its SRV record; those of the lowest one of its source serve, the others are their backups */
	bool backup;
	bool disabled;
	uint8_t send_proxy; /* enum server_proxy */
	bool mptcp;         /* HOST: it is called by MPTCP */
	char *netns; /* HOST: path of the network namespace in which it is called; "": ours; NULL: as its section says. Likewise: */
	char *device;   /* the interface by which; "": any */
	uint32_t line;  /* in the canonical text */
	uint32_t place; /* the parser's: where it was said */
};

/* What a server hears first, before the first byte of its client: a header of the PROXY protocol. */
enum send_word {
	SEND_UNIQUE_ID = 1,
	SEND_AUTHORITY = 2,
	SEND_ALPN = 4,
	SEND_CRC = 8,
	SEND_PASS = 16, /* what came with the client's own header */
};
#define SEND_TYPES_MAX 32 /* that are passed on by name */

struct send_tlv {
	uint8_t type;
	char *text;
};

struct send_proxy {
	uint8_t version; /* 1, 2 */
	uint8_t words;   /* enum send_word */
	uint8_t n_pass;  /* types of SEND_PASS, in this order; 0: all */
	uint8_t pass[SEND_TYPES_MAX];
	struct send_tlv *tlvs; /* in this order */
	size_t n_tlvs;
};

/* What a server of a pool says of that. */
enum server_proxy { SERVER_PROXY_UNSAID, SERVER_PROXY_OFF, SERVER_PROXY_V1, SERVER_PROXY_V2 };

/* A line that says where servers come from, whose number changes while it runs. */
enum source_kind {
	SOURCE_LIST,    /* servers file:PATH */
	SOURCE_PROGRAM, /* servers program PROGRAM [ARG...] */
	SOURCE_EACH,    /* server HOST each: its addresses */
	SOURCE_SERVICE, /* server srv:NAME: the servers of a service */
};

struct source {
	enum source_kind kind;
	char *line;  /* as in the canonical text: what it is known by */
	char *path;  /* LIST, PROGRAM: of the file or the program, absolute */
	char **argv; /* PROGRAM; NULL-terminated */
	struct server
	        of; /* EACH, SERVICE: its members are like it, but for their addresses; host: the name to be asked */
	uint32_t before; /* so many servers that the file names stand before it in its section */
};

#define POOL_MAX    4096  /* servers of a section */
#define SERVERS_MAX 16384 /* of all sections, each pool once */

struct access_rule {
	bool allow;
	uint16_t zone;
	struct cidr net; /* "all" is two rules' worth: family AF_UNSPEC matches everything */
};

struct access_list { /* order matters; the first match decides */
	struct access_rule *rules;
	size_t n;
	bool any_allow; /* then no match means denied */
};

/* Who must send a header of the PROXY protocol first. */
struct accept_proxy {
	struct access_list from; /* these; none: everybody */
	bool all;                /* it says "all" */
	bool optional;           /* they may */
};

/* How a server is checked: one `check` line. */
#define CHECK_LINES_MAX 8 /* of one section */

enum check_word { CHECK_SEND, CHECK_EXPECT, CHECK_EXPECT_BEGIN, CHECK_EXPECT_NOT };

struct check_step {
	enum check_word word;
	char *bytes;
	size_t len;
};

/* Does it begin with a header of the PROXY protocol? */
enum check_proxy { CHECK_PROXY_UNSAID, CHECK_PROXY_NO, CHECK_PROXY_YES };

struct check_line {
	int64_t every_ms, fast_ms, slow_ms; /* while nothing changes; while it is changing; while down */
	int64_t timeout_ms;                 /* for the whole check */
	uint32_t rise, fall;                /* so many answers in a row that say otherwise change the state; 1..100 */
	uint16_t port;                      /* 0: the server's */
	struct addr from;                   /* AF_UNSPEC: the section's source */
	uint16_t from_zone;
	char *kind;               /* "tcp", "http" ...; "steps": those below */
	struct check_step *steps; /* in this order */
	size_t n_steps;
	char **program;                  /* argv, NULL-terminated; NULL: no program */
	char *user, *path, *host;        /* NULL: not said */
	uint16_t status_from, status_to; /* http; 0: not said */
	uint8_t proxy;                   /* enum check_proxy */
	bool implied;                    /* nobody has said it: on-down refuse needs one */
	char *what; /* the canonical text of what is asked, without how often: "port=8008 http /primary" */
};

/* What becomes of clients when no server is usable. */
enum on_down {
	ON_DOWN_RESET,  /* they are reset */
	ON_DOWN_TRY,    /* servers that a check calls down are tried as the last resort */
	ON_DOWN_REFUSE, /* the port refuses them, if all that is reached by it does; else as RESET */
	ON_DOWN_HOLD,   /* they wait for one */
};

/* Clients that wait. */
struct wait_rule {
	int64_t time_ms; /* each at most so long; 0: nobody waits */
	uint32_t max;    /* at a time, of the whole service; 1.. */
};

/* Which of several servers that would do gets the next client. */
enum balance_way {
	BALANCE_ROUND_ROBIN,
	BALANCE_LEAST_CONNECTIONS,
	BALANCE_RANDOM,
	BALANCE_SOURCE, /* by the client's address */
	BALANCE_HASH,   /* by a key; without one by the client's address */
	BALANCE_FIRST,
};

/* A client that comes again gets its server again. */
struct stick_rule {
	int64_t time_ms;  /* if it comes within that; 0: it does not */
	uint32_t clients; /* that are remembered */
};

/* Servers that fail for clients are left alone. */
struct eject_rule {
	int64_t for_ms;   /* the first time; 0: none is ejected */
	int64_t max_ms;   /* each further time soon after it is twice as long, up to this */
	int64_t early_ms; /* a server that ends a connection in this time without a byte failed, too; 0: that is none */
	uint32_t after;   /* failures in a row; 1.. */
	uint32_t share;   /* at most so many per cent of a pool at a time; 1..100 */
};

/* Servers are called from the client's address; PORT: and from its port, if that is free. */
enum source_client { SOURCE_CLIENT_NO, SOURCE_CLIENT, SOURCE_CLIENT_PORT };

/* DSCP of packets (RFC 2474), and one: towards the server, the client; 0: as it is. */
struct dscp_rule {
	uint8_t server, client;
};

/* Of the machine's routing, what brings the answers to those back to us (network/routes.h). */
struct routes {
	uint32_t table, mark, mask, priority;
	bool by_hand; /* all of it is there already */
};
#define ROUTES_USUAL                                                                \
	{                                                                           \
		.table = 27182, .mark = 0x100000, .mask = 0x100000, .priority = 100 \
	}

/* What a client has to say first to come to a section. */
enum opening_kind { OPENING_ANY, OPENING_SNI, OPENING_PROTOCOL };

struct opening {
	enum opening_kind kind; /* ANY: it has not to say anything */
	char **words; /* of SNI: names, in small letters, patterns, "none"; of PROTOCOL: as in its line. NULL-terminated */
	char **alpn;                    /* of SNI: one of these; NULL: whatever they are */
	uint32_t sniffs;                /* of PROTOCOL: a bit for each enum sniff_word */
	struct sniff_pattern *patterns; /* likewise, in the order of the words */
	size_t n_patterns;
};

enum interface_kind { INTERFACE_NONE, INTERFACE_ADDRESS, INTERFACE_NETWORK, INTERFACE_NAME };

/* Which records are written, besides the one that says how it ended. */
enum access_log {
	ACCESS_LOG_END,      /* just that one */
	ACCESS_LOG_OFF,      /* none at all */
	ACCESS_LOG_ERRORS,   /* just that one, and only if it did not end well */
	ACCESS_LOG_OPEN,     /* one when it is connected, too */
	ACCESS_LOG_INTERVAL, /* and one each access_interval_ms */
};

/* A port section (kind NONE: its own rules, for connections no interface section matches), an interface section, or one behind sni or
 * protocol, which belongs to one of these (kind NONE). */
struct section {
	uint32_t index;      /* in config.sections */
	uint32_t service;    /* index in config.services */
	uint32_t outer;      /* behind sni or protocol: index of the section that it belongs to */
	uint32_t n_openings; /* sections behind sni or protocol that belong to this one, and stand right behind it */
	struct opening opening;
	enum interface_kind kind;
	struct cidr net; /* ADDRESS (all bits), NETWORK */
	uint16_t zone;   /* of net */
	uint16_t source_zone;
	char *name;   /* NAME, e.g. "eth0" */
	char *called; /* the name of its port or interface line ("as mail"), of its own
	                            * in the file; NULL: none */
	char *origin; /* "FILE:LINE" of its port or interface line, as first read */

	struct server *servers; /* the pool, shared with the outer section if that has it, too */
	size_t n_servers;
	struct source *sources; /* likewise */
	size_t n_sources;
	bool own_pool; /* it has said so itself */
	bool has_pool; /* it serves, even if its pool is empty now; false: nothing is served by this section itself */
	struct access_list access;
	char **acp; /* argv, NULL-terminated; NULL: none */
	int64_t acp_timeout_ms;
	char *env_prefix; /* "PROXY_" */
	char **env;       /* "NAME=VALUE", NULL-terminated; NULL: none */
	int64_t connect_timeout_ms;
	int64_t timeout_ms;            /* idle; 0: none */
	int64_t half_close_timeout_ms; /* 0: none; also 0 with `wait yes` */
	bool wait;                     /* as said; half_close_timeout_ms has it in */
	int64_t stop_timeout_ms;       /* 0: none */
	int64_t keepalive_ms;          /* 0: none */
	bool numeric;
	struct addr source; /* from which servers are called; AF_UNSPEC: the kernel chooses */
	enum source_client source_client;
	struct dscp_rule dscp;
	uint32_t mark; /* of packets towards servers, for this machine's own rules; 0: none */
	char *netns;   /* path of the network namespace in which servers are called; NULL: ours */
	char *device;  /* the interface by which servers are called; NULL: as the routes say */
	enum access_log access_log;
	int64_t access_interval_ms;          /* of ACCESS_LOG_INTERVAL, else 0 */
	char *log_format;                    /* base/format.h; NULL: the usual text */
	uint32_t max_connections;            /* of the whole service; 0: no limit */
	uint32_t max_connections_per_client; /* per service; 0: no limit */
	struct check_line *checks;           /* all must say yes; n_checks 0: none */
	size_t n_checks;
	enum on_down on_down;
	enum balance_way balance;
	uint32_t
	        bounded; /* of BALANCE_SOURCE and HASH: no server gets more than so many per cent of the average; 0: no bound */
	struct stick_rule stick;
	char **notify; /* argv, NULL-terminated, of a program that is told of changes of servers; NULL: none */
	bool kill_on_server_down;          /* connections of a server that a check calls down */
	struct wait_rule hold;             /* of ON_DOWN_HOLD, else 0 */
	bool then_refuse;                  /* likewise: when no server was usable for that time, the port refuses */
	struct wait_rule queue;            /* for a place */
	struct accept_proxy *accept_proxy; /* NULL: nobody is asked for a header */
	int64_t proxy_timeout_ms;          /* until the header is there */
	int64_t speak_timeout_ms;          /* until it is known what the client has said */
	uint8_t starttls;                  /* enum starttls: what is said before TLS */
	struct send_proxy *send_proxy;     /* NULL: none */
	struct send_proxy *send_proxy_v2;  /* the nearest that was said with v2, in force or not; NULL: none */
	struct eject_rule eject;
	int64_t slow_start_ms; /* a server that comes has its whole weight only after this; 0: at once */
};

struct port_range {
	uint16_t first, last;
};

/* Where a service listens. */
enum listen_kind {
	LISTEN_PORTS,  /* at ports, of this host or of a network namespace */
	LISTEN_UNIX,   /* at a Unix socket */
	LISTEN_PASSED, /* at sockets that systemd has opened */
};

/* Connections that are meant for others come to a port of ours. */
enum intercept_kind {
	INTERCEPT_NONE,
	INTERCEPT_TPROXY,   /* with the address that they were meant for: the socket's own is that */
	INTERCEPT_REDIRECT, /* with ours in its place, and the kernel knows the other */
};

/* Which of them: one `intercept` line. */
struct interception {
	struct port_range *to;
	size_t n_to;
	char **on; /* interfaces by which they come, NULL-terminated, "eth*": several; NULL: any */
	struct cidr *from;
	size_t n_from; /* 0: from anywhere */
	char *of;      /* those of a user of this machine; NULL: those of others */
};

struct service {
	uint32_t index;
	enum listen_kind listen;
	enum intercept_kind intercept;
	struct interception *interceptions;
	size_t n_interceptions;
	struct port_range *ports; /* of PORTS; the others have none */
	size_t n_ports;
	char *netns;  /* of PORTS: path of the network namespace that has them; NULL: ours */
	char *device; /* of PORTS: the interface by which clients come; NULL: any */
	bool mptcp;   /* of PORTS: clients may speak it */
	char *path; /* of UNIX: absolute, or "@NAME" of an abstract one; of PASSED: FileDescriptorName=, "": those that no other port takes */
	uint32_t mode;         /* of UNIX: of its file */
	char *owner;           /* of UNIX: USER[:GROUP] of its file; NULL: whoever has made it */
	uint32_t answers_mark; /* of INTERCEPT_TPROXY: of the packets to its clients */
	/* Scope of its clients' local addresses (base/addr.h); 0: ports of this host, whatever the interface. */
	uint32_t place;
	uint32_t number; /* by which it is known over reloads: its first port; one above 65535 where there is a place */
	uint32_t root;   /* index of its own section (kind NONE), always there */
	uint32_t first_section; /* its other sections follow each other in config.sections */
	uint32_t n_sections;    /* without the root */
	bool wildcard;          /* the root serves: bind every address */
};

enum log_kind { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_JOURNAL, LOG_TO_FILE };

struct log_target {
	enum log_kind kind;
	bool json;
	int facility; /* syslog's, as in <syslog.h> (LOG_DAEMON) */
	char *path;   /* FILE */
};

/* Where one may look in. */
struct admin_point {
	char *path;       /* absolute, of a Unix socket; NULL: an address */
	struct addr addr; /* with its port */
	uint16_t zone;
	char *token; /* absolute path of the file that holds it; NULL: looking only */
	char *name;  /* by which it may be asked for, too; NULL: none */
};

/* One error of a text. A parse reports as many as there are. */
struct config_error {
	char *file;            /* NULL: the command line */
	uint32_t line, column; /* from 1; 0: not in a file */
	char *message;         /* what is wrong, and what is allowed */
};

struct config_errors {
	struct config_error *list;
	size_t n;
};

struct config {
	bool standalone;
	char *user, *group;       /* NULL: not said */
	char *pidfile;            /* NULL: none */
	char *state;              /* what tcpproxyctl changes is kept there, too; NULL: nowhere */
	int64_t state_max_age_ms; /* one that is older is not taken up; 0: however old it is */
	struct log_target *logs;  /* n_logs 0: the default of the way it runs */
	size_t n_logs;
	uint32_t workers;         /* 0: one per core */
	uint32_t max_connections; /* global; 0: as many as descriptors allow */
	int64_t stop_timeout_ms;  /* the longest of all sections; 0: none */
	struct addr *resolvers;   /* port 53 unless said */
	size_t n_resolvers;
	int64_t name_ttl_min_ms, name_ttl_max_ms; /* bounds of how long an answer about a server's name holds */
	int64_t name_hold_ms;                     /* so long an address that an answer leaves out is used on */
	int64_t name_keep_ms; /* so long the last good addresses are, when there is no such name any more */
	struct admin_point *admins;
	size_t n_admins;
	struct routes routes;
	struct zone *zones; /* each once */
	size_t n_zones;
	struct service *services;
	size_t n_services;
	struct section *sections; /* of all services */
	size_t n_sections;
	struct section global;         /* what stands before the first port: the services inherit it. A text
	                            * or list that a section inherits is shared, not copied */
	char **patterns;               /* of each include that is one, absolute, NULL-terminated; NULL: none */
	char **files;                  /* every file that was read, absolute, NULL-terminated: the file
	                            * itself first, then includes and lists */
	struct config_errors warnings; /* what is probably not meant, and is done all the same */
};

/* One text to be parsed: a file, a directive of -o, or what -b and its kin amount to. */
struct config_source {
	const char *name; /* FILE of messages and origins, or the option: "-o 'serverr x'" */
	const char *path; /* absolute: relative names in the text start from its directory */
	const char *text;
	bool is_list;       /* its lines are servers, not directives */
	const char *origin; /* the command line: of the sections that it opens, e.g. "-b:8080".
	                            * Its messages have no line, and what it says once for the whole
	                            * program or globally beats the file. NULL: a file */
};

/* Parses and checks. Returns the configuration (config_free()), or NULL with *errors filled (at
 * least one; config_errors_release()). `path` is only for messages and for relative includes. */
struct config *config_parse(const char *path, const char *text, const struct config_ops *world,
                            struct config_errors *errors);
/* The same for several texts, read one after the other. */
struct config *config_parse_sources(const struct config_source *sources, size_t n, const struct config_ops *world,
                                    struct config_errors *errors);
void config_free(struct config *c); /* takes NULL */
void config_errors_release(struct config_errors *e);
/* "FILE:LINE:COLUMN: message", without "tcpproxy: ". */
void config_error_format(const struct config_error *e, struct buf *out);

/* Some section calls its servers from the client's address. */
bool config_calls_as_client(const struct config *c);
/* Where and by which interface a server of this section is called: NULL: in our namespace, by any. */
const char *server_netns(const struct section *s, const struct server *server);
const char *server_device(const struct section *s, const struct server *server);
/* A number for a network namespace, by its path; 0: it is ours (NULL). */
uint32_t netns_id(const char *path);
/* Some section calls its servers in another network namespace, or some service listens there. */
bool config_enters_netns(const struct config *c);
/* Some section marks packets towards its servers. */
bool config_marks(const struct config *c);

/* It asks an agent, which speaks for the server: not whether it is well, but what is to be done with it. */
bool check_is_agent(const struct check_line *l);
/* Appends what is asked, for readers who may not know what is sent, which may be a password: "send ***". */
void check_describe(const struct config *c, const struct check_line *l, struct buf *out);

/* The port is to refuse at some time. */
static inline bool section_may_refuse(const struct section *s)
{
	return s->on_down == ON_DOWN_REFUSE || s->then_refuse;
}

/* It leads to a program, not to servers. */
static inline bool section_is_program(const struct section *s)
{
	return s->n_servers > 0 && s->servers[0].kind == SERVER_PROGRAM;
}
const char *balance_name(enum balance_way way);
/* A client that comes from there is to send a header first; a NULL: nobody is. */
bool accept_proxy_expects(const struct accept_proxy *a, const struct addr *peer);
/* The version of the header with which this check of the server begins; 0: with none. */
uint8_t check_proxy_version(const struct section *s, const struct server *server, const struct check_line *l);
/* What this server of the section hears first; NULL: its client. Valid as long as the section. */
const struct send_proxy *server_send_proxy(const struct section *s, const struct server *server);

/* Appends the canonical text: sources, not what they have now. */
void config_print(const struct config *c, struct buf *out);
/* The same with the servers that there are now, whoever has said so, for struct config_ops.packed. */
void config_print_packed(const struct config *c, struct buf *out);

/* ---- members.c, reparse.c: servers whose number changes while it runs ---- */

/* Servers and sources of all sections, those that inherit them, too. */
size_t config_servers(const struct config *c);
/* Some section has a source. */
bool config_has_sources(const struct config *c);
/* What c, as it was read, is with the members that world names now. c stays as it is; NULL: *errors says why. */
struct config *config_with_members(const struct config *c, const struct config_ops *world,
                                   struct config_errors *errors);
/* Reads a list: a server on each line, as behind "server", or "none" alone. Returns its canonical text, which is empty for none
 * (free()). NULL: *errors says what is wrong. Of world only names of ports are asked. */
char *list_parse(const char *path, const char *text, const struct config_ops *world, struct config_errors *errors);
/* Reads one server, as behind "server" (server_release()). False: why, which may be NULL, says what is wrong. */
bool server_parse(const char *text, const struct config_ops *world, struct server *ret, struct buf *why);
/* The same of a line that stands for many, as in struct source. */
bool source_parse(const char *line, struct server *ret);
void server_release(struct server *s);
/* By what a section is known over reloads: its service's first port, and its own name ("25", "25/lan"). */
void section_key(const struct config *c, const struct section *s, struct buf *out);
/* NULL: there is none. */
const struct section *config_section(const struct config *c, const char *key);
/* Appends a server as behind "server", canonical. */
void server_print(const struct server *s, struct buf *out);
/* The same for readers who may not know what a file says that only root can read: values of `env` are "***". */
void config_print_public(const struct config *c, struct buf *out);

/* zones.c: looks at all interfaces that are named after a %, and puts their present indexes into all addresses with
 * such a zone. index: as in struct config_ops. */
void config_look_at_zones(struct config *c, uint32_t (*index)(void *arg, const char *name), void *arg);
/* The name of a zone, NULL for 0. Valid as long as c. */
const char *config_zone(const struct config *c, uint16_t zone);

/* What a connection of this section is said to be of: the nearest name of a service; NULL: there is
 * none. */
const char *section_called(const struct config *c, const struct section *s);
/* What a server is called: its name, else as it is spelt. */
const char *server_label(const struct server *s);
/* "db1 (10.0.0.9:5432)", or just how it is spelt. */
void server_describe(const struct server *s, struct buf *out);

/* Every configured port, ascending, each once. Returns the number written to *ret (free()). */
size_t config_ports(const struct config *c, uint16_t **ret);

bool config_has_unix_server(const struct config *c);
bool config_has_abstract_server(const struct config *c); /* "unix:@NAME" */
/* Is there a section with `eject`? */
bool config_ejects(const struct config *c);

/* So many clients are to be remembered for `stick`, in all; 0: nothing sticks. */
uint64_t config_stick_clients(const struct config *c);

/* ---- ports.c: where a service listens ---- */

#define UNIX_PATH_MAX 107 /* bytes of the path of a Unix socket */

/* Appends its ports, as they are said of it: "25", "8000-8010,8080", "443,netns=blue", "unix:/run/x", "fd:web". */
void service_ports(const struct service *service, struct buf *out);
/* The first of its ports; 0: it has none. */
static inline uint16_t service_first_port(const struct service *service)
{
	return service->n_ports ? service->ports[0].first : 0;
}
/* intercept.c */
bool config_intercepts(const struct config *c);
bool config_intercepts_by(const struct config *c, enum intercept_kind kind);
/* A number for all that is caught and we set up; 0: nothing. */
uint32_t config_interceptions_number(const struct config *c);
/* Would this client's connection to a port elsewhere come to this service? Not looked at: interfaces, and users of this machine. */
bool service_intercepts(const struct service *service, const struct addr *client, uint16_t port);
const char *intercept_name(enum intercept_kind kind);
/* Some service listens in another network namespace. */
bool config_listens_in_netns(const struct config *c);

/* ---- match.c: which section serves, and which clients ---- */

/* A port of this host. */
bool service_has_port(const struct service *service, uint16_t port);
/* Is that where a client of it has come? One that was intercepted has come to where it wanted to go, whatever the port. */
bool service_listens_at(const struct service *service, const struct addr *local);

/* A number for a section, known by its service and by what it is about: the same over reloads and in all processes. Even, never 0. */
uint64_t config_section_number(const struct config *c, const struct section *s);

/* The section for a connection that was accepted at `local` (address and port), or NULL: an exact
 * address beats the longer network beats the shorter beats a name beats the service itself. A
 * section that serves nobody is never returned; what the client says may lead to another one (openings.h). */
const struct section *config_find(const struct config *c, const struct addr *local, const struct interface_address *ifs,
                                  size_t n_ifs);

/* It has servers, or sections behind sni and protocol have. */
bool section_serves(const struct config *c, const struct section *s);

/* All that may serve what comes to a socket that listens there: one section, or several at a wildcard. Returns the number written to
 * *ret (free()). */
size_t config_sections_at(const struct config *c, const struct addr *local, const struct interface_address *ifs,
                          size_t n_ifs, const struct section ***ret);

struct access_verdict {
	bool let_in;
	const struct access_rule *rule; /* that decided; NULL: no rule matched */
};
struct access_verdict access_check(const struct access_list *l, const struct addr *client);

/* Every address and port that must be bound. For a wildcard service :: with dual stack (addr
 * AF_INET6 ::) and 0.0.0.0 both; else the addresses of its sections (networks and names: the present
 * addresses that match). Each address:port once. Returns the number written to *ret (free()). */
size_t config_binds(const struct config *c, const struct interface_address *ifs, size_t n_ifs, struct addr **ret);

#endif
