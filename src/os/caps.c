#include "os/caps.h"

#include <errno.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"

static bool is_permitted(cap_t caps, int capability)
{
	cap_flag_value_t permitted = CAP_CLEAR;

	if (!caps)
		return false;
	cap_get_flag(caps, capability, CAP_PERMITTED, &permitted);
	cap_free(caps);
	return permitted == CAP_SET;
}

bool caps_may(int capability)
{
	return is_permitted(cap_get_proc(), capability);
}

bool caps_has(pid_t pid, int capability)
{
	return is_permitted(cap_get_pid(pid), capability);
}

int caps_limit(const int *keep, size_t n)
{
	cap_t caps = cap_init();
	int rc = 0;

	if (!caps)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		cap_value_t value = keep[i];

		if (caps_may(value))
			cap_set_flag(caps, CAP_PERMITTED, 1, &value, CAP_SET);
	}
	if (cap_set_proc(caps) < 0)
		rc = -errno;
	cap_free(caps);
	return rc;
}

int caps_raise(int capability, bool on)
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
	else if (cap_set_flag(caps, CAP_EFFECTIVE, 1, &value, on ? CAP_SET : CAP_CLEAR) < 0 || cap_set_proc(caps) < 0)
		rc = -errno;
	cap_free(caps);
	return rc;
}

/* By the calls themselves: the child of a fork may allocate nothing. */
void caps_keep_over_exec(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &head, data) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(data); i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &head, data) < 0)
		return;
	for (unsigned value = 0; value <= CAP_LAST_CAP; value++)
		if (data[value / 32].permitted >> value % 32 & 1)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, value, 0, 0);
}

void caps_after_exec(void)
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

void caps_drop(void)
{
	caps_limit(NULL, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}
