/*
 * oldkernel - runs a command, and all that it starts, as on a kernel of before the calls that are listed here.
 *
 *     oldkernel COMMAND [ARGUMENT...]
 *
 * They fail with ENOSYS. Root only: no_new_privs, which everybody else would need, is left alone, because the command
 * may want to see it as it is.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int missing[] = {
        SCMP_SYS(io_uring_setup), /* Linux 5.1 */
        SCMP_SYS(io_uring_enter),
        SCMP_SYS(io_uring_register),
        SCMP_SYS(openat2), /* 5.6 */
        SCMP_SYS(pidfd_getfd),
        SCMP_SYS(close_range),             /* 5.9 */
        SCMP_SYS(landlock_create_ruleset), /* 5.13 */
        SCMP_SYS(landlock_add_rule),
        SCMP_SYS(landlock_restrict_self),
};

static int forbid(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int rc;

	if (!ctx)
		return -ENOMEM;
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	/* a program of another architecture does as it likes; killing it would be no old kernel */
	if (rc == 0)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]) && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), missing[i], 0);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: oldkernel COMMAND [ARGUMENT...]\n");
		return 2;
	}
	rc = forbid();
	if (rc < 0) {
		fprintf(stderr, "oldkernel: no filter of system calls can be set: %s\n", strerror(-rc));
		return 2;
	}
	execvp(argv[1], argv + 1);
	fprintf(stderr, "oldkernel: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
