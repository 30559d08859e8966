#include "os/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"

/* All rights of the first version of the interface: what is handled and not allowed is denied. */
#define ALL_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

/* As of the sixth version; an older kernel takes it as long as it knows nothing of what is set. */
struct attributes {
	uint64_t files, net, scopes;
};
#define SCOPE_ABSTRACT_SOCKETS (1u << 0)
#define SCOPE_SIGNALS          (1u << 1)
#define SCOPES_SINCE           6

static int create_ruleset(const struct attributes *attr, size_t size, unsigned flags)
{
	return (int)syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

static int version(void)
{
	return create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

bool landlock_available(void)
{
	return version() >= 1;
}

/* Tests are told where it dies by such a socket. */
static uint64_t wanted_scopes(bool abstract_sockets)
{
#ifdef FAULTS
	return 0;
#else
	return !abstract_sockets && version() >= SCOPES_SINCE ? SCOPE_ABSTRACT_SOCKETS : 0;
#endif
}

static int enter(int ruleset)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	return 0;
}

static uint64_t access_of(unsigned rights)
{
	static const struct {
		unsigned right;
		uint64_t access;
	} list[] = {
	        {LANDLOCK_READ, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR},
	        {LANDLOCK_WRITE, LANDLOCK_ACCESS_FS_WRITE_FILE},
	        {LANDLOCK_MAKE, LANDLOCK_ACCESS_FS_MAKE_REG},
	        {LANDLOCK_REMOVE, LANDLOCK_ACCESS_FS_REMOVE_FILE},
	        {LANDLOCK_REMOVE_DIR, LANDLOCK_ACCESS_FS_REMOVE_DIR},
	};
	uint64_t access = 0;

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (rights & list[i].right)
			access |= list[i].access;
	return access;
}

static int allow(int ruleset, const struct landlock_room *room)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access_of(room->rights), .parent_fd = room->dir};

	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int landlock_confine(const struct landlock_room *rooms, size_t n, bool abstract_sockets)
{
	struct attributes attr = {.files = ALL_RIGHTS, .scopes = wanted_scopes(abstract_sockets)};
	int ruleset = create_ruleset(&attr, sizeof(attr), 0);
	int rc = 0;

	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = allow(ruleset, &rooms[i]);
	if (rc == 0)
		rc = enter(ruleset);
	close(ruleset);
	return rc;
}

int landlock_keep_signals(void)
{
	struct attributes attr = {.scopes = SCOPE_SIGNALS};
	int ruleset, rc;

	if (version() < SCOPES_SINCE)
		return -ENOSYS;
	ruleset = create_ruleset(&attr, sizeof(attr), 0);
	if (ruleset < 0)
		return -errno;
	rc = enter(ruleset);
	close(ruleset);
	return rc;
}
