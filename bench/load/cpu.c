/* cpu.c - what a tree of processes has used. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

/* The whole of a small file of /proc, as a string; empty if it cannot be had. */
static char *read_proc(char *buf, size_t size, const char *format, int pid, int tid)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	/* A second number that the format does not use is allowed. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(path, sizeof path, format, pid, tid);
#pragma GCC diagnostic pop
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = 0;
	return buf;
}

/* Of children that have ended: cutime and cstime, the 16th and 17th number of stat. */
static uint64_t cpu_of_ended(pid_t pid)
{
	unsigned long long user = 0, system = 0;
	char text[1024];
	const char *rest = strrchr(read_proc(text, sizeof text, "/proc/%d/stat", pid, 0), ')');

	if (rest)
		sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %llu %llu", &user, &system);
	return (user + system) * (1000000000ull / (unsigned long long)sysconf(_SC_CLK_TCK));
}

static uint64_t cpu_of_thread(pid_t pid, pid_t tid)
{
	char text[128];

	return strtoull(read_proc(text, sizeof text, "/proc/%d/task/%d/schedstat", pid, tid), NULL, 10);
}

static uint64_t cpu_of_children(pid_t pid, pid_t tid)
{
	static char all[1 << 20]; /* taken from the end by each level of recursion */
	static size_t used;
	size_t mark = used;
	uint64_t sum = 0;
	char *at = read_proc(all + used, sizeof all - used, "/proc/%d/task/%d/children", pid, tid);

	used += strlen(at) + 1;
	for (char *end; *at; at = end) {
		pid_t child = (pid_t)strtol(at, &end, 10);

		if (end == at)
			break;
		sum += cpu_of_tree(child);
	}
	used = mark;
	return sum;
}

uint64_t cpu_of_tree(pid_t root)
{
	uint64_t sum = cpu_of_ended(root);
	struct dirent *e;
	char path[64];
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", root);
	d = opendir(path);
	if (!d)
		return 0;
	while ((e = readdir(d))) {
		pid_t tid = atoi(e->d_name);

		if (tid > 0)
			sum += cpu_of_thread(root, tid) + cpu_of_children(root, tid);
	}
	closedir(d);
	return sum;
}
