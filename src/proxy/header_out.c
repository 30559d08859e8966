#include "proxy/header_out.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/proxy_header.h"
#include "os/sock.h"
#include "takeover/announced.h"
#include "takeover/said.h"
#include "takeover/position.h"

/* ---- its bytes ---- */

/* These are said anew, so they are not passed on. */
static bool is_said(const struct send_proxy *how, uint8_t type)
{
	for (size_t i = 0; i < how->n_tlvs; i++)
		if (how->tlvs[i].type == type)
			return true;
	return (type == PROXY_TYPE_UNIQUE_ID && how->words & SEND_UNIQUE_ID) ||
	       (type == PROXY_TYPE_AUTHORITY && how->words & SEND_AUTHORITY) ||
	       (type == PROXY_TYPE_ALPN && how->words & SEND_ALPN) || type == PROXY_TYPE_CRC32C ||
	       type == PROXY_TYPE_NOOP;
}

static bool is_passed(const struct send_proxy *how, uint8_t type)
{
	return how->n_pass == 0 || memchr(how->pass, type, how->n_pass);
}

static void pass_on(const struct send_proxy *how, const uint8_t *tlvs, size_t n, struct buf *out)
{
	const uint8_t *value;
	size_t at = 0, len;
	uint8_t type;

	while (proxy_next_tlv(tlvs, n, &at, &type, &value, &len))
		if (is_passed(how, type) && !is_said(how, type))
			proxy_add_tlv(out, type, value, len);
}

static void say_announced(uint8_t type, const uint8_t *tlvs, size_t n, struct buf *out)
{
	size_t len;
	const uint8_t *value = proxy_find_tlv(tlvs, n, type, &len);

	if (value)
		proxy_add_tlv(out, type, value, len);
}

/* That of its header, else that of its hello. */
static void say_authority(const struct trio *t, uint32_t row, const struct row_cold *cold, const uint8_t *tlvs,
                          size_t n, struct buf *out)
{
	char sni[256];
	size_t len;

	if (proxy_find_tlv(tlvs, n, PROXY_TYPE_AUTHORITY, &len)) {
		say_announced(PROXY_TYPE_AUTHORITY, tlvs, n, out);
		return;
	}
	len = said_sni_bytes(t, row, cold, sni);
	if (len > 0)
		proxy_add_tlv(out, PROXY_TYPE_AUTHORITY, sni, len);
}

static void say_unique_id(const struct row_cold *cold, const uint8_t *tlvs, size_t n, struct buf *out)
{
	char own[ANNOUNCED_OWN_ID];
	size_t len;
	const uint8_t *value = proxy_find_tlv(tlvs, n, PROXY_TYPE_UNIQUE_ID, &len);

	if (!value) {
		announced_own_id(cold, own);
		value = (const uint8_t *)own;
		len = strlen(own);
	}
	proxy_add_tlv(out, PROXY_TYPE_UNIQUE_ID, value, len);
}

void header_make(const struct trio *t, uint32_t row, const struct row_cold *cold, const struct send_proxy *how,
                 struct buf *out)
{
	const struct addr *to = cold->announced.family == AF_UNSPEC ? &cold->local : &cold->announced;
	size_t n = cold->n_tlvs < TRIO_TLVS ? cold->n_tlvs : TRIO_TLVS;
	const uint8_t *tlvs = n ? trio_tlvs(t, row) : NULL;

	if (how->version == 1) {
		proxy_put_v1(out, &cold->client, to);
		return;
	}
	proxy_begin_v2(out, &cold->client, to);
	if (how->words & SEND_UNIQUE_ID)
		say_unique_id(cold, tlvs, n, out);
	if (how->words & SEND_AUTHORITY)
		say_authority(t, row, cold, tlvs, n, out);
	if (how->words & SEND_ALPN)
		say_announced(PROXY_TYPE_ALPN, tlvs, n, out);
	if (how->words & SEND_PASS)
		pass_on(how, tlvs, n, out);
	for (size_t i = 0; i < how->n_tlvs; i++)
		proxy_add_tlv(out, how->tlvs[i].type, how->tlvs[i].text, strlen(how->tlvs[i].text));
	proxy_end_v2(out, how->words & SEND_CRC);
}

/* FNV-1a, never 0: two headers of one connection are told apart by it, no more. */
static uint32_t checksum(const struct buf *b)
{
	uint32_t sum = 2166136261;

	for (size_t i = 0; i < b->len; i++)
		sum = (sum ^ (uint8_t)b->s[i]) * 16777619;
	return sum ? sum : 1;
}

/* ---- on its way ---- */

static bool is_unix(const struct row *row)
{
	return row->flags & ROWFLAG_SERVER_UNIX;
}

/* In front of the client's stream, which has not begun. */
static int park(struct step_env *env, struct row *row, const char *bytes, size_t n)
{
	int rc = pipepool_take(&env->pool, &row->flow[CLIENT], true);
	ssize_t put;

	if (rc < 0)
		return rc;
	FAULT_POINT();
	put = write(row->flow[CLIENT].pipe_write, bytes, n);
	FAULT_POINT();
	return put == (ssize_t)n ? 0 : -ENOBUFS;
}

void header_forget(struct row *row, struct row_cold *cold)
{
	pipepool_discard(&row->flow[CLIENT].pipe_read, &row->flow[CLIENT].pipe_write);
	cold->base[CLIENT] = -(uint64_t)cold->preamble;
	barrier();
	FAULT_POINT();
	cold->greeting = 0;
	FAULT_POINT();
}

/* What this server has been told of it by us or a predecessor; what that one had parked was never on its way. */
static ssize_t told(struct row *row)
{
	struct position at;
	int rc;

	pipepool_discard(&row->flow[CLIENT].pipe_read, &row->flow[CLIENT].pipe_write);
	if (is_unix(row))
		return 0;
	rc = position_ask(row->fd[SERVER], true, true, &at);
	if (rc < 0)
		return rc;
	return at.closed ? -ECONNRESET : (ssize_t)at.written;
}

static int send_rest(struct step_env *env, struct row *row, const char *bytes, size_t n, bool more)
{
	ssize_t sent = is_unix(row) ? 0 : sock_send(row->fd[SERVER], bytes, n, more ? MSG_MORE : 0);

	FAULT_POINT();
	if (sent < 0 && sent != -EAGAIN)
		return (int)sent;
	if (sent < 0)
		sent = 0;
	return (size_t)sent < n ? park(env, row, bytes + sent, n - (size_t)sent) : 0;
}

int header_send(struct step_env *env, struct row *row, struct row_cold *cold, const struct send_proxy *how,
                uint64_t start, bool more)
{
	static struct buf header; /* its memory is kept for the next one */
	ssize_t already = cold->greeting ? told(row) : 0;
	uint32_t sum;

	if (already < 0)
		return (int)already;
	if (!how) {
		header_forget(row, cold);
		return already ? -ESTALE : 0;
	}
	if (how->words & SEND_UNIQUE_ID && !cold->uid_start)
		cold->uid_start = start;
	buf_clear(&header);
	header_make(env->trio, row_index(env->trio, row), cold, how, &header);
	sum = checksum(&header);
	if (already && (sum != cold->greeting || (size_t)already > header.len))
		return -ESTALE;
	cold->base[CLIENT] = header.len - cold->preamble;
	barrier();
	FAULT_POINT();
	cold->greeting = sum;
	barrier();
	FAULT_POINT();
	if (!more && !is_unix(row)) /* or the client's first message would be held back until this is acknowledged */
		sock_no_delay(row->fd[SERVER]);
	return (size_t)already < header.len
	               ? send_rest(env, row, header.s + already, header.len - (size_t)already, more)
	               : 0;
}
