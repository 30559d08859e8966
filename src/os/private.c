#include "os/private.h"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "os/caps.h"

void private_begin(void)
{
	prctl(PR_SET_DUMPABLE, 0);
}

bool private_is(void)
{
	return prctl(PR_GET_DUMPABLE) != 1;
}

/* proc(5): the files of a process that is not dumpable belong to root. */
bool private_is_of(pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return geteuid() != 0 && stat(path, &st) == 0 && st.st_uid != geteuid();
}

bool private_can_exec(void)
{
	return caps_may(PRIVATE_CAPABILITY);
}

bool private_after_exec(bool maybe)
{
	if (!getenv(PRIVATE_VARIABLE) && !maybe)
		return false;
	prctl(PR_SET_DUMPABLE, 0);
	unsetenv(PRIVATE_VARIABLE);
	caps_after_exec();
	return true;
}
