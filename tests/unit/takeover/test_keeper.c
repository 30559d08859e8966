/*
 * A trio of real processes. The test is what they would have above them in life: it starts a
 * process that stands for the supervisor, and the first keeper; it adopts whoever loses its parent,
 * so it can tell when all are gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "os/proc.h"
#include "takeover/keeper.h"

#define GENERATIONS 200
#define ROUNDS      30
#define BOUND_MS    10000

/* What workers tell, in memory that the test shares with them. */
struct told {
	atomic_int worker; /* pid of the one that serves */
	atomic_int watches_all;
	atomic_uintptr_t frame; /* where its stack stood */
	atomic_int pipe_read;   /* opened by the first worker */
	atomic_int byte;        /* what a later one read from that pipe; -1: could not */
	atomic_int finish;      /* the worker shall return */
	atomic_int blind;       /* the worker shall not look after its keepers */
	atomic_int lie;         /* the worker shall want another program than the supervisor has named */
	atomic_int give_way;    /* the worker shall return for a successor: to 0 by that */
};

static struct trio *trio;
static struct told *told;
static int trio_fd;
static pid_t supervisor;
static int supervisor_pidfd;

/* It would wait for its input, which does not come: it would not end. */
static void want_program(void)
{
	dup2(atomic_load(&told->pipe_read), STDIN_FILENO);
	trio->binary_fd = open("/bin/cat", O_RDONLY | O_CLOEXEC);
	trio->said_fd = memfd_create("said", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(trio->said_fd, 4096) == 0)
		fcntl(trio->said_fd, F_ADD_SEALS,
		      F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | 0x0010 /* future writing */);
	trio_want_reexec();
}

static void tiny_worker(void *arg)
{
	char here = 0;

	atomic_store(&told->frame, (uintptr_t)&here);
	if (atomic_load(&told->pipe_read) < 0) {
		int ends[2] = {-1, -1};

		if (pipe(ends) == 0 && write(ends[1], "a", 1) == 1)
			atomic_store(&told->pipe_read, ends[0]);
	} else if (atomic_load(&told->byte) == 0) {
		atomic_store(&told->byte, read(atomic_load(&told->pipe_read), &here, 1) == 1 ? here : -1);
	}
	while (!atomic_load(&told->finish) && !atomic_exchange(&told->give_way, 0)) {
		struct pollfd p[3];
		int fds[3], n = trio_worker_pidfds(fds);

		for (int i = 0; i < n; i++)
			p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
		atomic_store(&told->watches_all, trio_worker_watches_all());
		atomic_store(&told->worker, getpid());
		poll(p, (nfds_t)n, trio_worker_watches_all() ? 100 : 5);
		if (!atomic_load(&told->blind))
			trio_worker_check();
		if (atomic_exchange(&told->lie, 0)) {
			want_program();
			return;
		}
	}
	if (!atomic_load(&told->finish))
		trio_want_successor();
}

static void start_supervisor(void)
{
	supervisor = fork();
	if (supervisor == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	supervisor_pidfd = proc_pidfd(supervisor);
	assert_true(supervisor_pidfd >= 0);
}

static void start_trio(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		int keep[] = {proc_pidfd(supervisor)};
		struct trio_setup s = {.trio = trio, .supervisor_pidfd = keep[0], .worker = tiny_worker};

		proc_close_except(3, keep, 1);
		trio_run(&s);
	}
	assert_true(pid > 0);
}

static int setup(void **state)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	trio_fd = trio_new(0, 4, &trio);
	assert_true(trio_fd >= 0);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(told, MAP_FAILED);
	memset(told, 0, sizeof(*told));
	atomic_store(&told->pipe_read, -1);
	start_supervisor();
	start_trio();
	return 0;
}

static void nap(void)
{
	poll(NULL, 0, 1);
}

/* True when every process below the test, the supervisor included, has ended. */
static bool all_gone(void)
{
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		;
	return waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD;
}

static int teardown(void **state)
{
	int64_t bound = clock_mono_ms() + BOUND_MS;

	atomic_store(&trio->stopping, 1);
	kill(supervisor, SIGKILL);
	while (!all_gone() && clock_mono_ms() < bound) {
		for (int i = 0; i < MEMBERS; i++)
			if (trio->pid[i] > 0)
				kill(trio->pid[i], SIGKILL);
		nap();
	}
	assert_true(all_gone());
	close(supervisor_pidfd);
	munmap(told, sizeof(*told));
	trio_unmap(trio);
	close(trio_fd);
	return 0;
}

/* ---- waiting for states ---- */

#define WAIT_FOR(condition)                                                                                         \
	do {                                                                                                        \
		int64_t bound_ = clock_mono_ms() + BOUND_MS;                                                        \
		while (!(condition)) {                                                                              \
			if (clock_mono_ms() > bound_)                                                               \
				fail_msg("never came true: %s (keepers %d %d worker %d)", #condition, trio->pid[0], \
				         trio->pid[1], trio->pid[2]);                                               \
			nap();                                                                                      \
		}                                                                                                   \
	} while (0)

/* State letter of a process; 0: there is none. */
static char state_of(pid_t pid)
{
	char path[64], text[256] = "";
	char *behind;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	behind = strrchr(text, ')');
	return behind ? behind[2] : 0;
}

static bool alive(pid_t pid)
{
	char c = pid > 0 ? state_of(pid) : 0;

	return c && c != 'Z' && c != 'X';
}

/* Three living processes, and a worker that watches both keepers. */
static bool whole(void)
{
	pid_t worker = trio->pid[MEMBER_WORKER];

	waitpid(-1, NULL, WNOHANG); /* those that we adopted */
	for (int i = 0; i < MEMBERS; i++)
		if (!alive(trio->pid[i]))
			return false;
	return atomic_load(&told->worker) == worker && atomic_load(&told->watches_all) &&
	       worker == trio->pid[MEMBER_WORKER];
}

/* Whole, and each keeper sleeps and has recorded what it watches: the other keeper and the worker. */
static bool settled(void)
{
	int acts = atomic_load(&trio->primary), spare = 1 - acts;

	return whole() && trio->member_pidfds[acts][spare] >= 0 && trio->member_pidfds[acts][MEMBER_WORKER] >= 0 &&
	       trio->member_pidfds[spare][acts] >= 0 && trio->member_pidfds[spare][MEMBER_WORKER] >= 0 &&
	       state_of(trio->pid[acts]) == 'S' && state_of(trio->pid[spare]) == 'S';
}

static void kill_member(int member)
{
	if (trio->pid[member] > 0)
		kill(trio->pid[member], SIGKILL);
}

static int open_in(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* ---- tests ---- */

static void a_trio_is_three_processes(void **state)
{
	WAIT_FOR(whole());
	assert_int_not_equal(trio->pid[0], trio->pid[1]);
	assert_int_not_equal(trio->pid[1], trio->pid[2]);
	assert_int_equal(trio->starts, 1);
	assert_int_equal(trio->n_deaths, 0); /* nobody died at the start */
	assert_int_equal(trio->primary, MEMBER_KEEPER0);
}

/* Kills these members, waits until the trio is whole and they are others; many times. */
static void kill_and_wait(unsigned members)
{
	WAIT_FOR(whole());
	for (int round = 0; round < ROUNDS; round++) {
		pid_t old[MEMBERS];

		memcpy(old, trio->pid, sizeof(old));
		for (int i = 0; i < MEMBERS; i++)
			if (members >> i & 1)
				kill(old[i], SIGKILL);
		for (int i = 0; i < MEMBERS; i++)
			if (members >> i & 1)
				WAIT_FOR(trio->pid[i] != old[i]);
		WAIT_FOR(whole());
		for (int i = 0; i < MEMBERS; i++)
			if (!(members >> i & 1))
				assert_int_equal(trio->pid[i], old[i]); /* nobody else died */
	}
	assert_true(trio->n_deaths >= ROUNDS);
}

static void a_worker_is_replaced(void **state)
{
	kill_and_wait(1 << MEMBER_WORKER);
	assert_int_equal(trio->starts, ROUNDS + 1);
}

static void the_first_keeper_is_replaced(void **state)
{
	kill_and_wait(1 << MEMBER_KEEPER0);
}

static void the_second_keeper_is_replaced(void **state)
{
	kill_and_wait(1 << MEMBER_KEEPER1);
}

static void both_keepers_are_replaced(void **state)
{
	kill_and_wait(1 << MEMBER_KEEPER0 | 1 << MEMBER_KEEPER1);
}

static void a_worker_and_the_first_keeper_are_replaced(void **state)
{
	kill_and_wait(1 << MEMBER_WORKER | 1 << MEMBER_KEEPER0);
}

static void a_worker_and_the_second_keeper_are_replaced(void **state)
{
	kill_and_wait(1 << MEMBER_WORKER | 1 << MEMBER_KEEPER1);
}

/* One after the other at any instant, while the last death is still being seen to. One always
 * lives: the next is killed only when the one before it has been replaced. */
static void at_any_instant(void **state)
{
	WAIT_FOR(whole());
	srandom(4711);
	for (int round = 0; round < ROUNDS * 4; round++) {
		int member = (int)(random() % MEMBERS);
		pid_t old = trio->pid[member];

		kill_member(member);
		WAIT_FOR(trio->pid[member] != old);
	}
	WAIT_FOR(whole());
}

/* The descriptor table belongs to all three. */
static void descriptors_outlive_a_worker(void **state)
{
	WAIT_FOR(whole());
	assert_true(atomic_load(&told->pipe_read) >= 0);
	kill_member(MEMBER_WORKER);
	WAIT_FOR(atomic_load(&told->byte) != 0);
	assert_int_equal(told->byte, 'a');
	WAIT_FOR(whole());
}

/* Generation after generation starts from the same stack, with the same number of descriptors. */
static void generations_leak_nothing(void **state)
{
	uintptr_t frame;
	int n;

	WAIT_FOR(settled());
	frame = atomic_load(&told->frame);
	n = open_in(trio->pid[MEMBER_WORKER]);
	assert_true(n > 0);
	for (int i = 0; i < GENERATIONS; i++) {
		/* always the one that acts, so that each keeper was cloned by the one before; and
		 * when it sleeps: between the opening of a pidfd and its record one could be lost
		 */
		int member = atomic_load(&trio->primary);
		pid_t old = trio->pid[member];

		kill_member(member);
		WAIT_FOR(trio->pid[member] != old && atomic_load(&trio->primary) != member && settled());
	}
	WAIT_FOR(whole());
	for (int i = 0; i < 20; i++) {
		pid_t old = trio->pid[MEMBER_WORKER];

		kill_member(MEMBER_WORKER);
		WAIT_FOR(trio->pid[MEMBER_WORKER] != old && settled());
	}
	assert_true(atomic_load(&told->frame) == frame);
	WAIT_FOR(open_in(trio->pid[MEMBER_WORKER]) == n);
}

/* ---- the fuser rule ---- */

static void nobody_is_left(void)
{
	WAIT_FOR(all_gone());
}

static void supervisor_then_worker(void **state)
{
	WAIT_FOR(whole());
	kill(supervisor, SIGKILL);
	kill_member(MEMBER_WORKER);
	nobody_is_left();
}

static void supervisor_then_keeper(void **state)
{
	WAIT_FOR(whole());
	kill(supervisor, SIGKILL);
	kill_member(MEMBER_KEEPER1);
	nobody_is_left();
}

/* The replacement was there already. */
static void worker_then_supervisor(void **state)
{
	pid_t old;

	WAIT_FOR(whole());
	old = trio->pid[MEMBER_WORKER];
	kill(old, SIGKILL);
	WAIT_FOR(trio->pid[MEMBER_WORKER] != old);
	kill(supervisor, SIGKILL);
	nobody_is_left();
}

static void keepers_then_supervisor(void **state)
{
	pid_t old;

	WAIT_FOR(whole());
	old = trio->pid[MEMBER_KEEPER0];
	kill_member(MEMBER_KEEPER0);
	kill_member(MEMBER_KEEPER1);
	WAIT_FOR(trio->pid[MEMBER_KEEPER0] != old);
	kill(supervisor, SIGKILL);
	nobody_is_left();
}

/* Alone it costs nobody his life; and later deaths are deaths as any other. */
static void a_supervisor_alone(void **state)
{
	int64_t since;
	pid_t old[MEMBERS];

	WAIT_FOR(whole());
	memcpy(old, trio->pid, sizeof(old));
	kill(supervisor, SIGKILL);
	WAIT_FOR(atomic_load(&trio->supervisor_died_ms) != 0);
	since = clock_mono_ms();
	WAIT_FOR(clock_mono_ms() > since + 1050); /* the rule's second */
	assert_memory_equal(old, trio->pid, sizeof(old));
	assert_true(whole());
	for (int i = 0; i < MEMBERS; i++) {
		kill(old[i], SIGKILL);
		WAIT_FOR(trio->pid[i] != old[i] && whole());
	}
}

static void members_die_long_before_the_supervisor(void **state)
{
	int64_t since;
	pid_t old[MEMBERS];

	WAIT_FOR(whole());
	old[MEMBER_WORKER] = trio->pid[MEMBER_WORKER];
	kill_member(MEMBER_WORKER);
	WAIT_FOR(trio->pid[MEMBER_WORKER] != old[MEMBER_WORKER] && whole());
	since = clock_mono_ms();
	WAIT_FOR(clock_mono_ms() > since + 1050);
	memcpy(old, trio->pid, sizeof(old));
	kill(supervisor, SIGKILL);
	WAIT_FOR(atomic_load(&trio->supervisor_died_ms) != 0);
	since = clock_mono_ms();
	WAIT_FOR(clock_mono_ms() > since + 100);
	assert_memory_equal(old, trio->pid, sizeof(old));
	assert_true(whole());
}

/* ---- the end in order ---- */

static void a_worker_that_returns_ends_all(void **state)
{
	WAIT_FOR(whole());
	atomic_store(&told->finish, 1);
	WAIT_FOR(!alive(trio->pid[0]) && !alive(trio->pid[1]) && !alive(trio->pid[2]));
	assert_int_equal(trio->starts, 1);
	assert_true(alive(supervisor));
}

static void when_stopping_nobody_is_replaced(void **state)
{
	WAIT_FOR(whole());
	atomic_store(&trio->stopping, 1);
	kill_member(MEMBER_WORKER);
	WAIT_FOR(!alive(trio->pid[0]) && !alive(trio->pid[1]) && !alive(trio->pid[2]));
	assert_int_equal(trio->starts, 1);
}

/* The supervisor's log is told who died of what. */
static void deaths_are_noted(void **state)
{
	pid_t old;

	WAIT_FOR(whole());
	old = trio->pid[MEMBER_WORKER];
	kill(old, SIGSEGV);
	WAIT_FOR(trio->pid[MEMBER_WORKER] != old && whole());
	assert_int_equal(trio->n_deaths, 1);
	assert_int_equal(trio->deaths[0].pid, old);
	assert_int_equal(trio->deaths[0].member, MEMBER_WORKER);
	assert_true(WIFSIGNALED(trio->deaths[0].status));
	assert_int_equal(WTERMSIG(trio->deaths[0].status), SIGSEGV);
}

/* It is followed by another one, and nobody has died: not even when it is no child of the keeper that acts. */
static void a_worker_gives_way(void **state)
{
	pid_t old, keeper;

	for (int i = 0; i < 2; i++) {
		WAIT_FOR(settled());
		old = trio->pid[MEMBER_WORKER];
		atomic_store(&told->give_way, 1);
		WAIT_FOR(trio->pid[MEMBER_WORKER] != old && whole());
		assert_int_equal(trio->n_deaths, i);
		assert_int_equal(trio->member_died_ms != 0, i);
		assert_int_equal(trio->reexec, REEXEC_NONE);
		assert_int_equal(trio->starts, i + 2);
		keeper = trio->pid[atomic_load(&trio->primary)];
		kill(keeper, SIGKILL);
		WAIT_FOR(trio->pid[0] != keeper && trio->pid[1] != keeper && trio->n_deaths == i + 1u);
	}
}

/* Nanoseconds that a process has run for. */
static long long ran_for(pid_t pid)
{
	char path[64];
	long long ns = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%lld", &ns) != 1)
			ns = -1;
		fclose(f);
	}
	return ns;
}

static bool sleeps(pid_t pid)
{
	long long before = ran_for(pid);

	poll(NULL, 0, 20);
	return before >= 0 && ran_for(pid) == before;
}

static pid_t one_that_waits(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* The primary was renewed, has committed it, and dies before it has ended the old spare: the new one does that, takes the
 * place, and rests. */
static void a_committed_renewal_is_finished_by_the_new_spare(void **state)
{
	pid_t spare, old = one_that_waits();

	atomic_store(&told->blind, 1); /* in life there is none meanwhile */
	WAIT_FOR(settled());
	spare = trio->pid[MEMBER_KEEPER1];
	trio->pid[MEMBER_KEEPER1] = old;
	atomic_store(&trio->reexec, REEXEC_COMMITTED);
	kill_member(MEMBER_KEEPER0);
	WAIT_FOR(!alive(old));
	WAIT_FOR(trio->reexecs == 1);
	atomic_store(&told->blind, 0);
	WAIT_FOR(trio->pid[MEMBER_KEEPER1] == spare && whole());
	assert_int_equal(trio->reexec, REEXEC_NONE);
	assert_int_equal(trio->primary, MEMBER_KEEPER1);
	WAIT_FOR(sleeps(spare));
}

/* The primary dies in the middle of a renewal. The spare is to wait for this process, whose pid is put in that place, and goes
 * on when it has died, too, which this word then counts. */
static void renewal_without_either(int renew, int32_t *place, const atomic_uint *counted)
{
	pid_t spare, other = one_that_waits();

	atomic_store(&told->blind, 1);
	WAIT_FOR(settled());
	spare = trio->pid[MEMBER_KEEPER1];
	*place = other;
	atomic_store(&trio->reexec, renew);
	kill_member(MEMBER_KEEPER0);
	WAIT_FOR(trio->changes[MEMBER_KEEPER1] % 2 == 1 && state_of(spare) == 'S');
	kill(other, SIGKILL);
	WAIT_FOR(*counted == 1);
	atomic_store(&told->blind, 0);
	WAIT_FOR(trio->pid[MEMBER_KEEPER1] == spare && whole());
	assert_int_equal(trio->reexec, REEXEC_NONE);
	assert_int_equal(trio->primary, MEMBER_KEEPER1);
}

static void the_old_spare_goes_on_when_the_new_one_is_dead(void **state)
{
	renewal_without_either(REEXEC_COMMITTED, &trio->next_spare, &trio->reexecs_failed);
}

/* Before it was committed. */
static void the_new_spare_goes_on_when_the_old_one_is_dead(void **state)
{
	renewal_without_either(REEXEC_WANTED, &trio->pid[MEMBER_KEEPER1], &trio->reexecs);
}

/* A worker that has been taken over by somebody could else have its keepers execute what he likes. */
static void a_program_that_the_supervisor_has_not_named_is_not_executed(void **state)
{
	pid_t primary;

	WAIT_FOR(settled());
	primary = trio->pid[MEMBER_KEEPER0];
	atomic_store(&told->lie, 1);
	WAIT_FOR(trio->reexecs_failed == 1);
	WAIT_FOR(whole());
	assert_int_equal(trio->primary, MEMBER_KEEPER1);
	assert_false(alive(primary));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_program_that_the_supervisor_has_not_named_is_not_executed),
	        TEST(a_trio_is_three_processes),
	        TEST(a_worker_is_replaced),
	        TEST(the_first_keeper_is_replaced),
	        TEST(the_second_keeper_is_replaced),
	        TEST(both_keepers_are_replaced),
	        TEST(a_worker_and_the_first_keeper_are_replaced),
	        TEST(a_worker_and_the_second_keeper_are_replaced),
	        TEST(at_any_instant),
	        TEST(descriptors_outlive_a_worker),
	        TEST(generations_leak_nothing),
	        TEST(supervisor_then_worker),
	        TEST(supervisor_then_keeper),
	        TEST(worker_then_supervisor),
	        TEST(keepers_then_supervisor),
	        TEST(a_supervisor_alone),
	        TEST(members_die_long_before_the_supervisor),
	        TEST(a_worker_that_returns_ends_all),
	        TEST(when_stopping_nobody_is_replaced),
	        TEST(deaths_are_noted),
	        TEST(a_worker_gives_way),
	        TEST(a_committed_renewal_is_finished_by_the_new_spare),
	        TEST(the_old_spare_goes_on_when_the_new_one_is_dead),
	        TEST(the_new_spare_goes_on_when_the_old_one_is_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
