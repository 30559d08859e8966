#include "program/contract.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/proxy_header.h"
#include "base/record.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct env {
	char **list; /* NULL-terminated */
	size_t n;
};

static size_t name_length(const char *assignment)
{
	return strcspn(assignment, "=");
}

/* Takes over a malloc()ed NAME=VALUE; the last one of a name wins. */
static void env_put(struct env *e, char *assignment)
{
	size_t len = name_length(assignment) + 1;

	for (size_t i = 0; i < e->n; i++) {
		if (strncmp(e->list[i], assignment, len) == 0) {
			free(e->list[i]);
			e->list[i] = assignment;
			return;
		}
	}
	e->list = mem_resize(e->list, e->n + 2, sizeof(*e->list));
	e->list[e->n++] = assignment;
	e->list[e->n] = NULL;
}

static void env_set(struct env *e, const char *prefix, const char *name, const char *value)
{
	env_put(e, mem_printf("%s%s=%s", prefix, name, value));
}

static void env_set_port(struct env *e, const char *prefix, const char *name, uint16_t port)
{
	env_put(e, mem_printf("%s%s=%u", prefix, name, (unsigned)port));
}

static bool is_inherited(const char *assignment)
{
	static const char *const names[] = {"PATH", "TZ", "LANG"};
	size_t len = name_length(assignment);

	if (assignment[len] == '\0')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], assignment, len) == 0)
			return true;
	return strncmp(assignment, "LC_", 3) == 0;
}

static bool is_inet(const struct addr *a)
{
	return a->family == AF_INET || a->family == AF_INET6;
}

/* One end of the connection in UCSPI's words: IP and PORT, e.g. with "TCPREMOTE" before them. */
static void put_ucspi_end(struct env *e, const char *prefix, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	addr_format(a, text);
	text[strcspn(text, "%")] = '\0'; /* the interface is TCP6INTERFACE's */
	env_set(e, prefix, "IP", text);
	env_set_port(e, prefix, "PORT", a->port);
}

/*
 * As tcp-environ(5) of ucspi-tcp6 has it: PROTO is TCP or TCP6; the TCP names are always there and
 * hold the IPv6 addresses too, so that programs which know only them go on working; with TCP6 the
 * same values stand under the TCP6 names as well, and TCP6INTERFACE names the interface of a
 * link-local client. TCPREMOTEHOST is missing when the name is unknown. TCPLOCAL* is where the client wanted to go, if that was
 * announced.
 */
static void put_ucspi(struct env *e, const struct program_client *c)
{
	const struct addr *local = c->announced ? &c->announced->to : &c->local;
	char interface[IF_NAMESIZE];

	if (!is_inet(&c->client) || !is_inet(local))
		return;
	env_set(e, "", "PROTO", c->client.family == AF_INET6 ? "TCP6" : "TCP");
	put_ucspi_end(e, "TCPLOCAL", local);
	put_ucspi_end(e, "TCPREMOTE", &c->client);
	if (*c->name)
		env_set(e, "", "TCPREMOTEHOST", c->name);
	if (c->client.family != AF_INET6)
		return;
	put_ucspi_end(e, "TCP6LOCAL", local);
	put_ucspi_end(e, "TCP6REMOTE", &c->client);
	if (*c->name)
		env_set(e, "", "TCP6REMOTEHOST", c->name);
	if (c->client.scope && if_indextoname(c->client.scope, interface))
		env_set(e, "", "TCP6INTERFACE", interface);
}

/* As ucspi-unix has it. */
static void put_ucspi_unix(struct env *e, const struct program_client *c)
{
	const char *path = c->ports && !strncmp(c->ports, "unix:", 5) ? c->ports + 5 : NULL;
	char text[ADDR_TEXT_MAX];
	uint32_t uid;

	env_set(e, "", "PROTO", "UNIX");
	if (path)
		env_set(e, "", "UNIXLOCALPATH", path);
	if (!addr_process(&c->client, &uid))
		return;
	addr_format(&c->client, text);
	text[strcspn(text, "/")] = '\0';
	env_set(e, "", "UNIXREMOTEPID", text + strlen("unix:"));
	env_put(e, mem_printf("UNIXREMOTEEUID=%u", uid));
}

/* Of a Unix socket: who it is, and where. */
static void put_process(struct env *e, const char *prefix, const struct program_client *c)
{
	char text[ADDR_TEXT_MAX];

	if (c->ports) {
		env_set(e, prefix, "PORT", c->ports);
		env_set(e, prefix, "INTERFACE", record_interface(&c->local, c->ports, text));
	}
	env_set(e, prefix, "CLIENT", addr_format(&c->client, text));
	env_set(e, prefix, "CLIENTNAME", text);
}

/* What is not known is not set: a pipe has no address. */
static void put_client(struct env *e, const char *prefix, const struct program_client *c)
{
	char text[ADDR_TEXT_MAX];

	if (is_inet(&c->local)) {
		env_set_port(e, prefix, "PORT", c->local.port);
		env_set(e, prefix, "INTERFACE", addr_format(&c->local, text));
	}
	if (is_inet(&c->client)) {
		addr_format(&c->client, text);
		env_set(e, prefix, "CLIENT", text);
		env_set(e, prefix, "CLIENTNAME", *c->name ? c->name : text);
		env_set_port(e, prefix, "CLIENTPORT", c->client.port);
	}
}

static void put_value(struct env *e, const char *prefix, const char *name, const struct question_announced *a,
                      uint8_t type)
{
	char text[PROXY_VALUE_TEXT_MAX];
	size_t len;
	const uint8_t *value = proxy_find_tlv(a->tlvs, a->n_tlvs, type, &len);

	if (!value || len == 0)
		return;
	proxy_value_text(value, len, text);
	env_set(e, prefix, name, text);
}

/* TLVs that everybody is free to use: in hexadecimal digits, whatever they are. */
static void put_own_tlvs(struct env *e, const char *prefix, const struct question_announced *a)
{
	for (unsigned type = 0xe0; type <= 0xef; type++) {
		char name[16], *text, *at;
		size_t len;
		const uint8_t *value = proxy_find_tlv(a->tlvs, a->n_tlvs, (uint8_t)type, &len);

		if (!value)
			continue;
		snprintf(name, sizeof(name), "TLV_%02X", type);
		at = text = mem_alloc(2 * len + 1);
		for (size_t i = 0; i < len; i++)
			at += sprintf(at, "%02x", value[i]);
		env_set(e, prefix, name, text);
		free(text);
	}
}

/* By a header of the PROXY protocol. */
static void put_announced(struct env *e, const char *prefix, const struct question_announced *a)
{
	char text[ADDR_TEXT_MAX];

	env_set(e, prefix, "VIA", addr_format_port(&a->via, text));
	put_value(e, prefix, "UNIQUE_ID", a, PROXY_TYPE_UNIQUE_ID);
	put_value(e, prefix, "AUTHORITY", a, PROXY_TYPE_AUTHORITY);
	put_own_tlvs(e, prefix, a);
}

static void put_text(struct env *e, const char *prefix, const char *name, const char *value)
{
	if (value && *value)
		env_set(e, prefix, name, value);
}

static void put_said(struct env *e, const char *prefix, const struct program_client *c)
{
	put_text(e, prefix, "SNI", c->sni);
	put_text(e, prefix, "ALPN", c->alpn);
	put_text(e, prefix, "PROTOCOL", c->protocol);
}

static void put_server(struct env *e, const char *prefix, const struct program_client *c)
{
	const struct server *server = c->server;
	char text[ADDR_TEXT_MAX];

	switch (server->kind) {
	case SERVER_HOST:
		env_set(e, prefix, "SERVER", server->host);
		env_set_port(e, prefix, "SERVERPORT", server->port ? server->port : c->local.port);
		break;
	case SERVER_ORIGINAL:
		env_set(e, prefix, "SERVER", addr_format(&c->local, text));
		env_set_port(e, prefix, "SERVERPORT", c->local.port);
		break;
	case SERVER_UNIX:
	case SERVER_PROGRAM:
		env_set(e, prefix, "SERVER", server->key);
		break;
	}
}

/* What every program finds, whatever it is for. */
static struct env env_begin(char *const *inherited)
{
	struct env e = {NULL, 0};

	env_set(&e, "", "PATH", DEFAULT_PATH);
	for (; inherited && *inherited; inherited++)
		if (is_inherited(*inherited))
			env_put(&e, mem_strdup(*inherited));
	return e;
}

/* What the configuration says comes last, and so wins. */
static char **env_end(struct env *e, const struct section *s)
{
	for (char **own = s->env; own && *own; own++)
		env_put(e, mem_strdup(*own));
	return e->list;
}

char **program_check_env(const struct section *s, const struct program_check *c, char *const *inherited)
{
	static const char *const states[] = {"unknown", "up", "down"};
	const struct program_client nobody = {.local.port = c->port, .name = "", .server = c->server};
	struct env e = env_begin(inherited);
	char text[ADDR_TEXT_MAX];

	put_server(&e, s->env_prefix, &nobody);
	if (is_inet(&c->at))
		env_set(&e, s->env_prefix, "SERVERADDR", addr_format(&c->at, text));
	env_set(&e, s->env_prefix, "STATE", states[c->state < ARRAY_LEN(states) ? c->state : 0]);
	return env_end(&e, s);
}

static void env_set_number(struct env *e, const char *prefix, const char *name, uint32_t number)
{
	env_put(e, mem_printf("%s%s=%u", prefix, name, number));
}

char **program_notice_env(const struct section *s, const struct program_notice *n, char *const *inherited)
{
	const struct program_client nobody = {
	        .local.port = n->server_port ? n->server_port : n->port, .name = "", .server = n->server};
	const char *prefix = s->env_prefix;
	struct env e = env_begin(inherited);
	char text[ADDR_TEXT_MAX];

	put_server(&e, prefix, &nobody);
	if (is_inet(&n->at))
		env_set(&e, prefix, "SERVERADDR", addr_format(&n->at, text));
	env_set(&e, prefix, "STATE", n->state);
	env_set(&e, prefix, "WAS", n->was);
	env_set(&e, prefix, "WHY", n->why ? n->why : "");
	env_set_port(&e, prefix, "PORT", n->port);
	env_set_number(&e, prefix, "UP", n->up);
	env_set_number(&e, prefix, "OF", n->of);
	return env_end(&e, s);
}

char **program_env(const struct section *s, const struct program_client *c, char *const *inherited)
{
	struct env e = env_begin(inherited);

	if (addr_place(&c->local) && c->client.family == AF_UNIX) {
		put_ucspi_unix(&e, c);
		put_process(&e, s->env_prefix, c);
	} else {
		put_ucspi(&e, c);
		put_client(&e, s->env_prefix, c);
	}
	if (c->announced)
		put_announced(&e, s->env_prefix, c->announced);
	put_said(&e, s->env_prefix, c);
	if (c->server)
		put_server(&e, s->env_prefix, c);
	return env_end(&e, s);
}

void program_env_free(char **env)
{
	if (!env)
		return;
	for (char **e = env; *e; e++)
		free(*e);
	free(env);
}
