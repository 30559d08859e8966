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

/* Puts /dev/null on those of descriptors 0..2 that were closed when we were started: else the next thing that is opened would
 * be taken for stdin, stdout or stderr. stdin is at its end then, stderr swallows, and to write to stdout is an error as before.
 * Returns which they were, bit N for descriptor N. */
unsigned proc_fill_streams(void);
/* In a fresh child: it has a session of its own, so no terminal tells it anything, and it can type into none. */
void proc_leave_terminal(void);

/* In a fresh child of ours: /dev/null is stdin and stdout, `err` is stderr; its old number is still open. */
void proc_streams(int err);
/* Puts /dev/null on descriptors 0..last. */
void proc_null_streams(int last);

/* Closes every descriptor from `from` up but these (n of them; sorted by the call). */
void proc_close_except(int from, int *keep, size_t n);

/* Signals as in every process of ours that is not controlled by them: those of the terminal, and those that control the
 * supervisor, are ignored; SIGPIPE, too. All others as at birth, none is blocked. */
void proc_reset_signals(void);

/* Of this process, or 0: there is none, or it cannot be told. */
pid_t proc_first_child(void);
/* Resident memory of a process in bytes, 0 if unknown. */
uint64_t proc_resident(pid_t pid);
/* What a process calls itself (/proc/PID/comm), cleaned: one word of printable characters, no quotes; "-" if unknown. */
#define PROC_PROGRAM_MAX 32
void proc_program(pid_t pid, char ret[PROC_PROGRAM_MAX]);
/* The number of the network namespace, 0 if unknown. */
uint64_t proc_netns(void);

#endif
