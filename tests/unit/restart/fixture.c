#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "ipc/accesslog.h"
#include "os/proc.h"
#include "os/sock.h"

#define LOG_ROOM 8192
#define REAP_MS  2000 /* for what was told to end */

struct loop loop;
enum phase phase;
struct children children;
struct rules rules;
struct files files;
struct network network;
struct admin_sockets admin_sockets;
int theirs[FIXTURE_WORKERS];
int spawner_theirs;
int gone, idle;
int64_t *now_ms;
char *log_text;
struct wire fixture_wire;
int *fixture_ends;
size_t fixture_n_ends;

static struct worker list[FIXTURE_WORKERS];
static struct admin_socket admin_socket;
static size_t fds_before;
static int logged_fd, manager = -1;
static char text[4096]; /* what is returned */

int64_t __wrap_clock_mono_ms(void);

int64_t __wrap_clock_mono_ms(void)
{
	return *now_ms;
}

int64_t fixture_real_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- a supervisor ---- */

static void take_line(void *arg, enum log_level level, const char *line)
{
	size_t len = strlen(log_text);

	snprintf(log_text + len, LOG_ROOM - len, "%s\n", line);
}

static int open_log(void *arg, const char *path)
{
	return fcntl(logged_fd, F_DUPFD_CLOEXEC, 3);
}

static void begin_log(void)
{
	static char path[] = "/log";
	static const struct log_target target = {.kind = LOG_TO_FILE, .path = path};
	static const struct logger_ops ops = {.open_file = open_log};
	struct buf error = BUF_INIT;

	log_set_sink(take_line, NULL);
	*log_text = '\0';
	logged_fd = memfd_create("log", MFD_CLOEXEC);
	children.workers.logger = logger_new(&target, 1, &ops, &error);
	assert_non_null(children.workers.logger);
}

static void ignore(void *arg, uint32_t events)
{
	(void)arg;
}

static void on_idle(void *arg)
{
	idle++;
}

static void on_gone(void *arg)
{
	gone++;
}

static void begin_worker(uint32_t i)
{
	struct worker *w = &list[i];
	int pair[2];

	*w = (struct worker){.workers = &children.workers, .number = i, .adopted = true, .door_fd = -1};
	w->memfd = trio_new(i, 8, &w->trio);
	assert_true(w->memfd >= 0);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->ring = trio_ring(w->trio);
	assert_int_equal(sock_message_pair(pair), 0);
	theirs[i] = pair[1];
	outbox_init(&w->child.outbox, &loop, &w->child.control, NULL, NULL);
	assert_int_equal(watch_add(&loop, &w->child.control, pair[0], EPOLLIN, ignore, NULL), 0);
}

static void begin_workers(void)
{
	static const struct workers_events events = {.idle = on_idle, .gone = on_gone};
	struct workers *ws = &children.workers;

	ws->loop = &loop;
	ws->phase = &phase;
	ws->rules = &rules;
	ws->what = "fixture";
	ws->key = 0x1234567890abcdef;
	ws->events = &events;
	ws->list = list;
	ws->n = FIXTURE_WORKERS;
	assert_int_equal(world_new(&ws->world, &ws->world_fds), 0);
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		begin_worker(i);
}

static void begin_spawner(void)
{
	int pair[2];

	assert_int_equal(sock_message_pair(pair), 0);
	children.spawner.child.control.fd = pair[0];
	spawner_theirs = pair[1];
	getrlimit(RLIMIT_NOFILE, &children.spawner.nofile);
}

static void begin_admin(void)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};
	int fd = sock_new_unix();

	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family)), 0); /* a name that is free */
	assert_int_equal(listen(fd, 1), 0);
	admin_socket = (struct admin_socket){.path = strdup(FIXTURE_ADMIN), .fd = fd};
	admin_sockets = (struct admin_sockets){.list = &admin_socket, .n = 1};
}

static void *shared(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

int fixture_setup(void **state)
{
	fds_before = fixture_open_fds();
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!now_ms) {
		now_ms = shared(sizeof(*now_ms));
		log_text = shared(LOG_ROOM);
	}
	*now_ms = 1000000;
	gone = idle = 0;
	phase = PHASE_SERVING;
	files = (struct files){.fd = -1};
	network = NETWORK_NONE;
	rules = (struct rules){.fd = -1};
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	children_none(&children);
	begin_log();
	begin_workers();
	children_init(&children);
	begin_spawner();
	begin_admin();
	return 0;
}

static void end_worker(struct worker *w)
{
	int fd = w->child.control.fd;

	watch_remove(&loop, &w->child.control);
	close(fd);
	outbox_clear(&w->child.outbox);
	close(w->wake_fd);
	close(w->memfd);
	trio_unmap(w->trio);
}

int fixture_teardown(void **state)
{
	struct workers *ws = &children.workers;

	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		end_worker(&list[i]);
		close(theirs[i]);
	}
	world_unmap(ws->world);
	close(ws->world_fds.said);
	close(ws->world_fds.shared);
	close(children.spawner.child.control.fd);
	close(spawner_theirs);
	free(children.spawner.stderrs);
	close(admin_socket.fd);
	free(admin_socket.path);
	logger_free(ws->logger);
	close(logged_fd);
	loop_release(&loop);
	fixture_manager_end();
	fixture_reap();
	assert_int_equal(fixture_open_fds(), fds_before);
	return 0;
}

void fixture_turn(void)
{
	assert_int_equal(loop_turn(&loop, 2), 0);
}

void fixture_pass(int64_t ms)
{
	*now_ms += ms;
	assert_int_equal(loop_turn(&loop, 0), 0);
}

/* ---- processes and descriptors ---- */

static void sleep_on(void)
{
	for (;;)
		pause();
}

pid_t fixture_fork(void (*fn)(void))
{
	int settled[2];
	char none;
	pid_t pid;

	assert_int_equal(pipe2(settled, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0) {
		close(settled[1]);
		assert_int_equal(read(settled[0], &none, 1), 0);
		close(settled[0]);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(2 * FIXTURE_PATIENCE_MS / 1000);
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		close(theirs[i]);
	close(spawner_theirs);
	if (manager >= 0)
		close(manager);
	for (size_t i = 0; i < fixture_n_ends; i++)
		close(fixture_ends[i]);
	loop_release(&loop); /* that is the test's, and what it watches */
	loop_init(&loop, -1, NULL, 16);
	if (fn == sleep_on)
		proc_close_except(3, NULL, 0);
	else
		for (int i = 0; i < 2; i++)
			close(settled[i]);
	fn();
	_exit(99);
}

pid_t fixture_sleeper(void)
{
	return fixture_fork(sleep_on);
}

bool fixture_runs(pid_t pid)
{
	siginfo_t info = {.si_pid = 0};

	return kill(pid, 0) == 0 &&
	       (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0);
}

int fixture_end_of(pid_t pid)
{
	int status = -1;

	UNTIL(waitpid(pid, &status, WNOHANG) == pid);
	return status;
}

void fixture_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	fixture_end_of(pid);
}

void fixture_reap(void)
{
	int64_t end = fixture_real_ms() + REAP_MS;
	bool left = false;
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0) {
		if (fixture_real_ms() > end && proc_first_child() > 0) {
			left = true;
			kill(proc_first_child(), SIGKILL);
		}
		if (pid == 0)
			poll(NULL, 0, 1);
	}
	assert_false(left);
}

size_t fixture_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

bool fixture_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

bool fixture_goes_over_exec(int fd)
{
	return fcntl(fd, F_GETFD) == 0;
}

/* ---- the trios ---- */

static const char *word_of(uint32_t type)
{
	static const char *const words[] = {
	        [WIRE_STOP] = "STOP", [WIRE_ADOPT] = "ADOPT", [WIRE_RETIRE] = "RETIRE", [WIRE_GIVE] = "GIVE",
	        [WIRE_TAKE] = "TAKE", [WIRE_QUIT] = "QUIT",   [WIRE_REEXEC] = "REEXEC",
	};

	return type < sizeof(words) / sizeof(*words) && words[type] ? words[type] : "?";
}

const char *fixture_read(int fd)
{
	size_t len = 0;

	*text = '\0';
	for (;;) {
		int fds[SOCK_MAX_FDS], rc;
		size_t n = SOCK_MAX_FDS;

		rc = sock_recv_message(fd, &fixture_wire, sizeof(fixture_wire), fds, &n);
		if (rc <= 0)
			return text;
		assert_int_equal(rc, sizeof(fixture_wire));
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "",
		                        word_of(fixture_wire.type));
		if (n > 0)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "+%zu", n);
		while (n > 0)
			close(fds[--n]);
	}
}

const char *fixture_await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, FIXTURE_PATIENCE_MS), 1);
	return fixture_read(fd);
}

void fixture_say(int fd, const struct wire *w)
{
	assert_int_equal(sock_send_message(fd, w, sizeof(*w), NULL, 0), 0);
}

/* ---- the log ---- */

const char *fixture_logged(void)
{
	ssize_t n = pread(logged_fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

void fixture_write_line(uint32_t worker, const char *line)
{
	struct line_message m = {.level = LOG_LEVEL_INFO};

	snprintf(m.text, sizeof(m.text), "%s", line);
	ring_put(list[worker].ring, TRIO_RING, MESSAGE_LINE, &m, offsetof(struct line_message, text) + strlen(line));
}

/* ---- the manager ---- */

void fixture_manager_begin(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char name[64];
	int len = snprintf(name, sizeof(name), "@tcpproxy-test-restart-%d", (int)getpid());

	memcpy(sun.sun_path, name, (size_t)len);
	sun.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&sun,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)),
	                 0);
	setenv("NOTIFY_SOCKET", name, 1);
}

const char *fixture_manager_hear(int *fd)
{
	struct pollfd p = {.fd = manager, .events = POLLIN};
	size_t n = 1;
	int len;

	assert_int_equal(poll(&p, 1, FIXTURE_PATIENCE_MS), 1);
	*fd = -1;
	len = sock_recv_message(manager, text, sizeof(text) - 1, fd, &n);
	assert_true(len > 0);
	text[len] = '\0';
	return text;
}

bool fixture_manager_has_heard_all(void)
{
	struct pollfd p = {.fd = manager, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

void fixture_manager_end(void)
{
	if (manager >= 0)
		close(manager);
	manager = -1;
	unsetenv("NOTIFY_SOCKET");
}
