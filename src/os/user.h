/*
 * user.h - the user and groups to run as, and giving up root for good. -errno on failure.
 */
#ifndef OS_USER_H
#define OS_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct identity {
	uid_t uid;
	gid_t gid;
	char user[64]; /* its name, for initgroups; "" if a bare number without a name */
};

/* user, group: names or numbers; NULL: user's own group. On failure `why` (size bytes) gets a text. */
bool user_lookup(const char *user, const char *group, struct identity *ret, char *why, size_t size);

/* Becomes this user, with its groups, in all of real, effective and saved, and private (private.h). Of the capabilities
 * only `keep` (CAP_ numbers, n of them) stay permitted, as far as they are now; none is effective. */
int user_become(const struct identity *id, const int *keep, size_t n);

#endif
