#include "restart/inherit.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

#define VARIABLE         "TCPPROXY_UPGRADE" /* "FILES GUARD LIFELINE SPAWNER KEY" */
#define ADMIN_VARIABLE   "TCPPROXY_ADMIN"   /* "CLIENT\nFD PATH\nFD PATH\n" */
#define NETWORK_VARIABLE "TCPPROXY_NETWORK" /* "CONTROL CAUGHT\nQUEUE FAMILY TRANSPARENT MARK NETNS\n..." */

static void keep_over_exec(int fd, bool keep)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void keep_all(const struct inheritance *i, bool keep)
{
	keep_over_exec(i->files, keep);
	keep_over_exec(i->guard, keep);
	keep_over_exec(i->lifeline, keep);
	keep_over_exec(i->spawner, keep);
	keep_over_exec(i->client, keep);
	keep_over_exec(i->network.control_fd, keep);
	for (size_t k = 0; k < i->network.blanks.n; k++)
		keep_over_exec(i->network.blanks.fds[k], keep);
	for (size_t a = 0; a < i->admin.n; a++)
		keep_over_exec(i->admin.list[a].fd, keep);
}

void inherit_put(const struct inheritance *i)
{
	struct buf text = BUF_INIT;

	keep_all(i, true);
	buf_addf(&text, "%d %d %d %d %llx", i->files, i->guard, i->lifeline, i->spawner, (unsigned long long)i->key);
	setenv(VARIABLE, text.s, 1);
	buf_release(&text);
	buf_addf(&text, "%d\n", i->client);
	for (size_t a = 0; a < i->admin.n; a++)
		buf_addf(&text, "%d %s\n", i->admin.list[a].fd, i->admin.list[a].path);
	setenv(ADMIN_VARIABLE, text.s, 1);
	buf_release(&text);
	buf_addf(&text, "%d %u\n", i->network.control_fd, i->network.caught);
	for (size_t k = 0; k < i->network.blanks.n; k++)
		buf_addf(&text, "%d %u %u %u %u\n", i->network.blanks.fds[k], i->network.blanks.kinds[k].family,
		         i->network.blanks.kinds[k].transparent, i->network.blanks.kinds[k].mark,
		         i->network.blanks.kinds[k].netns);
	setenv(NETWORK_VARIABLE, text.s, 1);
	buf_release(&text);
}

void inherit_take_back(const struct inheritance *i)
{
	keep_all(i, false);
	unsetenv(VARIABLE);
	unsetenv(ADMIN_VARIABLE);
	unsetenv(NETWORK_VARIABLE);
}

static bool is_of_kind(int fd, mode_t kind)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

/* What was left is open, and of this kind; anything else that a variable may say is none. It goes no further. */
static int checked(int fd, mode_t kind)
{
	keep_over_exec(fd, false);
	return is_of_kind(fd, kind) ? fd : -1;
}

static int socket_of(const char *text)
{
	uint64_t fd;

	return text_parse_uint(text, INT_MAX, &fd) ? checked((int)fd, S_IFSOCK) : -1;
}

static void take_admin_line(struct admin_sockets *ret, char *line)
{
	char *path = strchr(line, ' ');
	int fd;

	if (path)
		*path++ = '\0';
	fd = socket_of(line);
	if (!path || fd < 0)
		return;
	ret->list = mem_resize(ret->list, ret->n + 1, sizeof(*ret->list));
	ret->list[ret->n++] =
	        (struct admin_socket){.path = mem_strdup(path),
	                              .page = strncmp(path, ADMIN_PAGE_PREFIX, strlen(ADMIN_PAGE_PREFIX)) == 0,
	                              .fd = fd};
}

static void take_admin(struct inheritance *ret, const char *value)
{
	char *text = mem_strdup(value), *save = NULL;
	char *line = strtok_r(text, "\n", &save);

	ret->client = line ? socket_of(line) : -1;
	while (line && (line = strtok_r(NULL, "\n", &save)))
		take_admin_line(&ret->admin, line);
	free(text);
}

static void take_queue(struct blank_list *l, const char *line)
{
	struct blank_kind kind;
	int fd;

	if (l->n >= BLANK_KINDS_MAX ||
	    sscanf(line, "%d %u %u %u %u", &fd, &kind.family, &kind.transparent, &kind.mark, &kind.netns) != 5 ||
	    checked(fd, S_IFSOCK) < 0)
		return;
	l->kinds[l->n] = kind;
	l->fds[l->n++] = fd;
}

static void take_network(struct inheritance *ret, const char *value)
{
	char *text = mem_strdup(value), *save = NULL;
	char *line = strtok_r(text, "\n", &save);

	if (line && sscanf(line, "%d %u", &ret->network.control_fd, &ret->network.caught) >= 1)
		ret->network.control_fd = checked(ret->network.control_fd, S_IFSOCK);
	while (line && (line = strtok_r(NULL, "\n", &save)))
		take_queue(&ret->network.blanks, line);
	free(text);
}

static void take_upgrade(struct inheritance *ret, const char *value)
{
	int files = -1, guard = -1, lifeline = -1, spawner = -1;
	unsigned long long key = 0;

	if (sscanf(value, "%d %d %d %d %llx", &files, &guard, &lifeline, &spawner, &key) <
	    2) /* as the first versions name */
		return;
	ret->upgraded = true;
	ret->key = key;
	ret->files = checked(files, S_IFSOCK);
	ret->guard = guard == INHERIT_ROLLED_BACK ? guard : checked(guard, S_IFIFO);
	ret->lifeline = checked(lifeline, S_IFIFO);
	ret->spawner = checked(spawner, S_IFSOCK);
}

void inherit_take(struct inheritance *ret)
{
	const char *upgrade = getenv(VARIABLE), *admin = getenv(ADMIN_VARIABLE),
	           *trial = getenv(INHERIT_TRIAL_VARIABLE), *network = getenv(NETWORK_VARIABLE);

	*ret = (struct inheritance){.network = NETWORK_NONE,
	                            .files = -1,
	                            .guard = -1,
	                            .lifeline = -1,
	                            .spawner = -1,
	                            .client = -1,
	                            .trial = -1};
	if (upgrade)
		take_upgrade(ret, upgrade);
	if (admin)
		take_admin(ret, admin);
	if (network)
		take_network(ret, network);
	if (trial && sscanf(trial, "%d", &ret->trial) == 1 && !is_of_kind(ret->trial, S_IFSOCK))
		ret->trial = -1;
	unsetenv(VARIABLE);
	unsetenv(ADMIN_VARIABLE);
	unsetenv(NETWORK_VARIABLE);
	unsetenv(INHERIT_TRIAL_VARIABLE);
}
