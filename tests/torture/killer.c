/*
 * killer.c - kill -9 of processes of ours, at random, the next when everything is whole again; reloads and upgrades.
 *
 * usage: killer SEED WHOM KILLS TRIOS PROGRAM LOG ARGUMENT...
 *
 *   PROGRAM ARGUMENT... is what was started, LOG its stderr. WHOM: of these letters, one of which is drawn each time
 *   (each as often as it stands there):
 *
 *   w  a worker                         s  the spawner
 *   k  a keeper                         S  the supervisor; the program is started again
 *   m  any member                       h  no kill: SIGHUP to the supervisor
 *   2  any two of a trio                u  no kill: another copy of the program, SIGUSR2
 *   d  one of each of two trios         U  the same, and one process is killed at some instant of it
 *   p  a worker at one of its system calls, before or behind it
 *   b  a member, and its successor at one of the system calls from its birth on
 *
 * At the end one line: how many were killed. Exit status 1: it did not become whole in time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_TRIOS       64
#define MAX_OURS        1024
#define PATIENCE_S      10
#define FUSER_WINDOW_US 1100000 /* the supervisor and a member dead within a second: all end, and rightly */
#define STOP_S          0.03    /* a traced process that makes no system call for so long sleeps */

struct process {
	pid_t pid;
	int trio; /* -1: none */
	ino_t file;
	char title[64];
};

struct trio { /* as the titles of the processes tell it */
	pid_t worker, keeper[2];
	int workers, keepers;
};

static struct process ours[MAX_OURS];
static struct trio trios[MAX_TRIOS];
static pid_t spawner, supervisor;
static bool confined[MAX_TRIOS]; /* has had keepers cloned by a worker: they may not execute another program */
static int n_ours, n_trios, n_spawners, n_supervisors, n_others;
static ino_t file; /* of the program that all should run; 0: any */
static const char *program, *log_path;
static char **command;
static uint64_t state;
static unsigned long killed, workers, keepers, spawners, supervisors, reloads, upgrades, inside, traced, born;
static unsigned long steps; /* system calls that the next traced one makes */

static uint64_t dice(uint64_t n)
{
	uint64_t x = state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) % n;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAIL ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" after %lu kills; there are", killed);
	for (int i = 0; i < n_ours; i++)
		printf(" %d %s%s,", ours[i].pid, ours[i].title, file && ours[i].file != file ? " (old)" : "");
	printf("\n");
	exit(1);
}

/* ---- looking ---- */

static bool is_ours(const char *pid, struct process *ret)
{
	char path[300], exe[512];
	struct stat st;
	size_t len = strlen(program);
	ssize_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	n = readlink(path, exe, sizeof(exe) - 1); /* fails for one that is dead */
	if (n < (ssize_t)len)
		return false;
	exe[n] = '\0';
	if (strncmp(exe, program, len) != 0 || (exe[len] && strcmp(exe + len, " (deleted)") != 0) ||
	    stat(path, &st) < 0)
		return false;
	*ret = (struct process){.pid = atoi(pid), .file = st.st_ino};
	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	ret->title[fread(ret->title, 1, sizeof(ret->title) - 1, f)] = '\0';
	fclose(f);
	return true;
}

static void sort_in(struct process *p)
{
	unsigned number;

	p->trio = -1;
	if (sscanf(p->title, "tcpproxy: worker %u", &number) == 1 && number < MAX_TRIOS) {
		p->trio = (int)number;
		trios[number].worker = p->pid;
		trios[number].workers++;
	} else if (sscanf(p->title, "tcpproxy: keeper %u", &number) == 1 && number < MAX_TRIOS) {
		p->trio = (int)number;
		trios[number].keeper[trios[number].keepers++ % 2] = p->pid;
	} else if (strncmp(p->title, "tcpproxy: spawner", 17) == 0) {
		/* one of a dead supervisor, or the old program's, stays as long as its programs write */
		if (file && p->file != file)
			return;
		spawner = p->pid;
		n_spawners++;
	} else if (strncmp(p->title, "tcpproxy: supervisor", 20) == 0) {
		supervisor = p->pid;
		n_supervisors++;
	} else {
		n_others++; /* one that has just been started, a guard, the trial of an upgrade */
	}
}

static void look(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	memset(trios, 0, sizeof(trios));
	n_ours = n_spawners = n_supervisors = n_others = 0;
	while (d && (e = readdir(d)) && n_ours < MAX_OURS)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_ours(e->d_name, &ours[n_ours]) &&
		    strncmp(ours[n_ours].title, "tcpproxy: files", 15) != 0 &&
		    strncmp(ours[n_ours].title, "tcpproxy: sockets", 17) != 0) /* these have a killer of their own */
			sort_in(&ours[n_ours++]);
	if (d)
		closedir(d);
}

static bool all_whole(void)
{
	look();
	for (int i = 0; i < n_trios; i++)
		if (trios[i].workers != 1 || trios[i].keepers != 2)
			return false;
	for (int i = 0; i < n_ours && file; i++)
		if (ours[i].file != file && !(ours[i].trio >= 0 && confined[ours[i].trio]) &&
		    strncmp(ours[i].title, "tcpproxy: spawner", 17) != 0)
			return false;
	return n_spawners >= 1 && n_supervisors == 1 && n_others == 0;
}

static void wait_whole(void)
{
	double begin = now_s();

	while (!all_whole()) {
		if (now_s() - begin > PATIENCE_S)
			fail("not whole again in %d s", PATIENCE_S);
		usleep(200);
	}
}

/* How often the log says it. */
static int logged(const char *words)
{
	char line[4096];
	FILE *f = fopen(log_path, "r");
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, words) != NULL;
	if (f)
		fclose(f);
	return n;
}

/* ---- killing ---- */

/* All at once, and then until they are dead: until then they look alive. */
static void kill_all(const pid_t *victims, int n)
{
	int pidfds[4];

	for (int i = 0; i < n; i++)
		pidfds[i] = (int)syscall(SYS_pidfd_open, victims[i], 0);
	for (int i = 0; i < n; i++)
		kill(victims[i], SIGKILL);
	for (int i = 0; i < n; i++) {
		struct pollfd p = {.fd = pidfds[i], .events = POLLIN};

		killed++;
		if (pidfds[i] < 0)
			continue;
		if (poll(&p, 1, PATIENCE_S * 1000) != 1)
			fail("process %d was killed and does not die", victims[i]);
		close(pidfds[i]);
	}
}

static pid_t member(int trio, int which)
{
	if (which == 0)
		workers++;
	else
		keepers++;
	return which == 0 ? trios[trio].worker : trios[trio].keeper[which - 1];
}

/* ---- at a system call ---- */

/* Its next stop. false: it sleeps, or is gone. */
static bool next_stop(pid_t pid, int *status, double limit_s)
{
	double begin = now_s();

	while (now_s() - begin < limit_s) {
		pid_t got = waitpid(pid, status, WNOHANG | __WALL);

		if (got < 0)
			return false;
		if (got == pid)
			return WIFSTOPPED(*status);
	}
	return false;
}

/* Lets it pass n stops, two for each call, and kills it there. */
static void kill_at_call(pid_t pid, unsigned long n)
{
	int status;

	for (unsigned long i = 0; i < n; i++) {
		ptrace(PTRACE_SYSCALL, pid, 0, 0);
		if (!next_stop(pid, &status, STOP_S))
			break;
	}
	kill(pid, SIGKILL);
	killed++;
	traced++;
	waitpid(pid, &status, __WALL);
}

static void strike_at_call(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) < 0)
		return;
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	if (next_stop(pid, &status, PATIENCE_S))
		kill_at_call(pid, ++steps % 64);
	else
		kill_at_call(pid, 0);
}

/* A keeper that clones somebody has the clone traced from its first instruction on. */
static void watch_births(pid_t keeper)
{
	int status;

	if (ptrace(PTRACE_SEIZE, keeper, 0, PTRACE_O_TRACEFORK) < 0)
		return;
	ptrace(PTRACE_INTERRUPT, keeper, 0, 0);
	if (next_stop(keeper, &status, PATIENCE_S))
		ptrace(PTRACE_CONT, keeper, 0, 0);
}

/* Only who has stopped can be let go; who is not, stands still as soon as it stops, and for good. So may one be that was
 * born meanwhile. */
static void let_go(pid_t pid)
{
	unsigned long child;
	int status;

	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	if (!next_stop(pid, &status, PATIENCE_S))
		return;
	if (status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8) && ptrace(PTRACE_GETEVENTMSG, pid, 0, &child) == 0)
		let_go((pid_t)child);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void strike_at_birth(int trio)
{
	pid_t *k = trios[trio].keeper, child = 0;
	int which = (int)dice(3), status;
	pid_t victim = member(trio, which);
	double begin = now_s();
	unsigned long child_id = 0;

	for (int i = 0; i < 2; i++)
		if (k[i] != victim)
			watch_births(k[i]);
	kill(victim, SIGKILL);
	killed++;
	while (!child && now_s() - begin < 1)
		for (int i = 0; i < 2 && !child; i++) {
			if (k[i] == victim || waitpid(k[i], &status, WNOHANG | __WALL) != k[i] || !WIFSTOPPED(status))
				continue;
			if (status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8)) {
				ptrace(PTRACE_GETEVENTMSG, k[i], 0, &child_id);
				child = (pid_t)child_id;
			}
			ptrace(PTRACE_CONT, k[i], 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
		}
	for (int i = 0; i < 2; i++)
		if (k[i] != victim)
			let_go(k[i]);
	if (!child)
		return;
	born++;
	if (next_stop(child, &status, PATIENCE_S))
		kill_at_call(child, ++steps % 400);
	else
		kill_at_call(child, 0);
}

/* ---- upgrades ---- */

/* The same program in another file. */
static void replace_file(void)
{
	char fresh[512], line[2048];
	struct stat st;

	snprintf(fresh, sizeof(fresh), "%s.fresh", program);
	snprintf(line, sizeof(line), "cp -p '%s' '%s' && mv -f '%s' '%s'", program, fresh, fresh, program);
	if (system(line) != 0 || stat(program, &st) < 0)
		fail("the program cannot be copied");
	file = st.st_ino;
}

static void upgrade(void)
{
	int before = logged("upgrade: done");

	replace_file();
	kill(supervisor, SIGUSR2);
	wait_whole();
	for (int i = 0; i < 10000 && logged("upgrade: done") == before; i++)
		usleep(1000);
	upgrades++;
}

static void start_again(void)
{
	int before = logged("took over");
	double begin = now_s();
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR), log = open(log_path, O_WRONLY | O_APPEND);

		dup2(null, 0);
		dup2(log, 1);
		dup2(log, 2);
		closefrom(3);
		execv(program, command);
		_exit(127);
	}
	while (logged("took over") == before) {
		if (now_s() - begin > PATIENCE_S) {
			look();
			fail("the next supervisor has not taken over in %d s", PATIENCE_S);
		}
		usleep(1000);
	}
}

static void kill_supervisor(void)
{
	usleep(FUSER_WINDOW_US);
	look();
	kill_all(&supervisor, 1);
	supervisors++;
	usleep((useconds_t)dice(100000));
	start_again();
}

/* Whoever has lost its supervisor and finds none in the guard gets one. */
static void settle_after_kill(void)
{
	double begin = now_s(), alone = begin;

	file = 0; /* some trios may have gone back */
	while (!all_whole()) {
		if (n_supervisors > 0 || n_others > 0)
			alone = now_s();
		if (now_s() - alone > 1) {
			start_again();
			alone = now_s();
		}
		if (now_s() - begin > 3 * PATIENCE_S)
			fail("not whole %d s after a kill in an upgrade", 3 * PATIENCE_S);
		usleep(500);
	}
}

static void kill_in_upgrade(void)
{
	struct process victim;

	usleep(FUSER_WINDOW_US);
	look();
	replace_file();
	kill(supervisor, SIGUSR2);
	usleep((useconds_t)dice(50000));
	look();
	if (n_ours == 0)
		fail("nobody is left");
	victim = ours[dice((uint64_t)n_ours)];
	printf("in an upgrade: %s%s\n", victim.title, victim.file == file ? " (new)" : "");
	kill_all(&victim.pid, 1);
	inside++;
	settle_after_kill();
	usleep(FUSER_WINDOW_US);
	settle_after_kill(); /* a child that was about to become another program looked like the supervisor */
}

/* ---- */

static void strike(char whom)
{
	int trio = (int)dice((uint64_t)n_trios), one = (int)dice(3);
	pid_t victims[2];
	int n = 0;

	switch (whom) {
	case 'h':
		kill(supervisor, SIGHUP);
		reloads++;
		return;
	case 'u':
		upgrade();
		return;
	case 'U':
		kill_in_upgrade();
		return;
	case 'S':
		kill_supervisor();
		return;
	case 'p':
		strike_at_call(member(trio, 0));
		return;
	case 'b':
		strike_at_birth(trio);
		return;
	case 's':
		spawners++;
		victims[n++] = spawner;
		break;
	case 'w':
		victims[n++] = member(trio, 0);
		break;
	case 'k':
		victims[n++] = member(trio, 1 + one % 2);
		break;
	case '2':
		confined[trio] |= one == 1; /* both keepers */
		victims[n++] = member(trio, one);
		victims[n++] = member(trio, (one + 1) % 3);
		break;
	case 'd':
		victims[n++] = member(trio, one);
		if (n_trios > 1)
			victims[n++] = member((trio + 1) % n_trios, (int)dice(3));
		break;
	default:
		victims[n++] = member(trio, one);
		break;
	}
	kill_all(victims, n);
}

int main(int argc, char **argv)
{
	unsigned long kills;

	if (argc < 7)
		return 2;
	signal(SIGCHLD, SIG_DFL);
	state = strtoull(argv[1], NULL, 10);
	kills = strtoul(argv[3], NULL, 10);
	n_trios = atoi(argv[4]);
	program = argv[5];
	log_path = argv[6];
	command = argv + 6;
	argv[6] = argv[5];
	while (killed + upgrades < kills) {
		/* 0.2 to 50 ms, as often below 3 as above */
		double ms = 0.2 * pow(250, (double)dice(10000) / 10000);

		wait_whole();
		usleep((useconds_t)(ms * 1000));
		strike(argv[2][dice(strlen(argv[2]))]);
	}
	wait_whole();
	printf("killed %lu: workers %lu keepers %lu spawners %lu supervisors %lu; at a system call %lu, %lu of them "
	       "newly "
	       "born; in an upgrade %lu; reloads %lu upgrades %lu\n",
	       killed, workers, keepers, spawners, supervisors, traced, born, inside, reloads, upgrades);
	return 0;
}
