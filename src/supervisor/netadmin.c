/*
 * netadmin.c - what needs CAP_NET_ADMIN: the process that has it is started while we still may, heard, and ended last (network/network.h).
 */
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "supervisor/state.h"

int netadmin_start(struct supervisor *s, const struct identity *id)
{
	struct buf text = BUF_INIT;
	bool ok = true;

	if (network_is_needed(s->rules.config))
		ok = network_start(&s->network, s->rules.config, id, &text);
	if (!ok)
		log_error("%s", text.s ? text.s : "\"tcpproxy: sockets\" cannot be started");
	else if (text.len)
		s->network_warnings = text.s;
	if (!ok || !text.len)
		buf_release(&text);
	return ok ? 0 : EXIT_NO_START;
}

static void netadmin_event(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct buf lines = BUF_INIT;
	bool ended = false;

	while (!ended && network_hear(&s->network, &lines, &ended)) {
		log_warning_lines(lines.s);
		buf_clear(&lines);
	}
	buf_release(&lines);
	if (!ended)
		return;
	watch_remove(&s->loop, &s->network_watch);
	close(s->network.control_fd);
	s->network.control_fd = -1;
}

void netadmin_hear(struct supervisor *s)
{
	s->children.workers.blanks = &s->network.blanks;
	if (s->network_warnings)
		log_warning_lines(s->network_warnings);
	free(s->network_warnings);
	s->network_warnings = NULL;
	if (s->network.control_fd >= 0)
		watch_keep(&s->loop, &s->network_watch, s->network.control_fd, EPOLLIN, netadmin_event, s);
}
