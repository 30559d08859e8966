/* session_headers.c - headers of the PROXY protocol in the life of a connection: what comes of one, and sending one. */
#include <unistd.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/header_out.h"
#include "proxy/session_parts.h"

/* ---- in ---- */

/* If nothing is behind it the relay need not look. */
void session_header_came(struct session *s, const struct preamble *p)
{
	if (p->nothing_more && !(s->seen & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI | EPOLLMSG)))
		s->seen &= (uint16_t)~EPOLLIN;
}

/* ---- out ---- */

int session_send_header(struct session *s)
{
	const struct server *server = session_server(s);
	const struct send_proxy *how = server ? server_send_proxy(section_of(s), server) : NULL;

	if (!how && !s->cold->greeting)
		return 0;
	return header_send(&s->engine->env, s->row, s->cold, how, s->engine->world->totals.start, s->seen & EPOLLIN);
}

void session_drop_server(struct session *s)
{
	int fd = s->row->fd[SERVER];

	if (fd < 0)
		return;
	sock_reset_on_close(fd);
	s->row->fd[SERVER] = -1; /* forgotten first, as in dial.c */
	FAULT_POINT();
	close(fd);
	header_forget(s->row, s->cold);
}
