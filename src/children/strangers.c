#include "children/strangers.h"

#include <unistd.h>
#include "base/check.h"

void strangers_know(struct strangers *s, const pid_t *pid)
{
	CHECK(s->n < STRANGERS_KNOWN);
	s->known[s->n++] = pid;
}

bool strangers_has(const struct strangers *s, pid_t pid)
{
	for (size_t i = 0; i < s->n; i++)
		if (pid == *s->known[i])
			return false;
	return pid > 1 && pid != getpid() && pid != getppid();
}
