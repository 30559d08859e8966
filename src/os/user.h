/*
 * user.h - whom to run as, and giving up root for good. -errno on failure.
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

/* Becomes this user, with its groups, in all of real, effective and saved. Of the capabilities only
 * `keep` (CAP_ numbers, n of them) stay permitted, none effective. */
int user_become(const struct identity *id, const int *keep, size_t n);

/* Makes a permitted capability effective or not. */
int user_raise(int capability, bool on);
/* What is permitted goes over an exec (ambient); and, in the new program, is permitted only, as before. */
void user_keep_over_exec(void);
void user_after_exec(void);
/* Gives up every capability. */
void user_drop_capabilities(void);

#endif
