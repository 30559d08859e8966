#include "files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "files/helper.h"
#include "log/logfile.h"
#include "os/pidfile.h"
#include "os/file.h"
#include "os/landlock.h"
#include "os/newfile.h"
#include "os/safepath.h"
#include "os/sock.h"

#define FILES_PATIENCE_MS 2000

/* ---- the helper ---- */

bool files_start(struct files *f, const struct identity *identity, const struct files_list *list)
{
	int pair[2];

	if (!landlock_available() || sock_message_pair(pair) < 0)
		return false;
	f->pid = fork();
	if (f->pid == 0)
		files_helper_run(pair[1], identity, list);
	close(pair[1]);
	if (f->pid < 0) {
		close(pair[0]);
		return false;
	}
	f->fd = pair[0];
	return true;
}

void files_stop(struct files *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* ---- asking ---- */

static int send_question(struct files *f, enum files_verb verb, const char *path)
{
	static struct files_question q;
	static struct files_question_1 old;
	size_t len = strlen(path);

	if (len >= sizeof(q.path))
		return -ENAMETOOLONG;
	if (f->version == FILES_VERSION_1) {
		memset(&old, 0, sizeof(old));
		old.version = FILES_VERSION_1;
		old.verb = verb;
		memcpy(old.path, path, len);
		return sock_send_message(f->fd, &old, sizeof(old), NULL, 0);
	}
	q = (struct files_question){.version = FILES_VERSION, .verb = verb, .serial = ++f->serial};
	memcpy(q.path, path, len);
	return sock_send_message(f->fd, &q, offsetof(struct files_question, path) + len + 1, NULL, 0);
}

static void lose_helper(struct files *f)
{
	log_error("the process \"tcpproxy: files\" has ended: until the next restart only what the service user may do "
	          "with "
	          "files is done");
	files_stop(f);
}

/* Takes a message if there is one: -EAGAIN: none. One that answers an earlier question is dropped, with what came with it. */
static int take_answer(struct files *f, struct files_answer *a, int *ret_fd)
{
	size_t n_fds = 1;
	int fd = -1, len;

	*a = (struct files_answer){.result = 0};
	len = sock_recv_message(f->fd, a, sizeof(*a), &fd, &n_fds);
	if (len == -EAGAIN || len == -EINTR)
		return -EAGAIN;
	if (len < (int)sizeof(a->result)) {
		if (n_fds == 1)
			close(fd);
		lose_helper(f);
		return -EACCES;
	}
	a->why[FILES_WHY_MAX - 1] = '\0';
	*ret_fd = n_fds == 1 ? fd : -1;
	if (len == sizeof(*a) && a->serial != f->serial) {
		if (*ret_fd >= 0)
			close(*ret_fd);
		return -EAGAIN;
	}
	if (f->version == 0 && (len == sizeof(*a) || a->result != -EPROTO))
		f->version = FILES_VERSION;
	return 0;
}

/* What was not answered in time must be over before something else is asked: waiting for each of many files would take
 * for ever. */
static bool caught_up(struct files *f)
{
	struct files_answer a;
	int fd = -1;

	if (!f->owed)
		return true;
	if (take_answer(f, &a, &fd) == -EAGAIN)
		return false;
	if (fd >= 0)
		close(fd);
	f->owed = false;
	return f->fd >= 0;
}

static int wait_for_answer(struct files *f, const char *path, struct files_answer *a, int *fd)
{
	int64_t end = clock_mono_ms() + FILES_PATIENCE_MS, left;
	int rc;

	while ((rc = take_answer(f, a, fd)) == -EAGAIN) {
		struct pollfd p = {.fd = f->fd, .events = POLLIN};

		left = end - clock_mono_ms();
		if (left > 0) {
			poll(&p, 1, (int)left);
			continue;
		}
		f->owed = true;
		log_error("%s: \"tcpproxy: files\" does not answer (it is stopped, or a disk is slow): until it does, "
		          "nothing "
		          "is done with files that are root's alone",
		          path);
		return -ETIMEDOUT;
	}
	return rc;
}

/* The program before us may have asked by this socket, too: its answers are not ours, and its serials not used again. */
static void meet(struct files *f)
{
	struct files_answer a;
	int fd;

	f->serial = (uint64_t)clock_wall_us();
	while (f->fd >= 0 && take_answer(f, &a, &fd) == 0)
		if (fd >= 0)
			close(fd);
	f->version = 0;
}

static int exchange(struct files *f, enum files_verb verb, const char *path, struct files_answer *a, int *fd)
{
	int rc;

	if (f->fd < 0)
		return -EACCES;
	if (f->serial == 0)
		meet(f);
	if (!caught_up(f))
		return f->fd < 0 ? -EACCES : -ETIMEDOUT;
	rc = send_question(f, verb, path);
	if (rc < 0) {
		if (rc == -EPIPE)
			lose_helper(f);
		return rc == -ENAMETOOLONG ? rc : -EACCES;
	}
	return wait_for_answer(f, path, a, fd);
}

static void tell_foreign(const char *path)
{
	log_warning(
	        "%s: \"tcpproxy: files\" is still of the version that was started, which this one cannot ask: until "
	        "the next stop and start only what the service user may do is done",
	        path);
}

/* A descriptor, 0, or -errno. */
static int ask(struct files *f, enum files_verb verb, const char *path)
{
	struct files_answer a = {.result = -EACCES};
	int fd = -1, rc;

	if (f->version == FILES_VERSION_1 && verb > FILES_REMOVE)
		return -ENOSYS;
	rc = exchange(f, verb, path, &a, &fd);
	if (rc < 0)
		return rc;
	if (a.result == -EPROTO && f->version == 0) {
		f->version = FILES_VERSION_1;
		return ask(f, verb, path);
	}
	if (a.result == -EPROTO)
		tell_foreign(path);
	if (a.result < 0)
		return a.result;
	return fd >= 0 ? fd : 0;
}

/* What we may not do ourselves, `own` says so, is asked for. */
static int own_or_ask(struct files *f, int own, enum files_verb verb, const char *path)
{
	int rc;

	if (own != -EACCES && own != -EPERM)
		return own;
	rc = ask(f, verb, path);
	return rc == -ENOSYS || (rc == -ENOKEY && f->fd < 0) ? own : rc;
}

/* ---- what is done ---- */

int files_open_read(struct files *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return own_or_ask(f, fd < 0 ? -errno : fd, FILES_READ, path);
}

int files_open_log(struct files *f, const char *path)
{
	return own_or_ask(f, f->root_was ? logfile_open_safely(path) : logfile_open(path), FILES_APPEND, path);
}

int files_unlink(struct files *f, const char *path)
{
	return own_or_ask(f, unlink(path) < 0 ? -errno : 0, FILES_REMOVE, path);
}

int files_rmdir(struct files *f, const char *path, bool own)
{
	return own_or_ask(f, !own ? -EACCES : rmdir(path) < 0 ? -errno : 0, FILES_REMOVE, path);
}

/* An older helper opens it, as it would a log. */
static int rewrite_pid(struct files *f, const char *path)
{
	int fd = ask(f, FILES_APPEND, path);
	int rc;

	if (fd < 0)
		return fd;
	rc = ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

int files_write_pid(struct files *f, const char *path, bool wait)
{
	int own = pidfile_write(path, getpid(), f->root_was, wait);
	int rc = own_or_ask(f, own, FILES_PID, path);

	return rc < 0 && f->version == FILES_VERSION_1 ? rewrite_pid(f, path) : rc;
}

int files_open_new(struct files *f, const char *path)
{
	return own_or_ask(f, newfile_open(path), FILES_NEW, path);
}

int files_commit(struct files *f, const char *path)
{
	return own_or_ask(f, newfile_commit(path), FILES_COMMIT, path);
}

const char *files_error(int error)
{
	if (error == ENOKEY)
		return "only root may open it, and it is new since the start: it can be opened after the next restart";
	return safepath_error(error);
}

static const char *not_listed(const char *path)
{
	static char why[PATH_MAX + 128];

	snprintf(why, sizeof(why),
	         "only root may read it, and it is new since the start: %s can be read after the next restart", path);
	return why;
}

char *files_read(struct files *f, const char *path, const char **why)
{
	int fd = files_open_read(f, path);
	char *text = NULL;
	struct stat st;

	if (fd == -ENOKEY)
		*why = not_listed(path);
	else if (fd < 0)
		*why = files_error(-fd);
	else if (fstat(fd, &st) < 0)
		*why = strerrordesc_np(errno);
	else if (S_ISDIR(st.st_mode))
		*why = "it is a directory";
	else
		text = file_read_all(fd, why);
	if (fd >= 0)
		close(fd);
	return text;
}

/* ---- patterns ---- */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Texts that stand one after the other, each with a NUL. */
static char **split(const char *text, size_t len)
{
	char **list = NULL;
	size_t n = 0;

	for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
		list = mem_resize(list, n + 2, sizeof(*list));
		list[n++] = mem_strdup(text + at);
		list[n] = NULL;
	}
	if (list)
		qsort(list, n, sizeof(*list), compare_texts);
	return list;
}

static char **read_names(int fd)
{
	struct stat st;
	char *text, **list = NULL;

	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		text = mem_alloc((size_t)st.st_size + 1);
		if (pread(fd, text, (size_t)st.st_size, 0) == st.st_size)
			list = split(text, (size_t)st.st_size);
		free(text);
	}
	close(fd);
	return list;
}

static bool glob_denied; /* a directory that is only root's may hold more */

static int note_denied(const char *path, int error)
{
	(void)path;
	glob_denied = glob_denied || error == EACCES || error == EPERM;
	return 0;
}

char **files_glob(struct files *f, const char *pattern)
{
	char **paths = NULL;
	glob_t g;
	int fd = -1;

	glob_denied = false;
	if (glob(pattern, 0, note_denied, &g) != 0 || glob_denied)
		fd = ask(f, FILES_LIST, pattern);
	if (fd > 0) {
		paths = read_names(fd);
	} else if (g.gl_pathc > 0) {
		paths = mem_alloc((g.gl_pathc + 1) * sizeof(*paths));
		for (size_t i = 0; i < g.gl_pathc; i++)
			paths[i] = mem_strdup(g.gl_pathv[i]);
	}
	globfree(&g);
	return paths;
}

/* ---- another process ---- */

bool files_is_old(struct files *f)
{
	if (f->fd >= 0 && f->version == 0)
		ask(f, FILES_READ, ""); /* of nothing: in which version is it answered? */
	return f->fd >= 0 && f->version == FILES_VERSION_1;
}

int files_another(struct files *f)
{
	int fd = f->fd < 0 ? -1 : ask(f, FILES_ANOTHER, "");

	/* an older one has only this socket */
	if (fd == -ENOSYS && f->fd >= 0)
		return fcntl(f->fd, F_DUPFD_CLOEXEC, 3);
	return fd > 0 ? fd : -1;
}
