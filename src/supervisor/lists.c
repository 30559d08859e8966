#include "supervisor/lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/pathwatch.h"
#include "supervisor/members.h"
#include "supervisor/state.h"

#define SETTLE_MS  100  /* who writes may not be done: so long after the last change it is read ... */
#define AT_MOST_MS 500  /* ... and so long after the first, whatever comes */
#define LOOK_MS    500  /* what cannot be heard of is looked at */
#define SLOWLY_MS  5000 /* what can be is, too: not all file systems tell */
#define FRESH_NS   2000000000LL

/* A file as it was when it was read: if it still is, nothing has changed. */
struct look {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec written, changed;
};

struct list {
	struct list *next;
	char *line, *path;
	char *text;       /* as it was read last; NULL: it could not be */
	char *why;        /* it could not be used, as the log was told; NULL: it could */
	struct look look; /* ino 0: it may have changed since */
	bool wanted;
};

struct lists {
	struct list *first;
	struct pathwatch paths;
	struct watch watch;
	struct timer settle; /* something was heard of */
	struct timer timer;
	int64_t heard_ms; /* for the first time since it was looked; 0: not */
	bool others;      /* there are other lists than are watched */
};

/* ---- what it says ---- */

/* It is told once for each change. */
static void cannot_use(const char *path, char *why, char **told)
{
	if (*told && strcmp(*told, why) == 0)
		return;
	free(*told);
	*told = mem_strdup(why);
	log_error_lines("", why);
	log_error("%s: the servers stay as they were", path);
}

bool list_take(struct supervisor *s, const char *line, const char *path, const char *text, char **told)
{
	struct config_errors errors = {NULL, 0};
	char *lines = list_parse(path, text, s->setup->world, &errors);
	struct buf why = BUF_INIT;
	bool ok = lines;

	for (size_t i = 0; i < errors.n; i++) {
		config_error_format(&errors.list[i], &why);
		buf_addc(&why, '\n');
	}
	config_errors_release(&errors);
	if (lines) {
		free(*told);
		*told = NULL;
		members_set(s, line, lines);
	} else {
		cannot_use(path, why.s, told);
	}
	buf_release(&why);
	free(lines);
	return ok;
}

static void read_again(struct supervisor *s, struct list *l)
{
	const char *why = NULL;
	char *text = files_read(&s->files, l->path, &why);

	if (!text) {
		char *said = mem_printf("cannot read %s: %s", l->path, why);

		cannot_use(l->path, said, &l->why);
		free(said);
	} else if (!l->text || strcmp(text, l->text) != 0) {
		list_take(s, l->line, l->path, text, &l->why);
	}
	free(l->text);
	l->text = text;
}

/* ---- has it changed? ---- */

/* A file that was written a moment ago may be written once more in what is the same moment for its clock. */
static bool is_fresh(const struct stat *st)
{
	int64_t written_ns = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;

	return clock_wall_us() * 1000 - written_ns < FRESH_NS;
}

static struct look look_at(struct supervisor *s, const char *path)
{
	int fd = files_open_read(&s->files, path);
	struct look ret;
	struct stat st;

	memset(&ret, 0, sizeof(ret));
	if (fd < 0)
		return ret;
	if (fstat(fd, &st) == 0 && !is_fresh(&st)) {
		ret.dev = st.st_dev;
		ret.ino = st.st_ino;
		ret.size = st.st_size;
		ret.written = st.st_mtim;
		ret.changed = st.st_ctim;
	}
	close(fd);
	return ret;
}

static void look(struct supervisor *s, struct list *l, bool heard)
{
	struct look now = look_at(s, l->path);

	if (!heard && now.ino && memcmp(&now, &l->look, sizeof(now)) == 0)
		return;
	l->look = now;
	read_again(s, l);
}

static void look_at_all(struct supervisor *s, bool heard)
{
	s->lists->heard_ms = 0;
	for (struct list *l = s->lists->first; l; l = l->next)
		look(s, l, heard);
}

/* ---- hearing of it ---- */

static void lists_event(void *arg, uint32_t events);
static void lists_due(void *arg);

/* The ways to the files may be others now. What changes while they are found out is seen by who looks afterwards. */
static void watch_again(struct supervisor *s)
{
	struct lists *x = s->lists;

	watch_remove(&s->loop, &x->watch);
	pathwatch_close(&x->paths);
	pathwatch_open(&x->paths);
	for (struct list *l = x->first; l; l = l->next)
		pathwatch_add(&x->paths, l->path);
	if (x->paths.fd >= 0 && watch_add(&s->loop, &x->watch, x->paths.fd, EPOLLIN, lists_event, s) < 0)
		x->paths.whole = false;
	timer_set(&s->loop, &x->timer, s->loop.now_ms + (x->paths.whole ? SLOWLY_MS : LOOK_MS), lists_due, s);
}

static void lists_settled(void *arg)
{
	struct supervisor *s = arg;

	watch_again(s);
	look_at_all(s, true);
}

static void lists_event(void *arg, uint32_t events)
{
	struct supervisor *s = arg;
	struct lists *x = s->lists;
	int64_t now_ms = s->loop.now_ms, at_ms;

	(void)events;
	if (!pathwatch_heard(&x->paths))
		return;
	if (x->heard_ms == 0)
		x->heard_ms = now_ms;
	at_ms = now_ms + SETTLE_MS;
	if (at_ms > x->heard_ms + AT_MOST_MS)
		at_ms = x->heard_ms + AT_MOST_MS;
	timer_set(&s->loop, &x->settle, at_ms, lists_settled, s);
}

static void lists_due(void *arg)
{
	struct supervisor *s = arg;
	struct lists *x = s->lists;

	look_at_all(s, false);
	timer_set(&s->loop, &x->timer, s->loop.now_ms + (x->paths.whole ? SLOWLY_MS : LOOK_MS), lists_due, s);
}

/* ---- which there are ---- */

static struct list *find(const struct supervisor *s, const char *line)
{
	for (struct list *l = s->lists->first; l; l = l->next)
		if (strcmp(l->line, line) == 0)
			return l;
	return NULL;
}

static void want(struct supervisor *s, const struct source *source)
{
	struct list *l;

	if (source->kind != SOURCE_LIST)
		return;
	if (!s->lists) {
		s->lists = mem_alloc(sizeof(*s->lists));
		*s->lists = (struct lists){.paths.fd = -1};
	}
	l = find(s, source->line);
	if (!l) {
		l = mem_alloc(sizeof(*l));
		*l = (struct list){
		        .next = s->lists->first, .line = mem_strdup(source->line), .path = mem_strdup(source->path)};
		s->lists->first = l;
		s->lists->others = true;
		look(s, l, true);
	}
	l->wanted = true;
}

static void list_free(struct list *l)
{
	free(l->line);
	free(l->path);
	free(l->text);
	free(l->why);
	free(l);
}

static void drop_unwanted(struct lists *x)
{
	struct list **at = &x->first;

	while (*at) {
		struct list *l = *at;

		if (l->wanted) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		list_free(l);
		x->others = true;
	}
}

/* What was heard of those before, and not yet attended to, is found by looking. */
static void watch_others(struct supervisor *s)
{
	s->lists->others = false;
	watch_again(s);
	timer_set(&s->loop, &s->lists->settle, s->loop.now_ms + SETTLE_MS, lists_settled, s);
}

static void want_none(struct supervisor *s)
{
	for (struct list *l = s->lists ? s->lists->first : NULL; l; l = l->next)
		l->wanted = false;
}

void lists_read(struct supervisor *s, const struct config *c)
{
	members_of_sources(s, c, want);
}

void lists_look_after(struct supervisor *s)
{
	want_none(s);
	members_of_sources(s, s->members.read, want);
	if (!s->lists)
		return;
	drop_unwanted(s->lists);
	if (!s->lists->first)
		lists_end(s);
	else if (s->lists->others)
		watch_others(s);
}

void lists_end(struct supervisor *s)
{
	struct lists *x = s->lists;

	if (!x)
		return;
	want_none(s);
	drop_unwanted(x);
	watch_remove(&s->loop, &x->watch);
	pathwatch_close(&x->paths);
	timer_clear(&s->loop, &x->settle);
	timer_clear(&s->loop, &x->timer);
	free(x);
	s->lists = NULL;
}
