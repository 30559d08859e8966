/* explain_proxy.c - headers of the PROXY protocol, in the answer of explain.h. */
#include <string.h>

#include "base/proxy_header.h"
#include "config/explain.h"

const struct addr *explain_header_in(const struct section *s, const struct explain *q, struct buf *out)
{
	const struct addr *peer = q->via.family == AF_UNSPEC ? &q->client : &q->via;
	const char *must = s->accept_proxy && s->accept_proxy->optional ? "may" : "must";
	bool expected = accept_proxy_expects(s->accept_proxy, peer);
	char text[ADDR_TEXT_MAX];

	if (!s->accept_proxy && q->via.family == AF_UNSPEC)
		return &q->client;
	addr_format(peer, text);
	if (!expected)
		buf_addf(out, "header: %s sends no PROXY header: it is the client itself\n", text);
	else if (q->via.family == AF_UNSPEC)
		buf_addf(out,
		         "header: %s %s send a PROXY header first, and the client is who that says (via=ADDRESS)\n",
		         text, must);
	else
		buf_addf(out, "header: %s %s send a PROXY header first, which says that the client is another\n", text,
		         must);
	return expected ? &q->client : peer;
}

/* As long as it is without what clients have announced. */
static size_t length_of(const struct send_proxy *how, const struct addr *from, const struct addr *to)
{
	static const char id[32];
	struct buf header = BUF_INIT;
	size_t len;

	if (how->version == 1) {
		proxy_put_v1(&header, from, to);
	} else {
		proxy_begin_v2(&header, from, to);
		if (how->words & SEND_UNIQUE_ID)
			proxy_add_tlv(&header, PROXY_TYPE_UNIQUE_ID, id, sizeof(id));
		for (size_t i = 0; i < how->n_tlvs; i++)
			proxy_add_tlv(&header, how->tlvs[i].type, how->tlvs[i].text, strlen(how->tlvs[i].text));
		proxy_end_v2(&header, how->words & SEND_CRC);
	}
	len = header.len;
	buf_release(&header);
	return len;
}

void explain_header_out(const struct section *s, const struct server *server, const struct explain *q, struct buf *out)
{
	const struct send_proxy *how = server_send_proxy(s, server);
	struct addr to = q->local;
	bool more;

	if (!how)
		return;
	if (to.family == AF_UNSPEC) /* one of its own family */
		to.family = q->client.family;
	more = how->version == 1 || how->words & (SEND_AUTHORITY | SEND_ALPN | SEND_PASS);
	buf_addf(out, "first: PROXY v%u, %s%zu bytes\n", how->version, more ? "about " : "",
	         length_of(how, &q->client, &to));
}

/* By the address of a server that is called by one; a name's are not known here. */
void explain_source(const struct config *c, const struct section *s, const struct server *server,
                    const struct explain *q, struct buf *out)
{
	char text[ADDR_TEXT_MAX];
	bool other = server->addr.family != AF_UNSPEC && server->addr.family != q->client.family;

	if (server->kind != SERVER_HOST)
		return;
	if (s->source_client != SOURCE_CLIENT_NO && other)
		buf_addf(out, "source: this machine's address: %s is of the other family than the server\n",
		         addr_format(&q->client, text));
	else if (s->source_client != SOURCE_CLIENT_NO)
		buf_addf(out, "source: %s, the client's own%s\n", addr_format(&q->client, text),
		         s->source_client == SOURCE_CLIENT_PORT ? ", and its port if that is free" : "");
	else if (s->source.family != AF_UNSPEC)
		buf_addf(out, "source: %s\n", addr_format_zone(&s->source, config_zone(c, s->source_zone), text));
}
