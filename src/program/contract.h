/*
 * contract.h - what a program finds: its environment. (Descriptors and exit codes:
 * tcpproxy-programs(7).) Text only; but the interface of a link-local client is asked from the kernel.
 */
#ifndef PROGRAM_CONTRACT_H
#define PROGRAM_CONTRACT_H

#include "base/addr.h"
#include "config/config.h"
#include "program/question.h"

struct program_client {
	struct addr local; /* where it was accepted */
	struct addr client;
	const char *name;                           /* verified name, or "" */
	const struct question_announced *announced; /* NULL: nothing was */
	const char *sni, *alpn,
	        *protocol; /* what it has said first; NULL or "": nothing that its section depended on */
	const char
	        *ports; /* where it came in, if `local` has no port: "unix:/run/x" (service_ports()); NULL: not known */
	const struct server *server; /* for PROXY_SERVER, PROXY_SERVERPORT; NULL: not known */
};

/* The whole environment, NULL-terminated, one malloc()ed block list (free with
 * program_env_free()). `inherited` is our own environ: PATH, TZ, LANG and LC_* are taken from it. */
char **program_env(const struct section *s, const struct program_client *c, char *const *inherited);
/* A program that checks a server: no client. */
struct program_check {
	const struct server *server;
	uint16_t port;  /* that is checked */
	struct addr at; /* the address that is; AF_UNSPEC: none */
	uint32_t state; /* of the server so far: 0 unknown, 1 up, 2 down */
};
char **program_check_env(const struct section *s, const struct program_check *c, char *const *inherited);
/* A program that is told that a server is not what it was: no client. */
struct program_notice {
	const struct server *server;
	uint16_t port;        /* of the service, the first */
	uint16_t server_port; /* where it is checked; 0: its own, or none */
	struct addr at;       /* AF_UNSPEC: none */
	const char *state, *was;
	const char *why; /* NULL: no reason */
	uint32_t up, of; /* servers of the service that can be used; all */
};
char **program_notice_env(const struct section *s, const struct program_notice *n, char *const *inherited);
void program_env_free(char **env);

#endif
