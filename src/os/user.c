#include "os/caps.h"
#include "os/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "os/private.h"

static bool lookup_user(const char *user, struct identity *ret)
{
	const struct passwd *pw = getpwnam(user);
	uint64_t n;

	if (!pw && text_parse_uint(user, UINT32_MAX - 1, &n)) {
		pw = getpwuid((uid_t)n);
		if (!pw) {
			ret->uid = (uid_t)n;
			ret->gid = (gid_t)n;
			ret->user[0] = '\0';
			return true;
		}
	}
	if (!pw)
		return false;
	ret->uid = pw->pw_uid;
	ret->gid = pw->pw_gid;
	snprintf(ret->user, sizeof(ret->user), "%s", pw->pw_name);
	return true;
}

static bool lookup_group(const char *group, gid_t *ret)
{
	const struct group *gr = getgrnam(group);
	uint64_t n;

	if (gr)
		*ret = gr->gr_gid;
	else if (text_parse_uint(group, UINT32_MAX - 1, &n))
		*ret = (gid_t)n;
	else
		return false;
	return true;
}

bool user_lookup(const char *user, const char *group, struct identity *ret, char *why, size_t size)
{
	if (!lookup_user(user, ret)) {
		snprintf(why, size, "no such user: %s", user);
		return false;
	}
	if (group && !lookup_group(group, &ret->gid)) {
		snprintf(why, size, "no such group: %s", group);
		return false;
	}
	if (ret->uid == 0) {
		snprintf(why, size, "%s is root, and tcpproxy never serves as root: name another user", user);
		return false;
	}
	return true;
}

int user_become(const struct identity *id, const int *keep, size_t n)
{
	if ((id->user[0] ? initgroups(id->user, id->gid) : setgroups(0, NULL)) < 0)
		return -errno;
	prctl(PR_SET_KEEPCAPS, 1);
	if (setresgid(id->gid, id->gid, id->gid) < 0 || setresuid(id->uid, id->uid, id->uid) < 0)
		return -errno;
	prctl(PR_SET_KEEPCAPS, 0);
	private_begin(); /* setresuid() has done so, unless fs.suid_dumpable says otherwise */
	return caps_limit(keep, n);
}
