#include "sources/output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/file.h"

#define AGAIN_MS     5000
#define REFUSED_SAID 20 /* more lines of those that are left out are counted */

static int write_all(int fd, const char *s, size_t len)
{
	while (len) {
		ssize_t n = write(fd, s, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- a file ---- */

/* As the file is now, else as other programs' files are. */
static mode_t file_mode(const char *file)
{
	struct stat st;
	mode_t mask;

	if (stat(file, &st) == 0)
		return st.st_mode & 0777;
	mask = umask(0);
	umask(mask);
	return 0666 & ~mask;
}

static int write_beside(int fd, const char *file, const char *beside, const struct buf *text)
{
	int rc = write_all(fd, text->s, text->len);

	if (rc == 0 && (fchmod(fd, file_mode(file)) < 0 || fsync(fd) < 0))
		rc = -errno;
	if (rc == 0 && rename(beside, file) < 0)
		rc = -errno;
	return rc;
}

/* The name of the file may be lost when the machine's power is, not its content: then the old list is there. */
static int write_file(const char *file, const struct buf *text)
{
	char *beside = mem_printf("%s.XXXXXX", file);
	sigset_t all, before;
	int fd, rc;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before); /* who ends us leaves nothing beside it */
	fd = mkostemp(beside, O_CLOEXEC);
	rc = fd < 0 ? -errno : write_beside(fd, file, beside, text);
	if (fd >= 0 && rc < 0)
		unlink(beside);
	if (fd >= 0)
		close(fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	free(beside);
	return rc;
}

/* ---- stdout ---- */

static int write_stdout(const struct buf *text)
{
	struct buf list = BUF_INIT;
	int rc;

	buf_add(&list, text->s, text->len);
	buf_adds(&list, ".\n");
	rc = write_all(STDOUT_FILENO, list.s, list.len);
	buf_release(&list);
	return rc;
}

static void reader_gone(void *arg, uint32_t events)
{
	log_info("nobody reads the lists any more");
	exit(0);
}

/* ---- both ---- */

static void try_to_write(void *arg)
{
	struct output *o = arg;
	int rc = o->file ? write_file(o->file, &o->wanted) : write_stdout(&o->wanted);

	if (rc < 0 && !o->file) {
		log_error("cannot write to stdout: %s", strerror(-rc));
		exit(2);
	}
	if (rc < 0) {
		if (!o->failing)
			log_error("cannot write %s: %s; it is tried again each 5 s", o->file, strerror(-rc));
		o->failing = true;
		timer_set(o->loop, &o->again, o->loop->now_ms + AGAIN_MS, try_to_write, o);
		return;
	}
	if (o->failing)
		log_info("%s is written again", o->file);
	o->failing = false;
	buf_clear(&o->present);
	buf_add(&o->present, o->wanted.s, o->wanted.len);
	o->has_present = true;
}

/* May files be made where it is? */
static int look_at_directory(const char *file)
{
	char *path = mem_strdup(file);
	int rc = access(dirname(path), W_OK | X_OK) < 0 ? -errno : 0;

	free(path);
	return rc;
}

static int read_present(struct output *o)
{
	const char *why;
	struct stat st;
	char *text;
	int fd = open(o->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? look_at_directory(o->file) : -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	}
	text = file_read_all(fd, &why);
	close(fd);
	if (text) {
		buf_adds(&o->present, text);
		o->has_present = true;
	}
	free(text);
	return look_at_directory(o->file);
}

int output_begin(struct output *o, struct loop *loop, const char *file)
{
	struct stat st;

	*o = (struct output){.loop = loop, .file = file};
	if (file)
		return read_present(o);
	/* Only of a pipe or a socket can be heard that nobody reads it. */
	if (fstat(STDOUT_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
		return watch_add(loop, &o->reader, STDOUT_FILENO, 0, reader_gone, o);
	return 0;
}

static bool has_line(const struct buf *text, const char *line, size_t len)
{
	const char *at = text->len ? text->s : "", *end = at + text->len;

	while (at < end && (at = memmem(at, (size_t)(end - at), line, len))) {
		if (at == text->s || at[-1] == '\n')
			return true;
		at++;
	}
	return false;
}

/* Each line that is left out is said once, as long as it is. */
static void say_refused(struct output *o, const struct lines *l, const char *who)
{
	const char *at = l->refused.len ? l->refused.s : "", *end = at + l->refused.len;
	unsigned n = 0;

	while (at < end) {
		size_t len = (size_t)((char *)rawmemchr(at, '\n') - at);

		if (!has_line(&o->refused, at, len + 1) && n++ < REFUSED_SAID)
			log_warning("%s: left out: %.*s", who, (int)len, at);
		at += len + 1;
	}
	if (n > REFUSED_SAID)
		log_warning("%s: left out: %u more", who, n - REFUSED_SAID);
	buf_clear(&o->refused);
	buf_add(&o->refused, l->refused.s, l->refused.len);
}

void output_list(struct output *o, const struct lines *l, const char *who)
{
	struct buf text = BUF_INIT;
	bool useless = l->n == 0 && l->found > 0, was_useless = o->useless;

	say_refused(o, l, who);
	o->useless = useless;
	if (useless) {
		if (!was_useless)
			log_warning("%s: not one of its %zu entries is a server; the list stays as it was", who,
			            l->found);
		return;
	}
	lines_print(l, &text);
	if (o->has_present && o->present.len == text.len && memcmp(o->present.s, text.s, text.len) == 0) {
		timer_clear(o->loop, &o->again); /* of another one, that is out of date */
		o->failing = false;
	} else {
		buf_clear(&o->wanted);
		buf_add(&o->wanted, text.s, text.len);
		try_to_write(o);
	}
	buf_release(&text);
}
