/*
 * steer_restore.c - `state FILE` is taken up, at a start that finds no memory of before. The file is of its user's making, too: what it says
 * goes the way that commands go, and then the configuration is compared with what it said when they were given.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/shwords.h"
#include "base/text.h"
#include "ipc/changes.h"
#include "ipc/state.h"
#include "os/file.h"
#include "supervisor/meant.h"
#include "supervisor/members_steer.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

#define FILE_MOST (1 << 20) /* bytes */

/* A server that was added to a service or taken out of it; its words stand in one, or in several. */
static bool take_member(struct supervisor *s, bool added, char **words, size_t n, struct buf *why)
{
	struct buf server = BUF_INIT;
	bool done;

	for (size_t i = 2; i < n; i++)
		buf_addf(&server, "%s%s", i > 2 ? " " : "", words[i]);
	done = server.len > 0 &&
	       (added ? members_add(s, words[1], server.s, why) : members_remove(s, words[1], server.s, why));
	if (done)
		log_info("tcpproxyctl: %s", why->s);
	else if (server.len == 0)
		buf_adds(why, "a service and a server are missing");
	buf_release(&server);
	return done;
}

/* ---- servers that come later ---- */

/* A name has been answered for by then, and a program has printed its list. */
#define LATE_MS       60000
#define LATE_AGAIN_MS 500

static bool may_come(const struct supervisor *s)
{
	return config_has_sources(s->rules.config) && s->loop.now_ms < s->state_file.late_end_ms;
}

/* Behind those that there are; quoted words, or what stands before them. */
static void keep_late(struct supervisor *s, const char *before, char **words, size_t n)
{
	struct buf text = BUF_INIT;

	if (s->state_file.late)
		buf_adds(&text, s->state_file.late);
	buf_adds(&text, before);
	for (size_t i = 0; i < n; i++) {
		buf_adds(&text, i > 0 ? " " : "");
		shwords_quote(words[i], &text);
	}
	buf_addc(&text, '\n');
	free(s->state_file.late);
	s->state_file.late = buf_detach(&text);
}

static void keep_said(struct supervisor *s, const char *server, uint64_t line, bool disabled)
{
	char number[20], *words[] = {(char *)server, number, (char *)"disabled"};

	snprintf(number, sizeof(number), "%016" PRIx64, line);
	keep_late(s, STATE_SAID " ", words, disabled ? 3 : 2);
}

static bool take_command(void *arg, char **words, size_t n, struct buf *why)
{
	bool add = strcmp(words[0], "add") == 0, remove = strcmp(words[0], "remove") == 0;

	if (add || remove ? take_member(arg, add, words, n, why) : steer_again(arg, words, n, why))
		return true;
	if (add || !may_come(arg))
		return false;
	keep_late(arg, "", words, n);
	return true;
}

/* Beside what was changed of it. */
static void take_said(void *arg, const char *server, uint64_t line, bool disabled)
{
	struct supervisor *s = arg;
	struct world *w = s->children.workers.world;
	struct buf why = BUF_INIT;
	struct meant m = meant_configured(w, s->rules.config, server, &why);

	for (size_t i = 0; i < meant_n_services(&m) && m.n_said == 1; i++) {
		struct words words;

		if (!steer_words(s, meant_service(&m, i), m.list[0], &words, &why))
			break;
		atomic_store(&words.changed->disabled, disabled);
		atomic_store(&words.changed->line, line ? line : 1);
	}
	if (m.n_said == 0 && may_come(s))
		keep_said(s, server, line, disabled);
	meant_release(&m);
	buf_release(&why);
}

static void tell_wrong(void *arg, uint32_t line, const char *text, const char *why)
{
	const struct supervisor *s = arg;

	log_warning("%s:%u: %s is left out: %s", s->rules.config->state, line, text, why);
}

/* What stands in it, if it is one and young enough. NULL: it is not, as was said. */
static char *read_text(const struct config *c, int fd, const char **why)
{
	int64_t age_ms;
	struct stat st;
	char now[TEXT_TIME_MAX], most[TEXT_TIME_MAX];

	*why = "it is no file, or larger than 1 MiB";
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MOST)
		return NULL;
	age_ms = clock_wall_us() / 1000 - (st.st_mtim.tv_sec * 1000LL + st.st_mtim.tv_nsec / 1000000);
	if (c->state_max_age_ms && age_ms > c->state_max_age_ms) {
		*why = NULL;
		log_info("the state in %s is not taken up: it is %s old, and max-age is %s", c->state,
		         text_format_time(age_ms, now), text_format_time(c->state_max_age_ms, most));
		return NULL;
	}
	return file_read_all(fd, why);
}

/* Commands among them. */
static uint32_t count_late(const struct supervisor *s)
{
	uint32_t n = 0;

	for (const char *at = s->state_file.late; at && *at; at += strcspn(at, "\n") + 1)
		n += strncmp(at, STATE_SAID, strlen(STATE_SAID)) != 0;
	return n;
}

static void take_late(void *arg);

static void take_text(struct supervisor *s, char *text)
{
	const struct state_reader reader = {.arg = s, .command = take_command, .said = take_said, .wrong = tell_wrong};
	struct state_read r = state_read(text, &reader);
	const char *path = s->rules.config->state;
	uint32_t taken = r.taken - count_late(s);

	if (s->state_file.late)
		timer_set(&s->loop, &s->state_file.late_timer, s->loop.now_ms + LATE_AGAIN_MS, take_late, s);

	if (r.wrong > STATE_WRONG_TOLD)
		log_warning("%s: %u lines more are left out", path, r.wrong - STATE_WRONG_TOLD);
	if (taken) {
		log_info("took up %u change%s by tcpproxyctl from %s", taken, taken == 1 ? "" : "s", path);
		steer_take_file(s);
	}
}

/* Once more; those of servers that have not come are late again. */
static void take_late(void *arg)
{
	struct supervisor *s = arg;
	char *text = s->state_file.late;

	s->state_file.late = NULL;
	if (text && s->rules.config->state)
		take_text(s, text);
	free(text);
	steer_state_look(s);
}

void steer_restore(struct supervisor *s)
{
	const struct config *c = s->rules.config;
	const char *why = NULL;
	char *text = NULL;
	int fd;

	if (!c->state)
		return;
	s->state_file.late_end_ms = s->loop.now_ms + LATE_MS;
	fd = files_open_read(&s->files, c->state);
	if (fd < 0)
		why = fd == -ENOENT ? NULL : files_error(-fd);
	else
		text = read_text(c, fd, &why);
	if (fd >= 0)
		close(fd);
	if (text)
		take_text(s, text);
	else if (why)
		log_error("cannot read the state in %s: %s: all is as the configuration says", c->state, why);
	free(text);
}
