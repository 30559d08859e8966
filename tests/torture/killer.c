/*
 * killer.c - kill -9 of members of trios, at random, the next when the trio is whole again.
 *
 * usage: killer SEED PROGRAM SUPERVISOR TRIOS KILLS WHOM     PROGRAM: its path; WHOM: of the letters
 *   w a worker, k a keeper, m any member, 2 any two of a trio, d one of each of two trios,
 *   s the spawner, h no kill: SIGHUP to the supervisor. A letter may stand there more than once.
 *
 * At the end one line: how many were killed. Exit status 1: a trio did not become whole in time.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_TRIOS  64
#define PATIENCE_S 10

struct trio { /* as the titles of the processes tell it */
	pid_t worker, keeper[2];
	int workers, keepers;
};

static struct trio trios[MAX_TRIOS];
static pid_t spawner;
static int n_trios, n_spawners;
static const char *program;
static uint64_t state;
static unsigned long killed, workers, keepers, spawners, reloads;

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

static bool is_ours(const char *pid)
{
	char path[300], exe[512];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	n = readlink(path, exe, sizeof(exe) - 1); /* fails for one that is dead */
	if (n < 0)
		return false;
	exe[n] = '\0';
	return strcmp(exe, program) == 0;
}

static void sort_in(const char *pid)
{
	char path[300], title[128] = "";
	unsigned number;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	f = fopen(path, "r");
	if (!f)
		return;
	title[fread(title, 1, sizeof(title) - 1, f)] = '\0';
	fclose(f);
	if (sscanf(title, "tcpproxy: worker %u", &number) == 1 && number < MAX_TRIOS) {
		trios[number].worker = atoi(pid);
		trios[number].workers++;
	} else if (sscanf(title, "tcpproxy: keeper %u", &number) == 1 && number < MAX_TRIOS) {
		trios[number].keeper[trios[number].keepers++ % 2] = atoi(pid);
	} else if (strncmp(title, "tcpproxy: spawner", 17) == 0) {
		spawner = atoi(pid);
		n_spawners++;
	}
}

static void look(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	memset(trios, 0, sizeof(trios));
	n_spawners = 0;
	while (d && (e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_ours(e->d_name))
			sort_in(e->d_name);
	if (d)
		closedir(d);
}

static bool all_whole(void)
{
	look();
	for (int i = 0; i < n_trios; i++)
		if (trios[i].workers != 1 || trios[i].keepers != 2)
			return false;
	return n_spawners == 1;
}

static void wait_whole(void)
{
	double begin = now_s();

	while (!all_whole()) {
		if (now_s() - begin > PATIENCE_S) {
			printf("FAIL not whole again in %d s:", PATIENCE_S);
			for (int i = 0; i < n_trios; i++)
				printf(" trio %d: %d workers, %d keepers;", i, trios[i].workers,
				       trios[i].keepers);
			printf(" %d spawners; after %lu kills\n", n_spawners, killed);
			exit(1);
		}
		usleep(200);
	}
}

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
		if (poll(&p, 1, PATIENCE_S * 1000) != 1) {
			printf("FAIL a process that was killed does not die\n");
			exit(1);
		}
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

static void strike(char whom, pid_t supervisor)
{
	int trio = (int)dice((uint64_t)n_trios), one = (int)dice(3);
	pid_t victims[2];
	int n = 0;

	switch (whom) {
	case 'h':
		kill(supervisor, SIGHUP);
		reloads++;
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

	if (argc != 7)
		return 2;
	state = strtoull(argv[1], NULL, 10);
	program = argv[2];
	n_trios = atoi(argv[4]);
	kills = strtoul(argv[5], NULL, 10);
	while (killed < kills) {
		/* 0.2 to 50 ms, as often below 3 as above */
		double ms = 0.2 * pow(250, (double)dice(10000) / 10000);

		wait_whole();
		usleep((useconds_t)(ms * 1000));
		strike(argv[6][dice(strlen(argv[6]))], (pid_t)atoi(argv[3]));
	}
	wait_whole();
	printf("killed %lu workers %lu keepers %lu spawners %lu reloads %lu\n", killed, workers, keepers,
	       spawners, reloads);
	return 0;
}
