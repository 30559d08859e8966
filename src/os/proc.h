/* proc.h - this process and its kin: title, limits, pidfds, members of a trio. -errno on failure.
 */
#ifndef OS_PROC_H
#define OS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Once, first thing in main: learns how much room the title has; moves the environment away. */
void proc_title_init(int argc, char **argv);
/* What `ps` and /proc/PID/cmdline show from now on. */
void proc_title(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define NOFILE_CAP 1048576 /* descriptors are never more than this */
/* Raises the soft limit of descriptors to the hard one, at most `cap`. *before is what it was. */
int proc_raise_nofile(rlim_t cap, struct rlimit *before);
/* Makes the descriptor table big enough for n descriptors now, so that it never grows later. */
void proc_size_table(unsigned n);

/* Which of the 64 descriptors from `from` on are open, as bits, looking only at those in `among`:
 * one call for all, where asking for each takes a millisecond for a few thousand. If it cannot be
 * told, all of them. */
uint64_t proc_open_fds(int from, uint64_t among);

int proc_pidfd(pid_t pid); /* close-on-exec */
bool proc_pidfd_dead(int pidfd);
int proc_pidfd_signal(int pidfd, int sig);

/* A new process that shares this one's descriptor table and nothing else (no memory). The kernel
 * stores its pid in *pid_word, which lies in shared memory, before it can run. Returns 0 in the
 * child. */
pid_t proc_clone_member(int32_t *pid_word);

/* Puts /dev/null on descriptors 0..last. */
void proc_null_streams(int last);

/* Closes every descriptor from `from` up but these (n of them; sorted by the call). */
void proc_close_except(int from, int *keep, size_t n);

/* Signals as every process of ours has them that is not told by them: those of the terminal, and those by which the
 * supervisor is steered, are ignored; SIGPIPE, too. All others as at birth, none is blocked. */
void proc_reset_signals(void);

void proc_oom_score(int score);
/* Resident memory of a process in bytes, 0 if unknown. */
uint64_t proc_resident(pid_t pid);
/* The number of the network namespace, 0 if unknown. */
uint64_t proc_netns(void);

#endif
