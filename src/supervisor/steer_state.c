/*
 * steer_state.c - `state FILE`: what tcpproxyctl has changed is also kept in a file. Each command, and whatever else may change something,
 * has the text made a little later; it is written if it is another one. (Taken up: steer_restore.c.)
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "ipc/state.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

#define WAIT_MS    500 /* a script gives many commands */
#define AGAIN_MS   30000
#define FRESH_MIN  1000 /* with max-age the file is written anew while we live, so that its age is that of our end */
#define FRESH_MAX  3600000
#define FRESH_PART 4

static void state_is_due(void *arg);

/* ---- writing ---- */

static void describe(const struct supervisor *s, struct buf *out)
{
	buf_adds(out,
	         "# Changes by tcpproxyctl, against the configuration: tcpproxy writes this file anew at each one, and "
	         "takes it "
	         "up when it starts.\n# A line \"" STATE_SAID
	         "\" says by a number what the configuration said of a server then: if it says something else by now, "
	         "that holds.\n");
	steer_state_text(s, out);
	if (s->state_file.late)
		buf_adds(out, s->state_file.late);
}

static int write_all(int fd, const struct buf *text)
{
	for (size_t at = 0; at < text->len;) {
		ssize_t n = write(fd, text->s + at, text->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int write_file(struct supervisor *s, const char *path, const struct buf *text)
{
	int fd = files_open_new(&s->files, path), rc;

	if (fd < 0)
		return fd;
	rc = write_all(fd, text);
	if (rc < 0 && ftruncate(fd, 0) < 0) /* what it has taken of a full disk */
		rc = -errno;
	close(fd);
	return rc < 0 ? rc : files_commit(&s->files, path);
}

/* Once, until it can be written again. */
static void tell(struct state_file *f, const char *path, int error)
{
	if (error && error != f->error)
		log_error(
		        "cannot write the state to %s: %s: until it can be, changes by tcpproxyctl live no longer than "
		        "tcpproxy",
		        path, files_error(error));
	else if (!error && f->error)
		log_info("the state is written to %s again", path);
	f->error = error;
}

/* When it is looked at again, whatever happens. 0: it need not be. */
static int64_t next_look_ms(const struct supervisor *s)
{
	int64_t fresh_ms = s->rules.config->state_max_age_ms / FRESH_PART;

	if (s->state_file.error)
		return AGAIN_MS;
	return fresh_ms == 0 ? 0 : fresh_ms < FRESH_MIN ? FRESH_MIN : fresh_ms > FRESH_MAX ? FRESH_MAX : fresh_ms;
}

/* fresh: also if nothing is new. */
static void write_state(struct supervisor *s, bool fresh)
{
	struct state_file *f = &s->state_file;
	const char *path = s->rules.config->state;
	struct buf text = BUF_INIT;

	timer_clear(&s->loop, &f->timer);
	f->wanted = false;
	if (!path)
		return;
	describe(s, &text);
	if (fresh || f->error || !f->written || strcmp(f->written, text.s) != 0) {
		tell(f, path, -write_file(s, path, &text));
		free(f->written);
		f->written = f->error ? NULL : mem_strdup(text.s);
	}
	buf_release(&text);
	if (next_look_ms(s))
		timer_set(&s->loop, &f->timer, s->loop.now_ms + next_look_ms(s), state_is_due, s);
}

static void state_is_due(void *arg)
{
	struct supervisor *s = arg;

	write_state(s, !s->state_file.wanted);
}

void steer_state_look(struct supervisor *s)
{
	struct state_file *f = &s->state_file;

	if (!s->rules.config->state || f->wanted || f->over)
		return;
	f->wanted = true;
	timer_set(&s->loop, &f->timer, s->loop.now_ms + WAIT_MS, state_is_due, s);
}

void steer_state_reload(struct supervisor *s)
{
	struct state_file *f = &s->state_file;

	free(f->written); /* perhaps elsewhere */
	f->written = NULL;
	f->error = 0;
	f->wanted = false;
	timer_clear(&s->loop, &f->timer);
	steer_state_look(s);
}

void steer_state_end(struct supervisor *s)
{
	if (!s->state_file.over && s->children.workers.world)
		write_state(s, s->rules.config->state_max_age_ms != 0);
	timer_clear(&s->loop, &s->state_file.late_timer);
	free(s->state_file.late);
	s->state_file.late = NULL;
	s->state_file.over = true;
	timer_clear(&s->loop, &s->state_file.timer);
	free(s->state_file.written);
	s->state_file.written = NULL;
}
