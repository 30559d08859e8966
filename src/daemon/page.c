#include "daemon/page.h"

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
#include "daemon/pageserver.h"
#include "daemon/supervisor.h"
#include "os/proc.h"
#include "os/shm.h"
#include "os/sock.h"
#include "os/user.h"
#include "proxy/accesslog.h"

#define BACKLOG    128
#define RESPAWN_MS 500
#define FDS_MAX    64

/* ---- the child ---- */

/* From here on it can see everything and change nothing. */
static int make_maps_read_only(struct supervisor *s)
{
	int rc = shm_make_read_only(s->world, sizeof(*s->world), s->world_fd);

	for (uint32_t i = 0; i < s->n_crews && rc == 0; i++)
		rc = shm_make_read_only(s->crews[i].trio, s->crews[i].trio->total_size,
		                        s->crews[i].memfd);
	return rc;
}

static _Noreturn void become_page(struct supervisor *s, int control_fd, int supervisor_pid)
{
	struct pageserver_setup setup = {.control_fd = control_fd,
	                                 .sockets = &s->admin_sockets,
	                                 .world = s->world,
	                                 .trios = s->trios,
	                                 .n_trios = s->n_crews,
	                                 .history = s->page.history,
	                                 .supervisor_pid = supervisor_pid,
	                                 .config_path = s->setup->config_path,
	                                 .config = s->config,
	                                 .generation = s->generation};
	int keep[FDS_MAX] = {control_fd};
	size_t n = 1;

	proc_title("tcpproxy: admin");
	proc_reset_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor_pid || make_maps_read_only(s) < 0)
		_exit(1);
	for (size_t i = 0; i < s->admin_sockets.n && n < FDS_MAX; i++)
		if (s->admin_sockets.list[i].page)
			keep[n++] = s->admin_sockets.list[i].fd;
	proc_close_except(3, keep, n);
	proc_null_streams(2);
	user_drop_capabilities();
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#if HAVE_PAGE
	_exit(pageserver_run(&setup));
#else
	(void)setup;
	_exit(PAGE_NO_LIBRARY);
#endif
}

/* ---- what it says ---- */

static void obey(struct supervisor *s, const struct wire *w, int fd)
{
	bool steering = false;

	for (size_t i = 0; i < s->admin_sockets.n; i++)
		steering |= s->admin_sockets.list[i].token != NULL;
	if (w->type == WIRE_WANT_FACTS)
		admin_want_facts(s);
	if (w->type == WIRE_COMMAND && fd >= 0 && steering)
		admin_welcome(s, fd);
	else if (fd >= 0)
		close(fd);
}

static void control_event(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	for (;;) {
		struct {
			struct wire wire;
			struct line_message line;
		} m;
		const size_t head = offsetof(__typeof__(m), line.text);
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(s->page.control.fd, &m, sizeof(m) - 1, &fd, &n_fds);

		if (len == -EAGAIN || len == -EINTR)
			return;
		if (len < (int)sizeof(m.wire)) { /* its end is told by its death */
			watch_change(&s->loop, &s->page.control, 0);
			return;
		}
		if (m.wire.type == WIRE_LINE && (size_t)len >= head) {
			((char *)&m)[len] = '\0';
			logger_line(s->logger, m.line.level, m.line.text, m.line.wall_us);
		}
		obey(s, &m.wire, n_fds == 1 ? fd : -1);
	}
}

/* ---- its life ---- */

static bool wanted(const struct supervisor *s)
{
	for (size_t i = 0; i < s->admin_sockets.n; i++)
		if (s->admin_sockets.list[i].page)
			return !s->stopping;
	return false;
}

/* What it serves; it must be another process if this changes. */
static char *points_text(const struct supervisor *s)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < s->admin_sockets.n; i++)
		if (s->admin_sockets.list[i].page)
			buf_addf(&text, "%s %s\n", s->admin_sockets.list[i].path,
			         s->admin_sockets.list[i].token ? s->admin_sockets.list[i].token
			                                        : "");
	return buf_detach(&text);
}

static void make_history(struct supervisor *s)
{
	void *map;
	int fd;

	if (s->page.history)
		return;
	fd = shm_new("tcpproxy-history", sizeof(struct history), &map);
	if (fd < 0)
		return;
	close(fd);
	s->page.history = map;
	logger_remember(s->logger, map);
}

/* Nobody accepts there until somebody listens again. */
static void refuse_all(struct supervisor *s)
{
	for (size_t i = 0; i < s->admin_sockets.n; i++)
		if (s->admin_sockets.list[i].page)
			shutdown(s->admin_sockets.list[i].fd, SHUT_RD);
}

static void listen_all(struct supervisor *s)
{
	for (size_t i = 0; i < s->admin_sockets.n; i++)
		if (s->admin_sockets.list[i].page)
			listen(s->admin_sockets.list[i].fd, BACKLOG);
}

static int start(struct supervisor *s)
{
	pid_t supervisor = getpid();
	int pair[2], rc;

	make_history(s);
	rc = s->page.history ? sock_message_pair(pair) : -ENOMEM;
	if (rc < 0)
		return rc;
	listen_all(s);
	s->page.pid = fork();
	if (s->page.pid == 0)
		become_page(s, pair[1], supervisor);
	rc = s->page.pid < 0 ? -errno : 0;
	close(pair[1]);
	if (rc == 0)
		rc = watch_add(&s->loop, &s->page.control, pair[0], EPOLLIN, control_event, s);
	if (rc < 0)
		close(pair[0]);
	s->page.started_ms = s->loop.now_ms;
	free(s->page.points);
	s->page.points = points_text(s);
	return rc;
}

static void start_again(void *arg)
{
	struct supervisor *s = arg;

	if (wanted(s) && start(s) < 0)
		timer_set(&s->loop, &s->page.timer, s->loop.now_ms + RESPAWN_MS, start_again, s);
}

void page_start(struct supervisor *s)
{
	start_again(s);
}

/* It is ours no longer; it sees that, finishes what it has begun, and ends. */
static void let_go(struct supervisor *s)
{
	int fd = s->page.control.fd;

	timer_clear(&s->loop, &s->page.timer);
	s->page.pid = 0;
	if (fd < 0)
		return;
	watch_remove(&s->loop, &s->page.control);
	close(fd);
}

void page_reload(struct supervisor *s)
{
	struct wire rules = {.type = WIRE_RULES, .generation = s->generation};
	char *points = points_text(s);
	bool same = s->page.pid > 0 && strcmp(points, s->page.points) == 0;

	free(points);
	if (same) {
		sock_send_message(s->page.control.fd, &rules, sizeof(rules), &s->rules_fd, 1);
		return;
	}
	let_go(s);
	page_start(s);
}

void page_died(struct supervisor *s, int status)
{
	int64_t next = s->page.started_ms + RESPAWN_MS;

	if (s->page.control.fd >= 0)
		control_event(s, 0); /* its last words */
	let_go(s);
	if (s->stopping)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == PAGE_NO_LIBRARY) {
		refuse_all(s);
		return;
	}
	if (WIFSIGNALED(status))
		log_error("the admin process was killed by signal %d and is replaced",
		          WTERMSIG(status));
	else
		log_error("the admin process has ended and is replaced");
	timer_set(&s->loop, &s->page.timer, next > s->loop.now_ms ? next : s->loop.now_ms,
	          start_again, s);
}

void page_stop(struct supervisor *s)
{
	pid_t pid = s->page.pid;

	let_go(s);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
