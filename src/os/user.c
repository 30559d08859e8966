#include "os/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "base/text.h"

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
		snprintf(why, size, "%s is root, and tcpproxy never serves as root: name another user",
			 user);
		return false;
	}
	return true;
}

/* Sets the permitted set to `keep`, effective to none. */
static int limit_capabilities(const int *keep, size_t n)
{
	cap_t caps = cap_init();
	int rc = 0;

	if (!caps)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		cap_value_t value = keep[i];

		cap_set_flag(caps, CAP_PERMITTED, 1, &value, CAP_SET);
	}
	if (cap_set_proc(caps) < 0)
		rc = -errno;
	cap_free(caps);
	return rc;
}

int user_become(const struct identity *id, const int *keep, size_t n)
{
	if ((id->user[0] ? initgroups(id->user, id->gid) : setgroups(0, NULL)) < 0)
		return -errno;
	prctl(PR_SET_KEEPCAPS, 1);
	if (setresgid(id->gid, id->gid, id->gid) < 0 || setresuid(id->uid, id->uid, id->uid) < 0)
		return -errno;
	prctl(PR_SET_KEEPCAPS, 0);
	return limit_capabilities(keep, n);
}

int user_raise(int capability, bool on)
{
	cap_t caps = cap_get_proc();
	cap_value_t value = capability;
	cap_flag_value_t permitted = CAP_CLEAR;
	int rc = 0;

	if (!caps)
		return -ENOMEM;
	cap_get_flag(caps, value, CAP_PERMITTED, &permitted);
	if (permitted != CAP_SET)
		rc = -EPERM;
	else if (cap_set_flag(caps, CAP_EFFECTIVE, 1, &value, on ? CAP_SET : CAP_CLEAR) < 0 ||
		 cap_set_proc(caps) < 0)
		rc = -errno;
	cap_free(caps);
	return rc;
}

/* For each capability that is permitted: fn(its number). */
static void for_each_permitted(void (*fn)(cap_t caps, cap_value_t value), cap_t caps)
{
	for (cap_value_t value = 0; value <= CAP_LAST_CAP; value++) {
		cap_flag_value_t set = CAP_CLEAR;

		if (cap_get_flag(caps, value, CAP_PERMITTED, &set) == 0 && set == CAP_SET)
			fn(caps, value);
	}
}

static void make_inheritable(cap_t caps, cap_value_t value)
{
	cap_set_flag(caps, CAP_INHERITABLE, 1, &value, CAP_SET);
}

static void make_ambient(cap_t caps, cap_value_t value)
{
	(void)caps;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, value, 0, 0);
}

void user_keep_over_exec(void)
{
	cap_t caps = cap_get_proc();

	if (!caps)
		return;
	for_each_permitted(make_inheritable, caps);
	if (cap_set_proc(caps) == 0)
		for_each_permitted(make_ambient, caps);
	cap_free(caps);
}

void user_after_exec(void)
{
	cap_t caps = cap_get_proc();

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (!caps)
		return;
	cap_clear_flag(caps, CAP_EFFECTIVE);
	cap_clear_flag(caps, CAP_INHERITABLE);
	cap_set_proc(caps);
	cap_free(caps);
}

void user_drop_capabilities(void)
{
	limit_capabilities(NULL, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}
