/*
 * spawning.c - the spawner, as the supervisor sees it: started, given channels to all trios, heard, replaced.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
#include "daemon/spawnd.h"
#include "daemon/supervisor.h"
#include "os/proc.h"
#include "os/sock.h"
#include "os/user.h"
#include "proxy/accesslog.h"

struct spawner_message {
	struct wire wire;
	struct line_message line;
};

static void spawner_said(struct supervisor *s, struct spawner_message *m, size_t len, int fd)
{
	if (len >= sizeof(*m) || len < offsetof(struct spawner_message, line.text)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	((char *)m)[len] = '\0';
	if (m->wire.type == WIRE_STDERR && fd >= 0) {
		stderrs_keep(s->stderrs, fd, m->line.text);
		return;
	}
	if (m->wire.type == WIRE_LINE)
		logger_line(s->logger, m->line.level, m->line.text, m->line.wall_us);
	if (fd >= 0)
		close(fd);
}

static bool hear(struct supervisor *s, int control_fd)
{
	for (;;) {
		struct spawner_message m;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(control_fd, &m, sizeof(m), &fd, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return true;
		if (len <= 0)
			return false;
		spawner_said(s, &m, (size_t)len, n_fds == 1 ? fd : -1);
	}
}

bool spawner_hear(struct supervisor *s)
{
	return hear(s, s->spawner_control.fd);
}

static void spawner_event(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	if (!spawner_hear(s))
		spawner_lost(s);
}

void spawner_lost(struct supervisor *s)
{
	int fd = s->spawner_control.fd;

	if (fd < 0)
		return;
	spawner_hear(s); /* its last words */
	watch_remove(&s->loop, &s->spawner_control);
	close(fd);
	stderrs_read(s->stderrs);
}

static void old_spawner_event(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	int fd = s->old_spawner.fd;

	if (hear(s, fd))
		return;
	watch_remove(&s->loop, &s->old_spawner);
	close(fd);
}

void spawner_hear_old(struct supervisor *s)
{
	if (s->old_spawner_fd < 0)
		return;
	/* it sees that its supervisor is gone, and can still speak */
	shutdown(s->old_spawner_fd, SHUT_WR);
	watch_add(&s->loop, &s->old_spawner, s->old_spawner_fd, EPOLLIN, old_spawner_event, s);
}

static _Noreturn void become_spawner(struct supervisor *s, int control_fd)
{
	struct spawnd_setup setup = {.trios = s->trios,
				     .n_trios = s->n_crews,
				     .control_fd = control_fd,
				     .nofile = s->nofile_before,
				     .umask = s->umask_before};

	proc_title("tcpproxy: spawner");
	proc_reset_signals();
	proc_close_except(3, &control_fd, 1);
	proc_null_streams(s->setup->daemon ? 2 : 1);
	user_drop_capabilities();
	_exit(spawnd_run(&setup));
}

static void give_channels(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_crews; i++) {
		struct wire w = {.type = WIRE_CHANNEL, .generation = i};
		int pair[2];

		if (sock_message_pair(pair) < 0)
			continue;
		sock_send_message(s->spawner_control.fd, &w, sizeof(w), &pair[0], 1);
		crew_send(&s->crews[i], &w, &pair[1], 1);
		close(pair[0]);
		close(pair[1]);
	}
}

int spawner_start(struct supervisor *s)
{
	struct wire rules = {.type = WIRE_RULES, .generation = s->generation};
	int pair[2];
	int rc;

	if (s->spawner_pid > 0 && s->spawner_control.fd >= 0) {
		give_channels(s); /* it runs: only the channels are made anew */
		return 0;
	}
	rc = sock_message_pair(pair);
	if (rc < 0)
		return rc;
	s->spawner_pid = fork();
	if (s->spawner_pid == 0)
		become_spawner(s, pair[1]);
	rc = s->spawner_pid < 0 ? -errno : 0;
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	s->spawner_started_ms = s->loop.now_ms;
	watch_add(&s->loop, &s->spawner_control, pair[0], EPOLLIN, spawner_event, s);
	sock_send_message(pair[0], &rules, sizeof(rules), &s->rules_fd, 1);
	give_channels(s);
	return 0;
}
