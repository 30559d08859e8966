#include "os/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* All rights of the first version of the interface: what is handled and not allowed is denied. */
#define ALL_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define FILE_RIGHTS                                                                                \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_DIR | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE)

static int create_ruleset(const struct landlock_ruleset_attr *attr, size_t size, unsigned flags)
{
	return (int)syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

bool landlock_available(void)
{
	return create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

static int allow(int ruleset, const char *directory)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = FILE_RIGHTS};
	int rc;

	rule.parent_fd = open(directory, O_PATH | O_CLOEXEC | O_DIRECTORY);
	if (rule.parent_fd < 0)
		return -errno;
	rc = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		     ? -errno
		     : 0;
	close(rule.parent_fd);
	return rc;
}

int landlock_confine(char *const *directories, size_t n)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_RIGHTS};
	int ruleset = create_ruleset(&attr, sizeof(attr), 0);
	int rc = 0;

	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < n; i++)
		allow(ruleset, directories[i]); /* one that is not there needs no right */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		rc = -errno;
	close(ruleset);
	return rc;
}
