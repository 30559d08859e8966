#include "os/fds.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 1048576 /* where a limit is "unlimited": it would take all day */

/* The number after this line's head in /proc/self/status; 0: there is none. */
static unsigned from_status(const char *head)
{
	char text[2048]; /* it stands among the first lines */
	const char *line;
	unsigned n = 0;
	ssize_t len;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	line = strstr(text, head);
	if (!line)
		return 0;
	for (line += strlen(head); *line >= '0' && *line <= '9'; line++)
		n = n * 10 + (unsigned)(*line - '0');
	return n;
}

/* No descriptor is as high as this. To try each of these numbers takes a tenth of the time of walking through
 * /proc/self/fd, where the kernel makes an inode of each. */
static unsigned end_of_table(void)
{
	unsigned n = from_status("\nFDSize:\t");
	struct rlimit limit;

	if (n > 0)
		return n;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MOST ? (unsigned)limit.rlim_cur : MOST;
}

void fds_close(unsigned first, unsigned last)
{
	unsigned end;

	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	close((int)first); /* so that there is room for looking */
	end = end_of_table();
	for (unsigned fd = first; fd <= last && fd < end; fd++)
		close((int)fd);
}

void fds_cloexec(unsigned first)
{
	unsigned end;

	/* the flag is younger than the call: Linux 5.11 */
	if (syscall(SYS_close_range, first, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	end = end_of_table();
	for (unsigned fd = first; fd < end; fd++)
		fcntl((int)fd, F_SETFD, FD_CLOEXEC);
}

bool fds_is_eventfd(int fd)
{
	static const char eventfd[] = "anon_inode:[eventfd]";
	char path[40], link[sizeof(eventfd)];
	int flags = fcntl(fd, F_GETFL);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return flags >= 0 && flags & O_NONBLOCK && readlink(path, link, sizeof(link)) == sizeof(eventfd) - 1 &&
	       memcmp(link, eventfd, sizeof(eventfd) - 1) == 0;
}
