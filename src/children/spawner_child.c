#include "children/spawner_child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "children/hearing.h"
#include "os/oom.h"
#include "os/shm.h"
#include "os/sock.h"
#include "spawner/spawnd.h"

#define LIST_MESSAGE_MAX ((size_t)8 << 20) /* more than a list program may print at a time */

/* A NUL becomes a character that no list has, so it cannot hide what follows. */
static char *text_of(const char *bytes, size_t len)
{
	char *text = mem_strndup("", 0);

	text = mem_resize(text, len + 1, 1);
	for (size_t i = 0; i < len; i++)
		text[i] = bytes[i] ? bytes[i] : '\1';
	text[len] = '\0';
	return text;
}

static void spawner_listed(struct spawner_child *s, int fd)
{
	const void *map;
	size_t len;
	char *text, *newline;

	if (shm_map_sealed(fd, &map, &len) < 0)
		return;
	if (len <= LIST_MESSAGE_MAX) {
		text = text_of(map, len);
		newline = strchr(text, '\n');
		if (newline && s->listed) {
			*newline = '\0';
			s->listed(s->listed_arg, text, newline + 1);
		}
		free(text);
	}
	munmap((void *)map, len);
}

static void spawner_said(struct spawner_child *s, struct said *m, size_t len, int fd)
{
	const char *text = said_text(m, len);

	if (text && m->wire.type == WIRE_STDERR && fd >= 0) {
		stderrs_keep(s->stderrs, fd, text);
		return;
	}
	if (len == sizeof(m->wire) && m->wire.type == WIRE_LIST && fd >= 0)
		spawner_listed(s, fd);
	if (text && m->wire.type == WIRE_LINE)
		hearing_line(m, s->workers->logger, "spawner", &s->workers->world->totals.lines_lost);
	if (fd >= 0)
		close(fd);
}

static bool hear(struct spawner_child *s, int control_fd)
{
	for (int n = 0; n < HEAR_AT_ONCE; n++) {
		struct said m;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(control_fd, &m, sizeof(m), &fd, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return true;
		if (len <= 0)
			return false;
		spawner_said(s, &m, (size_t)len, n_fds == 1 ? fd : -1);
	}
	return true;
}

bool spawner_child_hear(struct spawner_child *s)
{
	return hear(s, s->child.control.fd);
}

static void lost(struct spawner_child *s)
{
	if (s->child.control.fd < 0)
		return;
	spawner_child_hear(s); /* what it has said so far */
	lastwords_hear(&s->child.words);
	child_stop_hearing(&s->child);
	stderrs_read(s->stderrs);
}

static void spawner_child_control_event(void *arg, uint32_t events)
{
	struct spawner_child *s = arg;

	if (events & EPOLLOUT)
		outbox_flush(&s->child.outbox);
	if (!spawner_child_hear(s))
		lost(s);
}

static void spawner_child_old_event(void *arg, uint32_t events)
{
	struct spawner_child *s = arg;
	int fd = s->old.fd;

	if (hear(s, fd))
		return;
	watch_remove(s->workers->loop, &s->old);
	close(fd);
}

void spawner_child_hear_old(struct spawner_child *s)
{
	if (s->old_fd < 0)
		return;
	/* it sees that its supervisor is gone, and can still speak */
	shutdown(s->old_fd, SHUT_WR);
	watch_keep(s->workers->loop, &s->old, s->old_fd, EPOLLIN, spawner_child_old_event, s);
}

/* ---- the child ---- */

static void spawner_child_become(void *arg, int control_fd, int err)
{
	struct spawner_child *s = arg;
	struct spawnd_setup setup = {.trios = s->workers->trios,
	                             .n_trios = s->workers->n,
	                             .control_fd = control_fd,
	                             .programs = &s->workers->world->programs,
	                             .nofile = s->nofile,
	                             .umask = s->umask};

	child_settle("tcpproxy: spawner", err, &control_fd, 1);
	_exit(spawnd_run(&setup));
}

/* ---- its life ---- */

/* A worker that has one gets another; so all can be done again when there was none for one of them. */
static int give_channels(struct spawner_child *s)
{
	for (uint32_t i = 0; i < s->workers->n; i++) {
		struct wire w = {.type = WIRE_CHANNEL, .trio = i};
		int pair[2], rc = sock_message_pair(pair);

		if (rc < 0)
			return rc;
		outbox_send(&s->child.outbox, &w, &pair[0], 1);
		worker_send(&s->workers->list[i], &w, &pair[1], 1);
		close(pair[0]);
		close(pair[1]);
	}
	s->anew(s->arg);
	return 0;
}

void spawner_child_give_checker(struct spawner_child *s, int fd)
{
	const struct wire w = {.type = WIRE_CHANNEL, .trio = WIRE_TRIO_CHECKER};

	outbox_send(&s->child.outbox, &w, &fd, 1);
}

void spawner_child_give_notices(struct spawner_child *s, int fd)
{
	const struct wire w = {.type = WIRE_CHANNEL, .trio = WIRE_TRIO_SUPERVISOR};

	outbox_send(&s->child.outbox, &w, &fd, 1);
}

void spawner_child_tell_rules(struct spawner_child *s)
{
	const struct rules *rules = s->workers->rules;

	if (s->child.control.fd >= 0)
		outbox_send(&s->child.outbox, &(struct wire){.type = WIRE_RULES, .generation = rules->generation},
		            &rules->fd, 1);
}

int spawner_child_start(struct spawner_child *s)
{
	int rc;

	if (s->child.pid > 0 && s->child.control.fd >= 0)
		return give_channels(s);
	rc = child_start(&s->child, oom_fork, "spawner", spawner_child_become, spawner_child_control_event, s);
	if (rc < 0)
		return rc;
	spawner_child_tell_rules(s);
	return give_channels(s);
}

static int start_it(void *arg)
{
	return spawner_child_start(arg);
}

void spawner_child_init(struct spawner_child *s)
{
	s->stderrs = stderrs_new(s->workers->loop);
	child_init(&s->child, s->workers->loop, "the spawner", start_it, NULL, s);
}

void spawner_child_start_late(struct spawner_child *s)
{
	again_start(&s->child.again);
}

void spawner_child_died(struct spawner_child *s, int status)
{
	s->child.pid = 0;
	lost(s);
	if (*s->workers->phase != PHASE_STOPPING)
		child_replace(&s->child, status);
}

void spawner_child_revive(struct spawner_child *s)
{
	if (!s->child.started_ms || s->child.pid > 0)
		return;
	again_start(&s->child.again);
	if (again_is_pending(&s->child.again))
		log_error("stopping without a spawner: handler programs that run are not ended, see ps -ef");
	again_cancel(&s->child.again);
}

void spawner_child_stop(struct spawner_child *s)
{
	outbox_send(&s->child.outbox, &(struct wire){.type = WIRE_STOP}, NULL, 0);
}

void spawner_child_kill(struct spawner_child *s)
{
	if (s->child.pid > 0)
		kill(s->child.pid, SIGKILL);
}
