#include "children/page_child.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "children/hearing.h"
#include "os/oom.h"
#include "os/shm.h"
#include "os/sock.h"
#include "page/pageserver.h"

#define PAGE_CHILD_BACKLOG 128
#define FDS_MAX            64

/* ---- the child ---- */

/* From here on it can see everything and change nothing. */
static int make_maps_read_only(struct page_child *p)
{
	int rc = world_only_read(p->workers->world, &p->workers->world_fds);

	for (uint32_t i = 0; i < p->workers->n && rc == 0; i++)
		rc = shm_make_read_only(p->workers->list[i].trio, trio_size, p->workers->list[i].memfd);
	return rc;
}

static void page_child_become(void *arg, int control_fd, int err)
{
	struct page_child *p = arg;
	struct pageserver_setup setup = {.control_fd = control_fd,
	                                 .sockets = p->sockets,
	                                 .world = p->workers->world,
	                                 .trios = p->workers->trios,
	                                 .n_trios = p->workers->n,
	                                 .history = p->history,
	                                 .supervisor_pid = p->supervisor_pid,
	                                 .config_path = p->config_path,
	                                 .config = p->workers->rules->config,
	                                 .generation = p->workers->rules->generation,
	                                 .again = p->child.started_ms > 0};
	int keep[FDS_MAX] = {control_fd};
	size_t n = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != p->supervisor_pid || make_maps_read_only(p) < 0)
		_exit(1);
	for (size_t i = 0; i < p->sockets->n && n < FDS_MAX; i++)
		if (p->sockets->list[i].page)
			keep[n++] = p->sockets->list[i].fd;
	child_settle("tcpproxy: admin", err, keep, n);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#if HAVE_PAGE
	_exit(pageserver_run(&setup));
#else
	(void)setup;
	_exit(PAGE_NO_LIBRARY);
#endif
}

/* ---- what it says ---- */

static void dispatch(struct page_child *p, const struct wire *w, int fd)
{
	bool steering = false;
	for (size_t i = 0; i < p->sockets->n; i++)
		steering |= p->sockets->list[i].token != NULL;
	if (w->type == WIRE_WANT_TCP_INFO)
		p->events->wants_tcp_info(p->arg);
	if (w->type == WIRE_COMMAND && fd >= 0 && steering)
		p->events->client(p->arg, fd, &w->client);
	else if (fd >= 0)
		close(fd);
}

static void page_child_control_event(void *arg, uint32_t events)
{
	struct page_child *p = arg;

	if (events & EPOLLOUT)
		outbox_flush(&p->child.outbox);
	for (int n = 0; n < HEAR_AT_ONCE; n++) {
		struct said m;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(p->child.control.fd, &m, sizeof(m) - 1, &fd, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return;
		if (len < (int)sizeof(m.wire)) {
			if (n_fds == 1)
				close(fd);
			/* it is dead, which the kernel tells, too, or says what it never says: a hang-up cannot be
			 * left out of what is waited for */
			child_stop_hearing(&p->child);
			return;
		}
		if (m.wire.type == WIRE_LINE && said_text(&m, (size_t)len))
			hearing_line(&m, p->workers->logger, "admin", &p->workers->world->totals.lines_lost);
		dispatch(p, &m.wire, n_fds == 1 ? fd : -1);
	}
}

/* ---- its life ---- */

static bool wanted(const struct page_child *p)
{
	for (size_t i = 0; i < p->sockets->n; i++)
		if (p->sockets->list[i].page)
			return *p->workers->phase != PHASE_STOPPING;
	return false;
}

/* What it serves; it must be another process if this changes. */
static char *points_text(const struct page_child *p)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < p->sockets->n; i++)
		if (p->sockets->list[i].page)
			buf_addf(&text, "%s %s\n", p->sockets->list[i].path,
			         p->sockets->list[i].token ? p->sockets->list[i].token : "");
	return buf_detach(&text);
}

static void make_history(struct page_child *p)
{
	void *map;
	int fd;

	if (p->history)
		return;
	fd = shm_new("tcpproxy-history", sizeof(struct history), &map);
	if (fd < 0)
		return;
	close(fd);
	p->history = map;
	logger_remember(p->workers->logger, map);
}

/* No connection is accepted there until listen_all(). */
static void refuse_all(struct page_child *p)
{
	for (size_t i = 0; i < p->sockets->n; i++)
		if (p->sockets->list[i].page)
			shutdown(p->sockets->list[i].fd, SHUT_RD);
}

static void listen_all(struct page_child *p)
{
	for (size_t i = 0; i < p->sockets->n; i++)
		if (p->sockets->list[i].page)
			listen(p->sockets->list[i].fd, PAGE_CHILD_BACKLOG);
}

static int page_child_start_now(void *arg)
{
	struct page_child *p = arg;
	int rc;

	if (!wanted(p))
		return 0;
	make_history(p);
	if (!p->history)
		return -ENOMEM;
	listen_all(p);
	p->supervisor_pid = getpid();
	rc = child_start(&p->child, oom_fork, "admin", page_child_become, page_child_control_event, p);
	if (rc < 0)
		return rc;
	free(p->points);
	p->points = points_text(p);
	return 0;
}

void page_child_init(struct page_child *p)
{
	child_init(&p->child, p->workers->loop, "the admin process", page_child_start_now, NULL, p);
}

void page_child_start(struct page_child *p)
{
	again_start(&p->child.again);
}

/* It is ours no longer; it sees that, finishes what it has begun, and ends. */
static void let_go(struct page_child *p)
{
	again_cancel(&p->child.again);
	p->child.pid = 0;
	if (p->child.control.fd >= 0)
		child_stop_hearing(&p->child);
}

void page_child_reload(struct page_child *p)
{
	struct wire rules = {.type = WIRE_RULES, .generation = p->workers->rules->generation};
	char *points = points_text(p);
	bool same = p->child.pid > 0 && strcmp(points, p->points) == 0;

	free(points);
	if (same) {
		outbox_send(&p->child.outbox, &rules, &p->workers->rules->fd, 1);
		return;
	}
	let_go(p);
	page_child_start(p);
}

void page_child_died(struct page_child *p, int status)
{
	if (p->child.control.fd >= 0)
		page_child_control_event(p, 0); /* what it has said so far */
	lastwords_hear(&p->child.words);
	let_go(p);
	if (*p->workers->phase == PHASE_STOPPING)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == PAGE_NO_LIBRARY) {
		refuse_all(p);
		return;
	}
	child_replace(&p->child, status);
}

void page_child_stop(struct page_child *p)
{
	pid_t pid = p->child.pid;

	let_go(p);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
