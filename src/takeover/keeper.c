#include "takeover/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "os/caps.h"
#include "os/private.h"
#include "os/proc.h"

#ifndef F_SEAL_FUTURE_WRITE /* Linux 5.1 */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define FUSER_WINDOW_MS 1000
#define ORPHAN_LOOK_MS  1000
#define SHORT_LIFE_MS   100
#define SHORT_LIVES     4
#define KEEPER_PAUSE_MS 50
#define KEEPER_LOOK_MS  100
#define KEEPER_LOOKS    10  /* without a sign of life of the keeper whose turn it is: a second of our own time */
#define REEXEC_LOOKS    100 /* while it becomes another program */

/* All private state of a member. A process that begins a role clears it: nothing of the one that it
 * was cloned from may be believed. */
static struct {
	int me;               /* MEMBER_... */
	int pidfd[MEMBERS];   /* of the others; -1: not watched */
	bool absent[MEMBERS]; /* no process has its pid */
	bool supervisor_gone;
	unsigned supervisor_serial; /* of the one that we mean */
	int32_t worker_pid;         /* that the spare watches */
	unsigned beats_seen, looks;
	int64_t looked_ms;
} self;

static struct trio_setup setup;
static jmp_buf flat; /* every role begins here: frames of generations of clones must not pile up */

static struct trio *trio(void)
{
	return setup.trio;
}

static void note_supervisor(void)
{
	unsigned serial = atomic_load(&trio()->supervisor_serial);

	if (self.supervisor_serial != serial) /* another one; its pidfd has the number of the old one's */
		self.supervisor_gone = false;
	self.supervisor_serial = serial;
	if (self.supervisor_gone || !proc_pidfd_dead(setup.supervisor_pidfd))
		return;
	self.supervisor_gone = true;
	if (atomic_load(&trio()->supervisor_died_ms) == 0)
		atomic_store(&trio()->supervisor_died_ms, clock_mono_ms());
}

/* What stands between the two is not to be believed by a worker that looks for what is recorded nowhere; nor is it
 * when a member has died in between, until its successor has put that right. */
static void begin_change(int member)
{
	atomic_uint *changes = &trio()->changes[member];

	atomic_store(changes, atomic_load(changes) | 1);
	FAULT_POINT();
}

static void end_change(int member)
{
	FAULT_POINT();
	atomic_fetch_add(&trio()->changes[member], 1);
}

static void begin_role(int member)
{
	int32_t *mine = trio()->member_pidfds[member];

	memset(&self, 0, sizeof(self));
	self.me = member;
	begin_change(member);
	for (int i = 0; i < MEMBERS; i++) {
		/* what the predecessor in this role had opened; forget first, then close */
		int fd = mine[i];

		mine[i] = -1;
		FAULT_POINT();
		if (fd >= 0)
			close(fd);
		self.pidfd[i] = -1;
	}
	end_change(member);
	note_supervisor(); /* it may have died before we were: that counts all the same */
}

int program_identify(int fd, struct program_id *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct program_id){.dev = st.st_dev,
	                           .ino = st.st_ino,
	                           .size = (uint64_t)st.st_size,
	                           .modified_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec};
	return 0;
}

/* ---- watching ---- */

static void drop_pidfd(int member)
{
	int fd = self.pidfd[member];

	trio()->member_pidfds[self.me][member] = -1;
	self.pidfd[member] = -1;
	FAULT_POINT();
	if (fd >= 0)
		close(fd);
}

/* There is no such member now. */
static void forget(int member)
{
	begin_change(self.me);
	drop_pidfd(member);
	end_change(self.me);
	self.absent[member] = true;
}

static void watch(int member)
{
	int fd;

	begin_change(self.me);
	drop_pidfd(member);
	fd = proc_pidfd(trio()->pid[member]);
	FAULT_POINT();
	trio()->member_pidfds[self.me][member] = fd;
	end_change(self.me);
	self.pidfd[member] = fd;
	self.absent[member] = fd == -ESRCH;
}

/* A member is dead if its pidfd says so, or if no process has its pid any more. That we have no
 * descriptor left to watch it with proves nothing: then it is tried again. */
static bool is_dead(int member)
{
	if (self.pidfd[member] < 0 && !self.absent[member])
		watch(member);
	return self.pidfd[member] < 0 ? self.absent[member] : proc_pidfd_dead(self.pidfd[member]);
}

static void note_death(int member, int status)
{
	struct trio *t = trio();
	unsigned n = atomic_load(&t->n_deaths);

	t->deaths[n % TRIO_DEATHS] =
	        (struct trio_death){.pid = t->pid[member], .status = status, .member = (uint32_t)member};
	atomic_store(&t->n_deaths, n + 1);
	atomic_store(&t->member_died_ms, clock_mono_ms());
	if (t->wake_fd >= 0 && write(t->wake_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		errno = 0; /* no supervisor is there to be woken */
}

static bool somebody_wants_us_gone(void)
{
	int64_t member = atomic_load(&trio()->member_died_ms);
	int64_t supervisor = atomic_load(&trio()->supervisor_died_ms);
	int64_t apart = member > supervisor ? member - supervisor : supervisor - member;

	return member && supervisor && apart <= FUSER_WINDOW_MS;
}

static _Noreturn void end_all(void)
{
	struct trio *t = trio();

	atomic_store(&t->stopping, 1);
	for (int i = 0; i < MEMBERS; i++)
		if (i != self.me && t->pid[i] > 0 && !is_dead(i))
			kill(t->pid[i], SIGKILL);
	_exit(0);
}

/* Before a member is replaced: is that wanted? */
static void check_end(void)
{
	note_supervisor();
	if (atomic_load(&trio()->stopping) || somebody_wants_us_gone())
		end_all();
}

/* ---- cloning ---- */

/* Returns in the parent; the child starts its role from a flat stack. */
static void start(int member)
{
	pid_t pid;

	FAULT_POINT();
	pid = proc_clone_member(&trio()->pid[member]);
	if (pid == 0)
		longjmp(flat, member + 1);
	FAULT_POINT();
	if (pid > 0)
		watch(member);
	else
		forget(member); /* EAGAIN and its kin: tried again at the next turn */
}

static void reap_all(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* As of waitpid(), -1 if it is not a child of ours. It is not reaped: see replace(). */
static int status_of(pid_t pid)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
		return -1;
	if (info.si_code == CLD_EXITED)
		return info.si_status << 8;
	return info.si_code == CLD_DUMPED ? info.si_status | 0x80 : info.si_status;
}

/* The dead are reaped only when there is a successor: where a process has looked at the descriptors in /proc/PID/fd,
 * that takes a microsecond for each of them. */
static void replace(int member)
{
	bool gave_way = member == MEMBER_WORKER && atomic_load(&trio()->reexec) == REEXEC_HEIR;

	FAULT_POINT();
	if (!gave_way)
		note_death(member, status_of(trio()->pid[member]));
	FAULT_POINT();
	check_end();
	start(member);
	reap_all();
}

/* ---- keepers that are stopped ----
 *
 * By SIGSTOP, a debugger, a freezer: then a keeper replaces no member. Once a member is dead and the keeper that is to
 * replace it does not stir, that keeper is killed, and the rules do the rest. One that tries in vain stirs. Our own
 * looks are counted, not the time: we may have been stopped together.
 */

static void beat(void)
{
	atomic_fetch_add(&trio()->beats[self.me], 1);
}

/* A member is dead that this keeper is to replace. */
static void look_at(int keeper)
{
	unsigned beats = atomic_load(&trio()->beats[keeper]);
	unsigned limit = atomic_load(&trio()->reexec) == REEXEC_NONE ? KEEPER_LOOKS : REEXEC_LOOKS;
	int64_t now_ms = clock_mono_ms();

	if (beats != self.beats_seen)
		self.looks = 0;
	self.beats_seen = beats;
	if (now_ms - self.looked_ms < KEEPER_LOOK_MS)
		return;
	self.looked_ms = now_ms;
	if (++self.looks <= limit)
		return;
	self.looks = 0;
	if (trio()->pid[keeper] > 0 && !is_dead(keeper))
		kill(trio()->pid[keeper], SIGKILL);
}

/* The spare's look at the worker. */
static bool worker_is_dead(void)
{
	int32_t pid = trio()->pid[MEMBER_WORKER];

	if (pid != self.worker_pid) {
		self.worker_pid = pid;
		watch(MEMBER_WORKER);
	}
	if (!is_dead(MEMBER_WORKER))
		return false;
	if (self.pidfd[MEMBER_WORKER] >= 0)
		forget(MEMBER_WORKER); /* or it would be told again and again */
	return true;
}

/* ---- the keepers ---- */

/* Waits until a process that we watch is dead, at most this long. */
static void wait_for_deaths(int timeout_ms)
{
	struct pollfd p[MEMBERS + 1];
	nfds_t n = 0;

	for (int i = 0; i < MEMBERS; i++)
		if (self.pidfd[i] >= 0)
			p[n++] = (struct pollfd){.fd = self.pidfd[i], .events = POLLIN};
	if (!self.supervisor_gone)
		p[n++] = (struct pollfd){.fd = setup.supervisor_pidfd, .events = POLLIN};
	/* without a supervisor: look now and then whether there is a new one */
	if (self.supervisor_gone && (timeout_ms < 0 || timeout_ms > ORPHAN_LOOK_MS))
		timeout_ms = ORPHAN_LOOK_MS;
	poll(p, n, timeout_ms);
	note_supervisor();
	if (somebody_wants_us_gone())
		end_all();
}

/* A worker that dies at once, again and again, must not take a processor. */
static void pause_between_deaths(int64_t *last_start_ms, int *short_lives)
{
	*short_lives = clock_mono_ms() - *last_start_ms < SHORT_LIFE_MS ? *short_lives + 1 : 0;
	if (*short_lives >= SHORT_LIVES)
		poll(NULL, 0, KEEPER_PAUSE_MS);
	*last_start_ms = clock_mono_ms();
}

/* ---- another program ----
 *
 * The worker has ended, asked to. The primary copies the table and becomes the new program, under
 * the same pid; the spare still holds the old table. If the primary dies before it is committed,
 * the spare does what it always does. No instant has a single holder, and no instant has two that
 * would start a worker:
 *
 *   reexec     the primary dies           the old spare               the new spare
 *   WANTED     before it was committed    ends the new one, goes on   waits for that
 *   COMMITTED  before the old spare died  waits for that              ends the old one, becomes primary
 *   NONE       later                      (is dead)                   becomes primary
 *
 * A spare that waits goes on if the other one is dead, too: no worker has started meanwhile.
 */

/* Every descriptor goes through the exec. Where there are many, each is tried; where there are none, 64 are asked for at
 * once: the time in which no client is served. */
static void keep_all_open(int size)
{
	bool many = true;

	for (int from = 0; from < size; from += 64) {
		uint64_t open = many ? UINT64_MAX : proc_open_fds(from, UINT64_MAX);

		many = false;
		for (int i = from ? 0 : 3; i < 64; i++)
			if (open >> i & 1 && fcntl(from + i, F_SETFD, 0) == 0)
				many = true;
	}
}

/* As the supervisor has seen it, in memory that only supervisors can have written. */
static bool is_program_of_supervisor(int binary_fd, int said_fd)
{
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
	struct program_id said, is;

	return fcntl(said_fd, F_GET_SEALS) == seals && pread(said_fd, &said, sizeof(said), SAID_HEAD) == sizeof(said) &&
	       program_identify(binary_fd, &is) == 0 && memcmp(&said, &is, sizeof(is)) == 0;
}

static _Noreturn void become_program(void)
{
	struct trio *t = trio();
	char title[] = "tcpproxy: keeper                "; /* room for titles to come */
	char variable[40];
	char *const argv[] = {title, NULL};
	char *const env[] = {variable, private_is() ? (char *)PRIVATE_VARIABLE "=1" : NULL, NULL};

	snprintf(variable, sizeof(variable), "TCPPROXY_TRIO=%d", t->trio_fd);
	/* from here on no other process can put another file there */
	if (unshare(CLONE_FILES) < 0 || !is_program_of_supervisor(t->binary_fd, t->said_fd))
		_exit(1);
	keep_all_open((int)t->table_size);
	caps_keep_over_exec();
	syscall(SYS_execveat, t->binary_fd, "", argv, env, AT_EMPTY_PATH);
	_exit(1); /* the spare notices */
}

/* The old spare is ended; ours takes its place in the table of members. */
static void finish_reexec(int spare, int32_t pid)
{
	struct trio *t = trio();

	watch(spare);
	if (t->pid[spare] != pid && !is_dead(spare)) {
		kill(t->pid[spare], SIGKILL);
		while (!is_dead(spare))
			poll(&(struct pollfd){.fd = self.pidfd[spare], .events = POLLIN}, 1, 1);
	}
	forget(spare); /* what has happened is not waited for */
	t->pid[spare] = pid;
	t->next_spare = 0;
	barrier();
	atomic_store(&t->reexec, REEXEC_NONE);
	atomic_fetch_add(&t->reexecs, 1);
}

/* The new program had another table; what it has recorded of descriptors is not true of this one. */
static void forget_new_program(int primary)
{
	struct trio *t = trio();
	int fd;

	begin_change(self.me);
	fd = t->next_spare > 0 ? proc_pidfd(t->next_spare) : -1;
	if (fd >= 0) { /* it would end by itself, but must not write meanwhile */
		kill(t->next_spare, SIGKILL);
		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
		close(fd);
	}
	t->next_spare = 0;
	for (int i = 0; i < MEMBERS; i++) {
		t->member_pidfds[primary][i] = -1;
		t->member_pidfds[self.me][i] = self.pidfd[i];
	}
	end_change(self.me);
}

/* Waits until this process is dead. False: that cannot be told. */
static bool outlive(int32_t pid)
{
	int fd;

	begin_change(self.me);
	fd = pid > 0 ? proc_pidfd(pid) : -ESRCH;
	if (fd >= 0) {
		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
		close(fd);
	}
	end_change(self.me);
	return fd >= 0 || fd == -ESRCH;
}

/* A spare whose primary has died in the middle of this: shall it go on? */
static void settle_reexec(void)
{
	struct trio *t = trio();
	int32_t reexec = atomic_load(&t->reexec);
	bool old = t->pid[self.me] == (int32_t)getpid();

	if (reexec != REEXEC_WANTED && reexec != REEXEC_COMMITTED)
		return;
	if (old != (reexec == REEXEC_WANTED) && !outlive(old ? t->next_spare : t->pid[self.me]))
		_exit(0);
	if (!old) {
		finish_reexec(self.me, (int32_t)getpid());
		return;
	}
	forget_new_program(atomic_load(&t->primary));
	atomic_store(&t->reexec, REEXEC_NONE);
	atomic_fetch_add(&t->reexecs_failed, 1);
}

static _Noreturn void run_primary(void)
{
	int other = self.me == MEMBER_KEEPER0 ? MEMBER_KEEPER1 : MEMBER_KEEPER0;
	int64_t last_start_ms = 0;
	int short_lives = 0;

	watch(other);
	watch(MEMBER_WORKER);
	for (;;) {
		beat();
		if (is_dead(other))
			replace(other);
		if (is_dead(MEMBER_WORKER) && atomic_load(&trio()->reexec) == REEXEC_WANTED && !is_dead(other))
			become_program();
		if (is_dead(MEMBER_WORKER)) {
			pause_between_deaths(&last_start_ms, &short_lives);
			replace(MEMBER_WORKER);
		}
		FAULT_ARM_WHEN(!is_dead(other) && !is_dead(MEMBER_WORKER), "TCPPROXY_KEEPER_FAULTS");
		wait_for_deaths(self.pidfd[other] < 0 || self.pidfd[MEMBER_WORKER] < 0 ? 10 : -1);
	}
}

static _Noreturn void run_spare(void)
{
	int primary = atomic_load(&trio()->primary);

	if (primary == self.me)
		run_primary();
	watch(primary);
	while (!is_dead(primary)) {
		bool dead = worker_is_dead();

		beat();
		if (dead)
			look_at(primary);
		else
			self.looks = 0;
		wait_for_deaths(self.pidfd[primary] < 0 || self.pidfd[MEMBER_WORKER] < 0 ? 10 : -1);
	}
	check_end();
	settle_reexec();
	atomic_store(&trio()->primary, self.me);
	run_primary();
}

/* What a worker has wanted that is dead. */
static void forget_wish(void)
{
	int wish = atomic_load(&trio()->reexec);

	if (wish == REEXEC_HEIR_WAITS || wish == REEXEC_HEIR)
		atomic_store(&trio()->reexec, REEXEC_NONE);
}

static _Noreturn void run_worker(void)
{
	int wish;

	watch(MEMBER_KEEPER0);
	watch(MEMBER_KEEPER1);
	forget_wish();
	atomic_fetch_add(&trio()->starts, 1);
	setup.worker(setup.arg);
	wish = atomic_load(&trio()->reexec);
	if (wish != REEXEC_WANTED && wish != REEXEC_HEIR)
		atomic_store(&trio()->stopping, 1);
	_exit(0);
}

/* The life of a member that was cloned. */
static _Noreturn void begin(int member)
{
	/* a worker is armed when it serves, a primary when all are there: else all three could be dead at once */
	FAULT_ARM(member == MEMBER_WORKER ? "" : "TCPPROXY_SPARE_FAULTS");
	begin_role(member);
	if (setup.forget)
		setup.forget(); /* else generations of it would pile up */
	if (member == MEMBER_WORKER) {
		caps_drop();
		proc_title("tcpproxy: worker %u", trio()->number);
		run_worker();
	}
	proc_title("tcpproxy: keeper %u", trio()->number);
	run_spare();
}

/* For a measurement: its keepers are itself, so they never die. */
static _Noreturn void run_alone(void)
{
	for (int i = 0; i < MEMBERS; i++)
		trio()->pid[i] = (int32_t)getpid();
	begin(MEMBER_WORKER);
}

_Noreturn void trio_run(const struct trio_setup *s)
{
	int role;

	setup = *s;
	role = setjmp(flat);
	proc_reset_signals();
	if (role != 0)
		begin(role - 1);
	if (FAULT_ALONE())
		run_alone();
	setup.trio->pid[MEMBER_KEEPER0] = (int32_t)getpid();
	atomic_store(&setup.trio->primary, MEMBER_KEEPER0);
	begin_role(MEMBER_KEEPER0);
	proc_title("tcpproxy: keeper %u", trio()->number);
	/* no member has died, so no death is noted */
	start(MEMBER_KEEPER1);
	start(MEMBER_WORKER);
	run_spare();
}

_Noreturn void trio_continue(const struct trio_setup *s)
{
	int me = atomic_load(&s->trio->primary);
	int other = me == MEMBER_KEEPER0 ? MEMBER_KEEPER1 : MEMBER_KEEPER0;
	int role;

	setup = *s;
	role = setjmp(flat);
	proc_reset_signals();
	if (role != 0)
		begin(role - 1);
	begin_role(me);
	proc_title("tcpproxy: keeper %u", trio()->number);
	if (proc_clone_member(&trio()->next_spare) == 0)
		longjmp(flat, other + 1);
	atomic_store(&trio()->reexec, REEXEC_COMMITTED);
	finish_reexec(other, trio()->next_spare);
	start(MEMBER_WORKER);
	reap_all(); /* the old worker and the old spare */
	run_spare();
}

/* ---- the worker's part ---- */

void trio_want_reexec(void)
{
	atomic_store(&trio()->reexec, REEXEC_WANTED);
}

void trio_want_successor(void)
{
	atomic_store(&trio()->reexec, REEXEC_HEIR);
}

int trio_worker_pidfds(int *fds)
{
	int n = 0;

	/* one that is dead has told so, and would do it again and again until it is replaced */
	for (int keeper = MEMBER_KEEPER0; keeper <= MEMBER_KEEPER1; keeper++)
		if (self.pidfd[keeper] >= 0 && !is_dead(keeper))
			fds[n++] = self.pidfd[keeper];
	if (!self.supervisor_gone)
		fds[n++] = setup.supervisor_pidfd;
	return n;
}

/* Both keepers dead, and neither was replaced while we looked? (A worker that was off the processor
 * between the two looks would else combine the old pid of one with the death of the other.) */
static bool both_keepers_dead(void)
{
	int32_t pid0 = trio()->pid[MEMBER_KEEPER0], pid1 = trio()->pid[MEMBER_KEEPER1];

	watch(MEMBER_KEEPER0);
	watch(MEMBER_KEEPER1);
	if (!is_dead(MEMBER_KEEPER0) || !is_dead(MEMBER_KEEPER1))
		return false;
	barrier();
	return pid0 == trio()->pid[MEMBER_KEEPER0] && pid1 == trio()->pid[MEMBER_KEEPER1];
}

void trio_worker_check(void)
{
	note_supervisor();
	if (somebody_wants_us_gone())
		end_all();
	if (!is_dead(MEMBER_KEEPER0) && !is_dead(MEMBER_KEEPER1)) {
		self.looks = 0;
		return;
	}
	reap_all();
	if (!is_dead(MEMBER_KEEPER0) || !is_dead(MEMBER_KEEPER1))
		look_at(is_dead(MEMBER_KEEPER0) ? MEMBER_KEEPER1 : MEMBER_KEEPER0);
	if (both_keepers_dead()) {
		note_death(MEMBER_KEEPER0, -1);
		check_end();
		atomic_store(&trio()->confined, 1);
		atomic_store(&trio()->primary, MEMBER_KEEPER0);
		start(MEMBER_KEEPER0);
	}
}

bool trio_worker_watches_all(void)
{
	return !is_dead(MEMBER_KEEPER0) && !is_dead(MEMBER_KEEPER1);
}

bool trio_supervised(void)
{
	return !proc_pidfd_dead(setup.supervisor_pidfd);
}

void trio_set_supervisor(int pidfd)
{
	struct trio *t = trio();

	dup3(pidfd, setup.supervisor_pidfd, O_CLOEXEC);
	close(pidfd);
	atomic_fetch_add(&t->supervisor_serial, 1);
	/* last: a member that begins meanwhile must not find the death of the old one again */
	atomic_store(&t->supervisor_died_ms, 0);
}
