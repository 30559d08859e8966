/* What changes a process for good is tried in a child: memory, descriptors, title, user,
 * confinement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../child.h"
#include "../missing.h"
#include "os/caps.h"
#include "os/fds.h"
#include "os/landlock.h"
#include "os/pipe.h"
#include "os/proc.h"
#include "os/sandbox.h"
#include "os/shm.h"
#include "os/sock.h"
#include "os/user.h"

/* ---- shared memory ---- */

static void shared_memory_keeps_its_size(void **state)
{
	char *map, *again;
	int fd = shm_new("test", 10000, (void **)&map);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(map[9999], 0);
	map[9999] = 'x';
	again = mmap(NULL, 10000, PROT_READ, MAP_SHARED, fd, 0);
	assert_int_equal(again[9999], 'x');
	assert_int_equal(ftruncate(fd, 100), -1);
	assert_int_equal(ftruncate(fd, 100000), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1); /* nor can seals be added */
	munmap(map, 10000);
	munmap(again, 10000);
	close(fd);
}

static void sealed_memory_never_changes(void **state)
{
	int fd = shm_new_sealed("test", "some text", 9);
	const void *map;
	size_t len;

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_ptr_equal(mmap(NULL, 9, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(shm_map_sealed(fd, &map, &len), 0);
	assert_int_equal(len, 9);
	assert_memory_equal(map, "some text", 9);
	munmap((void *)map, len);
	close(fd);
	assert_int_equal(shm_map_sealed(fd, &map, &len), -EBADF);
}

/* What its maker could still change is not believed. */
static void what_is_not_sealed_is_refused(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const void *map;
	size_t len;

	assert_int_equal(write(fd, "text", 4), 4);
	assert_int_equal(shm_map_sealed(fd, &map, &len), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(shm_map_sealed(fd, &map, &len), -EPERM);
	close(fd);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(shm_map_sealed(fd, &map, &len) < 0);
	close(fd);
}

/* ---- pipes ---- */

static void pipes(void **state)
{
	int ends[2], pair[2];
	char buf[8];

	assert_int_equal(pipe_new(ends, 128 * 1024), 0);
	assert_true(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(ends[1], F_GETFD) & FD_CLOEXEC);
	assert_true(pipe_room(ends[0]) >= 65536);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(pipe_splice(pair[0], ends[1], 100), -EAGAIN);
	assert_int_equal(send(pair[1], "hello", 5, 0), 5);
	assert_int_equal(pipe_splice(pair[0], ends[1], 100), 5);
	assert_int_equal(pipe_filled(ends[0]), 5);
	assert_int_equal(pipe_splice(ends[0], pair[0], 100), 5);
	assert_int_equal(recv(pair[1], buf, sizeof(buf), 0), 5);
	close(pair[1]);
	assert_int_equal(pipe_splice(pair[0], ends[1], 100), 0);
	close(pair[0]);
	assert_int_equal(pipe_splice(pair[0], ends[1], 100), -EBADF);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(pipe_filled(ends[0]), -EBADF);
	assert_int_equal(pipe_room(ends[0]), -EBADF);
}

/* ---- processes ---- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void closes_all_but_some(void)
{
	int keep[] = {12, -1, 7, 30, 7};

	for (int fd = 5; fd < 40; fd++)
		EXPECT(dup2(2, fd) == fd);
	proc_close_except(5, keep, 5);
	for (int fd = 5; fd < 100; fd++)
		EXPECT(is_open(fd) == (fd == 7 || fd == 12 || fd == 30));
	EXPECT(is_open(2));
	proc_close_except(5, NULL, 0);
	EXPECT(!is_open(7) && !is_open(30) && is_open(2));
}

static void makes_close_on_exec(void)
{
	for (int fd = 3; fd < 40; fd++)
		EXPECT(dup2(2, fd) == fd && !(fcntl(fd, F_GETFD) & FD_CLOEXEC));
	fds_cloexec(5);
	for (int fd = 3; fd < 40; fd++)
		EXPECT((fcntl(fd, F_GETFD) == FD_CLOEXEC) == (fd >= 5));
	EXPECT(!is_open(40));
}

static void closes_many(void)
{
	struct rlimit limit;

	EXPECT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (int fd = 3; fd < 1000; fd++)
		EXPECT(dup2(2, fd) == fd);
	EXPECT(fcntl(2, F_DUPFD, 3000) == 3000);
	fds_close(500, 2999);
	for (int fd = 0; fd < 1100; fd++)
		EXPECT(is_open(fd) == (fd < 500));
	EXPECT(is_open(3000));
	fds_close(7, 6); /* none */
	EXPECT(is_open(6) && is_open(7));
}

static void works_with_descriptors(void)
{
	closes_all_but_some();
	makes_close_on_exec();
	closes_many();
}

static void closes_beyond_the_limit(void)
{
	struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};

	EXPECT(dup2(2, 500) == 500);
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	fds_close(3, ~0u);
	EXPECT(!is_open(500) && is_open(2));
}

/* As before Linux 5.9, and in some containers. */
static void works_without_close_range(void)
{
	EXPECT(lose_call(SYS_close_range));
	works_with_descriptors();
	closes_beyond_the_limit();
}

/* And where there is no /proc. */
static void works_without_proc(void)
{
	EXPECT(lose_call(SYS_close_range) && lose_call(SYS_openat));
	EXPECT(open("/proc/self/status", O_RDONLY) < 0);
	works_with_descriptors();
}

/* Nor may it be opened: all is open that may be. */
static void works_without_room(void)
{
	struct rlimit limit = {.rlim_cur = 20, .rlim_max = 20};

	EXPECT(lose_call(SYS_close_range));
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (int fd = 3; fd < 20; fd++)
		EXPECT(dup2(2, fd) == fd);
	fds_close(3, ~0u);
	EXPECT(is_open(2));
	for (int fd = 3; fd < 20; fd++)
		EXPECT(!is_open(fd));
}

static void descriptors_that_are_not_kept(void **state)
{
	in_child(works_with_descriptors);
}

static void descriptors_on_an_old_kernel(void **state)
{
	in_child(works_without_close_range);
	in_child(works_without_proc);
	in_child(works_without_room);
}

static void open_descriptors_in_child(void)
{
	int fd = fcntl(0, F_DUPFD, 2000), socket_fd;

	EXPECT(fd >= 2000);
	socket_fd = fcntl(socket(AF_INET, SOCK_STREAM, 0), F_DUPFD, fd + 3);
	EXPECT(socket_fd >= fd + 3 && socket_fd < fd + 64);
	EXPECT(proc_open_fds(fd, UINT64_MAX) == (UINT64_C(1) | UINT64_C(1) << (socket_fd - fd)));
	EXPECT(proc_open_fds(fd, ~UINT64_C(1)) == UINT64_C(1) << (socket_fd - fd));
	EXPECT(proc_open_fds(fd - 63, UINT64_MAX) == UINT64_C(1) << 63);
	EXPECT(proc_open_fds(fd, 0) == 0);
	close(socket_fd);
	EXPECT(proc_open_fds(fd, UINT64_MAX) == 1);
}

static void open_descriptors(void **state)
{
	in_child(open_descriptors_in_child);
}

static void points_streams_at_nothing(void)
{
	struct stat null, st;

	EXPECT(stat("/dev/null", &null) == 0);
	proc_null_streams(1);
	for (int fd = 0; fd < 2; fd++)
		EXPECT(fstat(fd, &st) == 0 && st.st_rdev == null.st_rdev);
	close(0);
	proc_null_streams(0); /* the very one that is missing */
	EXPECT(is_open(0));
}

static void standard_streams(void **state)
{
	in_child(points_streams_at_nothing);
}

static char **own_argv;
static int own_argc;

static void shows_a_title(void)
{
	char before[64], text[4096] = "";
	const char *path = getenv("PATH");
	int fd, len;

	EXPECT(path != NULL);
	snprintf(before, sizeof(before), "%.60s", path);
	proc_title_init(own_argc, own_argv);
	proc_title("tcpproxy: worker %d", 7);
	fd = open("/proc/self/cmdline", O_RDONLY);
	len = (int)read(fd, text, sizeof(text) - 1);
	EXPECT(len > 0);
	EXPECT(strcmp(text, "tcpproxy: worker 7") == 0);
	/* the environment was moved out of the way, not lost */
	EXPECT(getenv("PATH") && strncmp(getenv("PATH"), before, 60) == 0);
	proc_title("%s", "short");
	lseek(fd, 0, SEEK_SET);
	memset(text, 0, sizeof(text));
	EXPECT(read(fd, text, sizeof(text) - 1) > 0);
	EXPECT(strcmp(text, "short") == 0);
	/* a title longer than its room is cut, and writes nowhere else */
	{
		static char longest[200000];

		memset(longest, 'x', sizeof(longest) - 1);
		proc_title("%s", longest);
		EXPECT(getenv("PATH") && strncmp(getenv("PATH"), before, 60) == 0);
	}
}

static void titles(void **state)
{
	in_child(shows_a_title);
}

static int32_t *pid_word;

static void clones_a_member(void)
{
	int status, fd;
	pid_t pid;

	pid_word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = proc_clone_member(pid_word);
	if (pid == 0) {
		/* the kernel stored it before we could run */
		_exit(*pid_word == getpid() && dup2(2, 50) == 50 ? 0 : 1);
	}
	EXPECT(pid > 0);
	fd = proc_pidfd(pid);
	EXPECT(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC);
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	EXPECT(*pid_word == pid);
	EXPECT(proc_pidfd_dead(fd));
	EXPECT(proc_pidfd_signal(fd, SIGTERM) == -ESRCH);
	EXPECT(proc_pidfd(pid) == -ESRCH);
	EXPECT(is_open(50)); /* opened by the member */
}

static void members(void **state)
{
	in_child(clones_a_member);
}

static void a_pidfd_of_the_living(void **state)
{
	int fd = proc_pidfd(getpid());

	assert_true(fd >= 0);
	assert_false(proc_pidfd_dead(fd));
	assert_int_equal(proc_pidfd_signal(fd, 0), 0);
	close(fd);
	assert_true(proc_netns() != 0);
}

static void raises_limits(void)
{
	struct rlimit before, now = {.rlim_cur = 64, .rlim_max = 256};

	EXPECT(setrlimit(RLIMIT_NOFILE, &now) == 0);
	EXPECT(proc_raise_nofile(128, &before) == 0);
	EXPECT(before.rlim_cur == 64 && before.rlim_max == 256);
	EXPECT(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 128);
	EXPECT(proc_raise_nofile(1u << 20, &before) == 0);
	EXPECT(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 256);
	EXPECT(proc_raise_nofile(10, &before) == 0); /* never lowered */
	EXPECT(getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 256);
	proc_size_table(200);
	EXPECT(!is_open(199));
}

static void limits(void **state)
{
	in_child(raises_limits);
}

/* ---- users ---- */

static void looks_up(const char *user, const char *group, const char *wanted)
{
	struct identity id;
	char why[128] = "";

	if (user_lookup(user, group, &id, why, sizeof(why)) != !wanted)
		fail_msg("%s: %s", user, why);
	if (wanted)
		assert_non_null(strstr(why, wanted));
}

static void users(void **state)
{
	struct identity id;
	char why[128];

	looks_up("nobody", NULL, NULL);
	looks_up("65534", "nogroup", NULL);
	looks_up("4000000000", "4000000000", NULL); /* a number without a name */
	looks_up("nosuchuser", NULL, "no such user: nosuchuser");
	looks_up("nobody", "nosuchgroup", "no such group: nosuchgroup");
	looks_up("root", NULL, "never serves as root");
	looks_up("0", "nogroup", "never serves as root");
	looks_up("", NULL, "no such user");
	looks_up("-1", NULL, "no such user");
	looks_up("4294967295", NULL, "no such user"); /* means "unchanged" to the kernel */
	assert_true(user_lookup("nobody", NULL, &id, why, sizeof(why)));
	assert_int_equal(id.uid, 65534);
	assert_string_equal(id.user, "nobody");
}

static void becomes_nobody(void)
{
	struct identity id;
	char why[128];
	int keep = CAP_NET_BIND_SERVICE;
	uid_t r, e, s;

	EXPECT(user_lookup("nobody", NULL, &id, why, sizeof(why)));
	EXPECT(user_become(&id, &keep, 1) == 0);
	EXPECT(getresuid(&r, &e, &s) == 0 && r == id.uid && e == id.uid && s == id.uid);
	EXPECT(getgid() == id.gid && getgroups(0, NULL) <= 1);
	EXPECT(setuid(0) < 0);
	EXPECT(caps_raise(CAP_SYS_ADMIN, true) == -EPERM);
	EXPECT(caps_raise(CAP_NET_BIND_SERVICE, true) == 0);
	EXPECT(caps_raise(CAP_NET_BIND_SERVICE, false) == 0);
	caps_drop();
	EXPECT(caps_raise(CAP_NET_BIND_SERVICE, true) == -EPERM);
}

static void giving_up_root(void **state)
{
	if (geteuid() != 0)
		skip();
	in_child(becomes_nobody);
}

/* ---- confinement ---- */

static char directory[] = "/tmp/test-os-XXXXXX";

static void stays_inside(void)
{
	struct landlock_room inside = {
	        .dir = open(directory, O_PATH | O_DIRECTORY),
	        .rights = LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_MAKE | LANDLOCK_REMOVE,
	};
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/file", directory);
	EXPECT(landlock_confine(&inside, 1, false) == 0);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	EXPECT(fd >= 0 && write(fd, "x", 1) == 1);
	EXPECT(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	EXPECT(unlink(path) == 0);
	EXPECT(open("/tmp/test-os-outside", O_CREAT | O_WRONLY, 0600) < 0 && errno == EACCES);
}

/* Each right by itself. */
static void reads_only(void)
{
	struct landlock_room inside = {.dir = open(directory, O_PATH | O_DIRECTORY), .rights = LANDLOCK_READ};
	char path[64];

	snprintf(path, sizeof(path), "%s/read", directory);
	EXPECT(close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600)) == 0);
	EXPECT(landlock_confine(&inside, 1, false) == 0);
	EXPECT(close(open(path, O_RDONLY)) == 0);
	EXPECT(open(path, O_WRONLY) < 0 && errno == EACCES);
	EXPECT(unlink(path) < 0 && errno == EACCES);
}

static void removes_only(void)
{
	struct landlock_room inside = {.dir = open(directory, O_PATH | O_DIRECTORY), .rights = LANDLOCK_REMOVE};
	char path[64];

	snprintf(path, sizeof(path), "%s/read", directory);
	EXPECT(landlock_confine(&inside, 1, false) == 0);
	EXPECT(open(path, O_RDONLY) < 0 && errno == EACCES);
	EXPECT(unlink(path) == 0);
	EXPECT(open(path, O_CREAT | O_WRONLY, 0600) < 0 && errno == EACCES);
}

static void stays_out_of_everything(void)
{
	EXPECT(landlock_confine(NULL, 0, false) == 0);
	EXPECT(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	EXPECT(open(directory, O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static int abstract_socket(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0tcpproxy-test"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 1) == 0);
	return fd;
}

static int connect_to(int listener)
{
	struct sockaddr_un a;
	socklen_t len = sizeof(a);

	EXPECT(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, len);
}

static void speaks_to_no_abstract_socket(void)
{
	int other = abstract_socket();

	EXPECT(connect_to(other) == 0);
	EXPECT(landlock_confine(NULL, 0, false) == 0);
#ifndef FAULTS
	EXPECT(connect_to(other) < 0 && errno == EPERM);
#endif
}

/* A trio, and a worker of it that is confined besides. */
static void signals_its_own_only(void)
{
	pid_t trio = fork(), older, worker;
	int status;

	if (trio == 0) {
		EXPECT(kill(getppid(), 0) == 0);
		EXPECT(landlock_keep_signals() == 0);
		EXPECT(kill(getppid(), 0) < 0 && errno == EPERM);
		older = fork();
		if (older == 0)
			for (;;)
				pause();
		worker = fork();
		if (worker == 0) {
			sandbox_worker(UNIX_REACH_NONE);
			EXPECT(kill(getppid(), 0) == 0 && kill(older, SIGKILL) == 0);
			_exit(0);
		}
		EXPECT(waitpid(worker, &status, 0) == worker && status == 0);
		EXPECT(waitpid(older, &status, 0) == older && WIFSIGNALED(status));
		_exit(0);
	}
	EXPECT(waitpid(trio, &status, 0) == trio && status == 0);
}

static void landlock_scopes(void **state)
{
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 6)
		skip(); /* Linux before 6.12 */
	in_child(speaks_to_no_abstract_socket);
	in_child(signals_its_own_only);
}

static void landlock(void **state)
{
	if (!landlock_available())
		skip();
	assert_non_null(mkdtemp(directory));
	in_child(stays_inside);
	in_child(reads_only);
	in_child(removes_only);
	in_child(stays_out_of_everything);
	rmdir(directory);
}

#if !defined(__SANITIZE_ADDRESS__) && HAVE_SECCOMP
static void is_a_worker(void)
{
	int status = open("/proc/self/status", O_RDONLY);
	char byte, text[4096] = "";
	int pair[2], ends[2];

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	EXPECT(sandbox_worker(UNIX_REACH_NONE) == NULL);
	EXPECT(read(status, text, sizeof(text) - 1) > 0 && strstr(text, "NoNewPrivs:\t1"));
	/* what it is for goes on */
	EXPECT(send(pair[0], "x", 1, 0) == 1 && recv(pair[1], &byte, 1, 0) == 1);
	EXPECT(pipe_new(ends, 0) == 0);
	EXPECT(socket(AF_INET, SOCK_STREAM, 0) >= 0);
	EXPECT(proc_pidfd(getpid()) >= 0);
	/* and nothing else: these are errors, not deaths */
	EXPECT(fork() < 0 && errno == EPERM);
	EXPECT(execl("/bin/true", "true", NULL) < 0 && (errno == EPERM || errno == EACCES));
	EXPECT(open("/etc/passwd", O_RDONLY) < 0);
	EXPECT(unlink("/tmp/nothing") < 0 && (errno == EPERM || errno == EACCES));
	EXPECT(socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EPERM);
	EXPECT(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM);
	EXPECT(setuid(1) < 0 && errno == EPERM);
}

/* A call that may do much is allowed with some of its arguments only. */
static void does_no_more_than_that(void)
{
	struct f_owner_ex owner = {.type = F_OWNER_PID, .pid = getppid()};
	pid_t pid = fork();
	int terminal, n, pidfd = proc_pidfd(pid);

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	terminal = posix_openpt(O_RDWR | O_NOCTTY);
	EXPECT(pid > 0 && pidfd >= 0 && terminal >= 0);
	EXPECT(sandbox_worker(UNIX_REACH_NONE) == NULL);
	EXPECT(kill(pid, 0) == 0 && proc_pidfd_signal(pidfd, 0) == 0);
	for (int sig = 1; sig < NSIG; sig++) {
		if (sig == SIGKILL)
			continue;
		EXPECT(kill(pid, sig) < 0 && errno == EPERM);
		EXPECT(proc_pidfd_signal(pidfd, sig) == -EPERM);
		EXPECT(tgkill(pid, pid, sig) < 0 && errno == EPERM);
	}
	EXPECT(fcntl(terminal, F_SETOWN, getppid()) < 0 && errno == EPERM);
	EXPECT(fcntl(terminal, F_SETOWN_EX, &owner) < 0 && errno == EPERM);
	EXPECT(fcntl(terminal, F_SETSIG, SIGTERM) < 0 && errno == EPERM);
	EXPECT(fcntl(terminal, F_SETFL, O_NONBLOCK) == 0 && fcntl(terminal, F_GETFL) & O_NONBLOCK);
	EXPECT(fcntl(terminal, F_SETFL, 0) < 0 && errno == EPERM && fcntl(terminal, F_GETFL) & O_NONBLOCK);
	EXPECT(ioctl(terminal, TIOCSTI, "x") < 0 && errno == EPERM);
	EXPECT(ioctl(terminal, FIOSETOWN, &owner.pid) < 0 && errno == EPERM);
	EXPECT(ioctl(terminal, FIONREAD, &n) == 0 && n == 0);
	EXPECT(prctl(PR_SET_DUMPABLE, 1) < 0 && errno == EPERM);
	EXPECT(kill(pid, SIGKILL) == 0);
	EXPECT(waitpid(pid, &n, 0) == pid && WIFSIGNALED(n) && WTERMSIG(n) == SIGKILL);
}

static bool makes_unix_sockets(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != EPERM;
}

static void speaks_to_no_unix_socket(void)
{
	EXPECT(makes_unix_sockets());
	EXPECT(sandbox_worker(UNIX_REACH_NONE) == NULL);
	EXPECT(!makes_unix_sockets());
	EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
	EXPECT(socket(AF_UNIX, SOCK_SEQPACKET, 0) < 0 && errno == EPERM);
	/* nor does whoever descends from it, whatever is asked for then */
	sandbox_worker(UNIX_REACH_FILES);
	EXPECT(!makes_unix_sockets());
}

/* Of somebody outside. */
static int calls_abstract(const char *name)
{
	int fd = sock_new_unix(), rc = sock_connect_unix(fd, name);

	close(fd);
	return rc;
}

static char abstract_name[64];

static void speaks_to_abstract_servers(void)
{
	EXPECT(sandbox_worker(UNIX_REACH_ALL) == NULL);
	EXPECT(calls_abstract(abstract_name) == 0);
}

static void speaks_to_no_abstract_servers(void)
{
	bool has_scopes = landlock_keep_signals() == 0;

	EXPECT(sandbox_worker(UNIX_REACH_FILES) == NULL);
#ifndef FAULTS
	EXPECT(calls_abstract(abstract_name) == (has_scopes ? -EPERM : 0));
#endif
}

static void speaks_to_servers_only(void)
{
	EXPECT(sandbox_worker(UNIX_REACH_FILES) == NULL);
	EXPECT(makes_unix_sockets());
	EXPECT(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) >= 0);
	EXPECT(socket(AF_UNIX, SOCK_SEQPACKET, 0) < 0 && errno == EPERM);
#ifndef FAULTS
	EXPECT(socket(AF_UNIX, SOCK_DGRAM, 0) < 0 && errno == EPERM);
#endif
}

/* Of a fault of its own it dies as ever. */
static void a_fault_is_a_fault(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		EXPECT(sandbox_worker(UNIX_REACH_NONE) == NULL);
		abort();
	}
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void its_member_is_replaced(void)
{
	int32_t word = 0;
	int status;
	pid_t pid;

	EXPECT(sandbox_worker(UNIX_REACH_NONE) == NULL);
	pid = proc_clone_member(&word);
	if (pid == 0)
		_exit(7);
	EXPECT(pid > 0);
	EXPECT(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
}

static void has_its_filter_only(void)
{
	const char *missing = sandbox_worker(UNIX_REACH_NONE);

	EXPECT(missing && strstr(missing, "landlock, which") == missing);
	EXPECT(fork() < 0 && errno == EPERM);
	EXPECT(open("/etc/passwd", O_RDONLY) < 0 && errno == EPERM);
}

static void is_a_worker_without_landlock(void)
{
	EXPECT(lose_call(SYS_landlock_create_ruleset));
	has_its_filter_only();
}

static void is_a_worker_whose_landlock_fails(void)
{
	EXPECT(lose_call(SYS_landlock_restrict_self));
	has_its_filter_only();
}

static void is_a_worker_without_anything(void)
{
	const char *missing;

	EXPECT(lose_call(SYS_prctl));
	missing = sandbox_worker(UNIX_REACH_NONE);
	EXPECT(missing && strstr(missing, "landlock and a filter") == missing);
}

static void sandbox(void **state)
{
	int listener;

	in_child(is_a_worker);
	in_child(does_no_more_than_that);
	in_child(speaks_to_no_unix_socket);
	in_child(speaks_to_servers_only);
	snprintf(abstract_name, sizeof(abstract_name), "@test_process.%d", (int)getpid());
	listener = sock_listen_unix(abstract_name, 0600, 5);
	in_child(speaks_to_abstract_servers);
	in_child(speaks_to_no_abstract_servers);
	close(listener);
	in_child(a_fault_is_a_fault);
	in_child(its_member_is_replaced);
	in_child(is_a_worker_without_landlock);
	in_child(is_a_worker_whose_landlock_fails);
	in_child(is_a_worker_without_anything);
}
#else
static void sandbox(void **state)
{
	skip(); /* there is no filter then */
}
#endif

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(shared_memory_keeps_its_size),
	        cmocka_unit_test(sealed_memory_never_changes),
	        cmocka_unit_test(what_is_not_sealed_is_refused),
	        cmocka_unit_test(pipes),
	        cmocka_unit_test(descriptors_that_are_not_kept),
	        cmocka_unit_test(descriptors_on_an_old_kernel),
	        cmocka_unit_test(open_descriptors),
	        cmocka_unit_test(standard_streams),
	        cmocka_unit_test(titles),
	        cmocka_unit_test(members),
	        cmocka_unit_test(a_pidfd_of_the_living),
	        cmocka_unit_test(limits),
	        cmocka_unit_test(users),
	        cmocka_unit_test(giving_up_root),
	        cmocka_unit_test(landlock),
	        cmocka_unit_test(landlock_scopes),
	        cmocka_unit_test(sandbox),
	};

	own_argc = argc;
	own_argv = argv;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
