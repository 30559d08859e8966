#include "os/sandbox.h"

#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include "base/mem.h"
#include "os/landlock.h"

#if HAVE_SECCOMP
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/socket.h>

/* What the data plane, its timers, its memory and the replacing of keepers need. */
static const int worker_calls[] = {
	SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(brk), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(connect), SCMP_SYS(dup3),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(fcntl), SCMP_SYS(fstat), SCMP_SYS(futex),
	SCMP_SYS(getpeername), SCMP_SYS(getpid), SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(gettid),
	SCMP_SYS(getrandom), SCMP_SYS(ioctl), SCMP_SYS(kill), SCMP_SYS(lseek), SCMP_SYS(madvise),
	SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(munmap), SCMP_SYS(nanosleep),
	SCMP_SYS(newfstatat), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal), SCMP_SYS(pipe2),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(read), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
	SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(sendmsg), SCMP_SYS(sendto), SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown), SCMP_SYS(sigaltstack), SCMP_SYS(splice), SCMP_SYS(tee),
	SCMP_SYS(tgkill), SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(write), SCMP_SYS(writev),
	SCMP_SYS(io_uring_enter), /* of a ring that can only receive and send */
	SCMP_SYS(prctl), /* a keeper cloned from here begins its role with it */
};

/* Connections of a web server, in one thread; memory; looking at /proc; ending. */
static const int page_calls[] = {
	SCMP_SYS(accept4), SCMP_SYS(brk), SCMP_SYS(clock_gettime), SCMP_SYS(close),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_wait),
	SCMP_SYS(eventfd2), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(fcntl), SCMP_SYS(fstat),
	SCMP_SYS(futex), SCMP_SYS(getpeername), SCMP_SYS(getpid), SCMP_SYS(getrandom),
	SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(gettid), SCMP_SYS(gettimeofday),
	SCMP_SYS(lseek), SCMP_SYS(madvise), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(mremap),
	SCMP_SYS(munmap), SCMP_SYS(newfstatat), SCMP_SYS(openat), /* what landlock lets it */
	SCMP_SYS(pipe2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(read), SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg), SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
	SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(sysinfo), SCMP_SYS(tgkill), SCMP_SYS(time),
	SCMP_SYS(write), SCMP_SYS(writev),
};

/* A call whose argument decides. */
struct rule {
	int call;
	struct scmp_arg_cmp when;
};

static const struct rule worker_rules[] = {
	/* the last resort: a new keeper, and nothing but that */
	{SCMP_SYS(clone), {0, SCMP_CMP_EQ, CLONE_FILES | CLONE_PARENT_SETTID | SIGCHLD, 0}},
	/* streams and messages of the kinds we speak */
	{SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_INET, 0}},
	{SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_INET6, 0}},
	{SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_UNIX, 0}},
};

static const struct rule page_rules[] = {
	{SCMP_SYS(kill), {1, SCMP_CMP_EQ, 0, 0}},             /* is it alive? */
	{SCMP_SYS(socketpair), {0, SCMP_CMP_EQ, AF_UNIX, 0}}, /* a command for the supervisor */
};

/* What is not allowed fails with EPERM. */
static int load_filter(const int *calls, size_t n_calls, const struct rule *rules, size_t n_rules)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = 0;

	if (!ctx)
		return -ENOMEM;
	for (size_t i = 0; i < n_calls && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	for (size_t i = 0; i < n_rules && rc == 0; i++)
		rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rules[i].call, 1, &rules[i].when);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}

static int filter_worker(void)
{
	return load_filter(worker_calls, ARRAY_LEN(worker_calls), worker_rules, ARRAY_LEN(worker_rules));
}

static int filter_page(void)
{
	return load_filter(page_calls, ARRAY_LEN(page_calls), page_rules, ARRAY_LEN(page_rules));
}
#else
static int filter_worker(void)
{
	return -ENOSYS;
}

static int filter_page(void)
{
	return -ENOSYS;
}
#endif

static const char *confine(char *const *directories, size_t n, int (*filter)(void))
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return "no_new_privs, landlock and the system call filter";
	if (landlock_available() && landlock_confine(directories, n) < 0)
		return "landlock";
#if !defined(__SANITIZE_ADDRESS__) /* sanitizers look at /proc and map memory as they like */
	if (filter() < 0)
		return "the system call filter";
#else
	(void)filter;
#endif
	return NULL;
}

const char *sandbox_worker(void)
{
	return confine(NULL, 0, filter_worker);
}

const char *sandbox_page(void)
{
	static char *const visible[] = {(char *)"/proc"};

	return confine(visible, 1, filter_page);
}
