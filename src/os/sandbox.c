#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/landlock.h"

#if HAVE_SECCOMP
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* What the data plane, its timers, its memory and the replacing of keepers need. */
static const int worker_calls[] = {
        SCMP_SYS(accept4),
        SCMP_SYS(bind),
        SCMP_SYS(brk),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(close),
        SCMP_SYS(close_range),
        SCMP_SYS(connect),
        SCMP_SYS(dup3),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(fstat),
        SCMP_SYS(futex),
        SCMP_SYS(getpeername),
        SCMP_SYS(getpid),
        SCMP_SYS(getsockname),
        SCMP_SYS(getsockopt),
        SCMP_SYS(gettid),
        SCMP_SYS(getrandom),
        SCMP_SYS(lseek),
        SCMP_SYS(madvise),
        SCMP_SYS(mmap),
        SCMP_SYS(mprotect),
        SCMP_SYS(mremap),
        SCMP_SYS(munmap),
        SCMP_SYS(nanosleep),
        SCMP_SYS(newfstatat),
        SCMP_SYS(pidfd_open),
        SCMP_SYS(pipe2),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(read),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(setsockopt),
        SCMP_SYS(shutdown),
        SCMP_SYS(sigaltstack),
        SCMP_SYS(splice),
        SCMP_SYS(tee),
        SCMP_SYS(wait4),
        SCMP_SYS(waitid),
        SCMP_SYS(write),
        SCMP_SYS(writev),
        SCMP_SYS(io_uring_enter), /* of a ring that can only receive and send */
};

/* Connections of a web server, in one thread; memory; looking at /proc; ending. */
static const int page_calls[] = {
        SCMP_SYS(accept4),
        SCMP_SYS(brk),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(close),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(eventfd2),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(fstat),
        SCMP_SYS(futex),
        SCMP_SYS(getpeername),
        SCMP_SYS(getpid),
        SCMP_SYS(getrandom),
        SCMP_SYS(getsockname),
        SCMP_SYS(getsockopt),
        SCMP_SYS(gettid),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(lseek),
        SCMP_SYS(madvise),
        SCMP_SYS(mmap),
        SCMP_SYS(mprotect),
        SCMP_SYS(mremap),
        SCMP_SYS(munmap),
        SCMP_SYS(newfstatat),
        SCMP_SYS(openat), /* what landlock lets it */
        SCMP_SYS(pipe2),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(read),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(setsockopt),
        SCMP_SYS(shutdown),
        SCMP_SYS(sysinfo),
        SCMP_SYS(time),
        SCMP_SYS(write),
        SCMP_SYS(writev),
};

/* Files by names below descriptors: opened, looked at, removed, renamed; an owner and a mode are given to what is open, never
 * by name: landlock does not ask about those. */
static const int files_calls[] = {
        SCMP_SYS(brk),        SCMP_SYS(clock_gettime),   SCMP_SYS(close),        SCMP_SYS(exit),
        SCMP_SYS(exit_group), SCMP_SYS(fchmod),          SCMP_SYS(fchown),       SCMP_SYS(fstat),
        SCMP_SYS(fsync),      SCMP_SYS(futex),           SCMP_SYS(getdents64),   SCMP_SYS(getpid),
        SCMP_SYS(getrandom),  SCMP_SYS(lseek),           SCMP_SYS(madvise),      SCMP_SYS(memfd_create),
        SCMP_SYS(mmap),       SCMP_SYS(mprotect),        SCMP_SYS(mremap),       SCMP_SYS(munmap),
        SCMP_SYS(newfstatat), SCMP_SYS(openat),          SCMP_SYS(poll),         SCMP_SYS(ppoll),
        SCMP_SYS(read),       SCMP_SYS(readlinkat),      SCMP_SYS(recvmsg),      SCMP_SYS(renameat),
        SCMP_SYS(renameat2),  SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn), SCMP_SYS(sendmsg),
        SCMP_SYS(setsockopt), SCMP_SYS(socketpair),      SCMP_SYS(unlinkat),     SCMP_SYS(write),
};

/* Connections of its own, and the files that say how names are looked up; the ports that may refuse. */
static const int checker_calls[] = {
        SCMP_SYS(bind),          SCMP_SYS(brk),
        SCMP_SYS(clock_gettime), SCMP_SYS(close),
        SCMP_SYS(connect),       SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),     SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_pwait2),  SCMP_SYS(epoll_wait),
        SCMP_SYS(exit),          SCMP_SYS(exit_group),
        SCMP_SYS(fstat),         SCMP_SYS(futex),
        SCMP_SYS(getpeername),   SCMP_SYS(getpid),
        SCMP_SYS(getrandom),     SCMP_SYS(getsockname),
        SCMP_SYS(getsockopt),    SCMP_SYS(gettid),
        SCMP_SYS(gettimeofday),  SCMP_SYS(listen),
        SCMP_SYS(lseek),         SCMP_SYS(madvise),
        SCMP_SYS(mmap),          SCMP_SYS(mprotect),
        SCMP_SYS(mremap),        SCMP_SYS(munmap),
        SCMP_SYS(newfstatat),    SCMP_SYS(openat), /* what landlock lets it */
        SCMP_SYS(poll),          SCMP_SYS(ppoll),
        SCMP_SYS(read),          SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),       SCMP_SYS(restart_syscall),
        SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),  SCMP_SYS(sendmmsg), /* both families of a name at once */
        SCMP_SYS(sendmsg),       SCMP_SYS(sendto),
        SCMP_SYS(setsockopt),    SCMP_SYS(shutdown),
        SCMP_SYS(time),          SCMP_SYS(uname),
        SCMP_SYS(write),         SCMP_SYS(writev),
};

/* Sockets that are made and sent, netlink, numbers of the kernel's, and the process that takes its place. */
static const int sockets_calls[] = {
        SCMP_SYS(accept4),       SCMP_SYS(bind),           SCMP_SYS(brk),
        SCMP_SYS(clock_gettime), SCMP_SYS(clone),          SCMP_SYS(close),
        SCMP_SYS(connect),       SCMP_SYS(exit),           SCMP_SYS(exit_group),
        SCMP_SYS(fstat),         SCMP_SYS(futex),          SCMP_SYS(geteuid),
        SCMP_SYS(getpid),        SCMP_SYS(getrandom),      SCMP_SYS(getsockname),
        SCMP_SYS(getsockopt),    SCMP_SYS(listen),         SCMP_SYS(lseek),
        SCMP_SYS(madvise),       SCMP_SYS(mmap),           SCMP_SYS(mprotect),
        SCMP_SYS(mremap),        SCMP_SYS(munmap),         SCMP_SYS(newfstatat),
        SCMP_SYS(openat),        SCMP_SYS(pidfd_open),     SCMP_SYS(poll),
        SCMP_SYS(ppoll),         SCMP_SYS(pselect6),       SCMP_SYS(read),
        SCMP_SYS(recvfrom),      SCMP_SYS(recvmsg),        SCMP_SYS(restart_syscall),
        SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sendmsg),       SCMP_SYS(sendto),         SCMP_SYS(set_robust_list),
        SCMP_SYS(setns),         SCMP_SYS(setsockopt),     SCMP_SYS(write),
        SCMP_SYS(writev),
};

/* A call whose arguments decide. */
struct rule {
	int call;
	unsigned n;
	struct scmp_arg_cmp when[2];
};

/* The kernel looks at an int, whatever stands above it in the register. */
#define INT(arg, value)                                                \
	{                                                              \
		arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)(value) \
	}
#define LONG(arg, value)                   \
	{                                  \
		arg, SCMP_CMP_EQ, value, 0 \
	}
#define NONBLOCKING                                           \
	{                                                     \
		2, SCMP_CMP_MASKED_EQ, O_NONBLOCK, O_NONBLOCK \
	}
#define SOCKET_TYPE(type)                        \
	{                                        \
		1, SCMP_CMP_MASKED_EQ, 0xf, type \
	} /* without SOCK_NONBLOCK and its like */

static const struct rule worker_rules[] = {
        /* the last resort: a new keeper, and nothing but that */
        {SCMP_SYS(clone), 1, {LONG(0, CLONE_FILES | CLONE_PARENT_SETTID | SIGCHLD)}},
        /* streams and messages of the kinds we speak */
        {SCMP_SYS(socket), 1, {INT(0, AF_INET)}},
        {SCMP_SYS(socket), 1, {INT(0, AF_INET6)}},
#ifdef FAULTS
        {SCMP_SYS(socket), 2, {INT(0, AF_UNIX), SOCKET_TYPE(SOCK_DGRAM)}}, /* where it dies */
#endif
        /* a keeper that was cloned from a worker ends other members; a filter cannot know their pids */
        {SCMP_SYS(kill), 1, {INT(1, 0)}},
        {SCMP_SYS(kill), 1, {INT(1, SIGKILL)}},
        {SCMP_SYS(pidfd_send_signal), 1, {INT(1, 0)}},
        {SCMP_SYS(pidfd_send_signal), 1, {INT(1, SIGKILL)}},
        /* what a socket or a pipe holds (FIONREAD is SIOCINQ); nothing of a terminal */
        {SCMP_SYS(ioctl), 1, {INT(1, SIOCINQ)}},
        {SCMP_SYS(ioctl), 1, {INT(1, SIOCOUTQ)}},
        /* an interface after the % of a server's address may have come since */
        {SCMP_SYS(ioctl), 1, {INT(1, SIOCGIFINDEX)}},
        /* how a keeper and a worker begin that are cloned from here */
        {SCMP_SYS(prctl), 1, {INT(0, PR_SET_NO_NEW_PRIVS)}},
        {SCMP_SYS(prctl), 1, {INT(0, PR_CAP_AMBIENT)}},
        {SCMP_SYS(prctl), 1, {INT(0, PR_SET_SECCOMP)}},
};

/* To a server "unix:PATH". By other kinds of these sockets one talks to log daemons, to systemd, and to trios. */
static const struct rule unix_rules[] = {
        {SCMP_SYS(socket), 2, {INT(0, AF_UNIX), SOCKET_TYPE(SOCK_STREAM)}},
};

static const struct rule files_rules[] = {
        {SCMP_SYS(fcntl), 1, {INT(1, F_SETFL)}}, /* of what it has opened itself */
};

static const struct rule checker_rules[] = {
        {SCMP_SYS(socket), 2, {INT(0, AF_INET), SOCKET_TYPE(SOCK_STREAM)}},
        {SCMP_SYS(socket), 2, {INT(0, AF_INET6), SOCKET_TYPE(SOCK_STREAM)}},
        {SCMP_SYS(socket), 2, {INT(0, AF_INET), SOCKET_TYPE(SOCK_DGRAM)}}, /* to name servers */
        {SCMP_SYS(socket), 2, {INT(0, AF_INET6), SOCKET_TYPE(SOCK_DGRAM)}},
        {SCMP_SYS(ioctl), 1, {INT(1, SIOCGIFINDEX)}}, /* after the % of an address */
};

static const struct rule sockets_rules[] = {
        {SCMP_SYS(socket), 1, {INT(0, AF_INET)}},
        {SCMP_SYS(socket), 1, {INT(0, AF_INET6)}},
        {SCMP_SYS(socket), 1, {INT(0, AF_NETLINK)}},
        {SCMP_SYS(socket), 2, {INT(0, AF_UNIX), SOCKET_TYPE(SOCK_DGRAM)}},     /* by which an interface is asked for */
        {SCMP_SYS(socket), 2, {INT(0, AF_UNIX), SOCKET_TYPE(SOCK_SEQPACKET)}}, /* what is claimed */
        {SCMP_SYS(ioctl), 1, {INT(1, SIOCGIFINDEX)}},
};

static const struct rule page_rules[] = {
        {SCMP_SYS(kill), 1, {INT(1, 0)}},             /* is it alive? */
        {SCMP_SYS(socketpair), 1, {INT(0, AF_UNIX)}}, /* a command for the supervisor */
};

/* Not among them is F_SETOWN, by which the kernel signals whomever one names. Nor is what others have, too - a listening socket, what
 * wakes the supervisor - made one at which they wait. */
static const struct rule fcntl_rules[] = {
        {SCMP_SYS(fcntl), 1, {INT(1, F_GETFD)}},         {SCMP_SYS(fcntl), 1, {INT(1, F_SETFD)}},
        {SCMP_SYS(fcntl), 1, {INT(1, F_GETFL)}},         {SCMP_SYS(fcntl), 2, {INT(1, F_SETFL), NONBLOCKING}},
        {SCMP_SYS(fcntl), 1, {INT(1, F_GETPIPE_SZ)}},    {SCMP_SYS(fcntl), 1, {INT(1, F_SETPIPE_SZ)}},
        {SCMP_SYS(fcntl), 1, {INT(1, F_GET_SEALS)}},     {SCMP_SYS(fcntl), 1, {INT(1, F_ADD_SEALS)}},
        {SCMP_SYS(fcntl), 1, {INT(1, F_DUPFD_CLOEXEC)}},
};

static int add_rules(scmp_filter_ctx ctx, const struct rule *rules, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rules[i].call, rules[i].n, rules[i].when);
	return rc;
}

/* abort() and its kin: a process cloned from here may not even do that, and dies of what abort() does then. */
static int allow_own_death(scmp_filter_ctx ctx)
{
	const struct rule own = {SCMP_SYS(tgkill), 1, {INT(0, getpid())}};

	return add_rules(ctx, &own, 1);
}

struct filter {
	const int *calls;
	size_t n_calls;
	const struct rule *rules;
	size_t n_rules;
	bool unix_sockets;
};

/* What is not allowed fails with EPERM. */
static int load_filter(const struct filter *f)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = 0;

	if (!ctx)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_calls && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, f->calls[i], 0);
	if (rc == 0)
		rc = add_rules(ctx, f->rules, f->n_rules);
	if (rc == 0 && f->unix_sockets)
		rc = add_rules(ctx, unix_rules, ARRAY_LEN(unix_rules));
	if (rc == 0)
		rc = add_rules(ctx, fcntl_rules, ARRAY_LEN(fcntl_rules));
	if (rc == 0)
		rc = allow_own_death(ctx);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}

static int filter_worker(bool unix_sockets)
{
	return load_filter(&(struct filter){worker_calls, ARRAY_LEN(worker_calls), worker_rules,
	                                    ARRAY_LEN(worker_rules), unix_sockets});
}

static int filter_page(void)
{
	return load_filter(&(struct filter){page_calls, ARRAY_LEN(page_calls), page_rules, ARRAY_LEN(page_rules)});
}

static int filter_files(void)
{
	return load_filter(&(struct filter){files_calls, ARRAY_LEN(files_calls), files_rules, ARRAY_LEN(files_rules)});
}

static int filter_sockets(void)
{
	return load_filter(
	        &(struct filter){sockets_calls, ARRAY_LEN(sockets_calls), sockets_rules, ARRAY_LEN(sockets_rules)});
}

static int filter_checker(void)
{
	return load_filter(&(struct filter){checker_calls, ARRAY_LEN(checker_calls), checker_rules,
	                                    ARRAY_LEN(checker_rules), true});
}
#else
static int filter_worker(bool unix_sockets)
{
	return -ENOSYS;
}

static int filter_checker(void)
{
	return -ENOSYS;
}

static int filter_page(void)
{
	return -ENOSYS;
}

static int filter_files(void)
{
	return -ENOSYS;
}

static int filter_sockets(void)
{
	return -ENOSYS;
}
#endif

#define NO_LANDLOCK                                                                               \
	"landlock, which this kernel does not have: files are kept away by the filter of system " \
	"calls alone"
#define NO_FILTER                                                                                \
	"a filter of system calls, which this kernel or build does not have: who finds a fault " \
	"there may do all that the service user may, but for files"
#define NOTHING                                                                                 \
	"landlock and a filter of system calls, which this kernel or build does not have: who " \
	"finds a fault there may do all that the service user may"

#if defined(__SANITIZE_ADDRESS__) /* sanitizers look at /proc and map memory as they like */
#define FILTERED false
#else
#define FILTERED true
#endif

/* Each is tried by itself. */
static const char *name_missing(bool inside, bool filtered)
{
	if (inside)
		return filtered ? NULL : NO_FILTER;
	return filtered ? NO_LANDLOCK : NOTHING;
}

static bool stay_inside(const struct landlock_room *rooms, size_t n, bool abstract_sockets)
{
	return landlock_available() && landlock_confine(rooms, n, abstract_sockets) == 0;
}

const char *sandbox_worker(enum unix_reach reach)
{
	bool inside;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return NOTHING;
	inside = stay_inside(NULL, 0, reach == UNIX_REACH_ALL);
	return name_missing(inside, !FILTERED || filter_worker(reach != UNIX_REACH_NONE) == 0);
}

const char *sandbox_page(void)
{
	struct landlock_room proc = {.rights = LANDLOCK_READ};
	bool inside;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return NOTHING;
	proc.dir = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	inside = stay_inside(&proc, proc.dir >= 0, false);
	if (proc.dir >= 0)
		close(proc.dir);
	return name_missing(inside, !FILTERED || filter_page() == 0);
}

/* resolv.conf may be a link to where what manages the network has written it. */
const char *sandbox_checker(bool abstract_sockets)
{
	static const char *const paths[] = {"/etc", "/run"};
	struct landlock_room rooms[ARRAY_LEN(paths)];
	size_t n = 0;
	bool inside;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return NOTHING;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		rooms[n] = (struct landlock_room){.dir = open(paths[i], O_PATH | O_DIRECTORY | O_CLOEXEC),
		                                  .rights = LANDLOCK_READ};
		n += rooms[n].dir >= 0;
	}
	inside = stay_inside(rooms, n, abstract_sockets);
	while (n > 0)
		close(rooms[--n].dir);
	return name_missing(inside, !FILTERED || filter_checker() == 0);
}

bool sandbox_sockets(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && FILTERED && filter_sockets() == 0;
}

bool sandbox_files(void)
{
	return !FILTERED || filter_files() == 0;
}
