#include "restart/trial_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "files/wire.h"
#include "os/file.h"
#include "os/shm.h"
#include "os/sock.h"

#define AT_ONCE 16 /* questions in a turn */

/* A descriptor of its own, open for reading only, or -errno. */
static int copy_of(const void *data, size_t len)
{
	int fd = shm_new_sealed("tcpproxy-file", data, len);
	char path[40];
	int reading;

	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reading = open(path, O_RDONLY | O_CLOEXEC);
	if (reading < 0)
		reading = -errno;
	close(fd);
	return reading;
}

static int read_copy(struct trial_files *t, const char *path)
{
	const char *why;
	char *text;
	int fd = files_open_read(t->files, path), rc;

	if (fd < 0)
		return fd;
	text = file_read_all(fd, &why);
	close(fd);
	if (!text)
		return -EIO;
	rc = copy_of(text, strlen(text));
	free(text);
	return rc;
}

static int list_copy(struct trial_files *t, const char *pattern)
{
	char **paths = files_glob(t->files, pattern);
	struct buf names = BUF_INIT;
	int rc;

	for (char **p = paths; p && *p; p++)
		buf_add(&names, *p, strlen(*p) + 1);
	rc = copy_of(names.s ? names.s : "", names.len);
	buf_release(&names);
	for (char **p = paths; p && *p; p++)
		free(*p);
	free(paths);
	return rc;
}

static int fulfil(struct trial_files *t, const struct files_wish *w)
{
	switch (w->verb) {
	case FILES_READ:
		return read_copy(t, w->path);
	case FILES_LIST:
		return list_copy(t, w->path);
	default:
		return -EPERM; /* a trial changes nothing */
	}
}

static void answer(struct trial_files *t, const struct files_wish *w)
{
	struct files_answer a;
	int rc = w->version ? fulfil(t, w) : -EPROTO;
	size_t len = files_wire_answer(w, rc < 0 ? rc : 0, NULL, &a);
	int sent = sock_send_message(t->watch.fd, &a, len, &rc, rc > 0);

	/* no descriptor can be sent now: the asker need not wait */
	if (sent < 0 && rc > 0)
		sock_send_message(t->watch.fd, &a, files_wire_answer(w, sent, NULL, &a), NULL, 0);
	if (rc > 0)
		close(rc);
}

static void trial_files_event(void *arg, uint32_t events)
{
	static struct files_question message;
	static struct files_wish w;
	struct trial_files *t = arg;

	for (int i = 0; i < AT_ONCE; i++) {
		int len = sock_recv_message(t->watch.fd, &message, sizeof(message), NULL, NULL);

		if (len == -EAGAIN || len == -EINTR)
			return;
		if (len <= 0) {
			trial_files_stop(t);
			return;
		}
		files_wire_read(&message, (size_t)len, &w);
		answer(t, &w);
	}
}

int trial_files_start(struct trial_files *t)
{
	int pair[2], rc = sock_message_pair(pair);

	if (rc < 0)
		return rc;
	rc = watch_add(t->loop, &t->watch, pair[0], EPOLLIN, trial_files_event, t);
	if (rc == 0)
		return pair[1];
	close(pair[0]);
	close(pair[1]);
	return rc;
}

void trial_files_stop(struct trial_files *t)
{
	int fd = t->watch.fd;

	if (!t->watch.fn)
		return;
	watch_remove(t->loop, &t->watch);
	close(fd);
}
