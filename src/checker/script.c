#include "checker/script.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/utf8.h"

#define QUOTED_MAX 60 /* bytes of an answer that stand in a reason */

/* ---- writing it ---- */

static struct script_step *add(struct script *s, enum script_kind kind)
{
	s->steps = mem_resize(s->steps, s->n + 1, sizeof(*s->steps));
	s->steps[s->n] = (struct script_step){.kind = kind};
	return &s->steps[s->n++];
}

void script_add(struct script *s, enum script_kind kind, const void *bytes, size_t len)
{
	struct script_step *step = add(s, kind);

	step->bytes = mem_alloc(len + 1);
	memcpy(step->bytes, bytes, len);
	step->len = len;
}

void script_add_text(struct script *s, enum script_kind kind, const char *text)
{
	script_add(s, kind, text, strlen(text));
}

void script_add_hear(struct script *s, script_hear *hear)
{
	add(s, SCRIPT_HEAR)->hear = hear;
}

void script_add_say(struct script *s, script_say *say)
{
	add(s, SCRIPT_SAY)->say = say;
}

void script_release(struct script *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->steps[i].bytes);
	free(s->steps);
	*s = (struct script){0};
}

/* ---- running it ---- */

void script_begin(struct script_run *r, const struct script *script)
{
	*r = (struct script_run){.script = script};
}

void script_end(struct script_run *r)
{
	buf_release(&r->heard);
}

void script_hears(struct script_run *r, const void *bytes, size_t n)
{
	size_t room = SCRIPT_HEARD_MAX - r->heard.len;

	if (n > room)
		r->too_much = true;
	buf_add(&r->heard, bytes, n > room ? room : n);
}

void script_quote(struct buf *why, const char *heard, size_t n)
{
	char text[QUOTED_MAX];
	size_t line = 0;

	while (line < n && line < sizeof(text) && heard[line] != '\r' && heard[line] != '\n')
		line++;
	memcpy(text, heard, line);
	line = utf8_whole(text, line);
	line = utf8_clean_line(text, line);
	buf_addc(why, '"');
	buf_add(why, text, line);
	buf_addc(why, '"');
}

enum verdict script_no(const struct hearing *h, const char *what, const char *heard, size_t n)
{
	buf_adds(h->why, what);
	buf_addc(h->why, ' ');
	script_quote(h->why, heard, n);
	return VERDICT_NO;
}

static bool has(const struct buf *heard, const struct script_step *step)
{
	return step->len == 0 || (heard->len > 0 && memmem(heard->s, heard->len, step->bytes, step->len));
}

static bool begins(const struct buf *heard, const struct script_step *step)
{
	size_t n = heard->len < step->len ? heard->len : step->len;

	return n == 0 || memcmp(heard->s, step->bytes, n) == 0;
}

static enum verdict refuse(struct buf *why, const char *what, const struct script_step *step, const struct buf *heard)
{
	buf_adds(why, what);
	buf_addc(why, ' ');
	script_quote(why, step->bytes, step->len);
	if (heard) {
		buf_adds(why, heard->len ? ", got " : ", got nothing");
		if (heard->len)
			script_quote(why, heard->s, heard->len);
	}
	return VERDICT_NO;
}

/* A step before this one, after the last SEND, does not want to hear what has come. */
static const struct script_step *unwanted(const struct script_run *r)
{
	for (size_t i = r->at; i-- > 0;) {
		const struct script_step *step = &r->script->steps[i];

		if (step->kind == SCRIPT_SEND || step->kind == SCRIPT_SAY)
			break;
		if (step->kind == SCRIPT_NOT && has(&r->heard, step))
			return step;
	}
	return NULL;
}

static enum verdict hear(struct script_run *r, const struct script_step *step, bool over, struct buf *say,
                         struct buf *why)
{
	const struct buf *heard = &r->heard;
	bool last = over || r->too_much; /* nothing that comes will be looked at */
	struct hearing h = {heard->len ? heard->s : "", heard->len, last, &r->stage, say, why};
	enum verdict v;

	switch (step->kind) {
	case SCRIPT_EXPECT:
		if (has(heard, step))
			return VERDICT_YES;
		return last ? refuse(why, "expected", step, heard) : VERDICT_MORE;
	case SCRIPT_BEGIN:
		if (!begins(heard, step))
			return refuse(why, "expected at the beginning", step, heard);
		if (heard->len >= step->len)
			return VERDICT_YES;
		return last ? refuse(why, "expected at the beginning", step, heard) : VERDICT_MORE;
	case SCRIPT_HEAR:
		v = step->hear(&r->script->words, &h);
		if (v == VERDICT_MORE && last) {
			buf_adds(why, over ? "ended in the middle of its answer" : "its answer has no end");
			return VERDICT_NO;
		}
		return v;
	default:
		return VERDICT_YES;
	}
}

static void forget_heard(struct script_run *r)
{
	buf_clear(&r->heard);
	r->too_much = false;
	r->stage = 0;
}

static bool is_last(const struct script_run *r)
{
	return r->at + 1 >= r->script->n || r->script->steps[r->at + 1].kind == SCRIPT_BYE;
}

enum verdict script_goes_on(struct script_run *r, bool over, struct buf *say, struct buf *why)
{
	for (; r->at < r->script->n; r->at++) {
		const struct script_step *step = &r->script->steps[r->at], *bad = unwanted(r);
		enum verdict v;

		if (step->kind == SCRIPT_BYE)
			break;
		if (!bad && step->kind == SCRIPT_NOT && has(&r->heard, step))
			bad = step;
		if (bad)
			return refuse(why, "got", bad, NULL);
		if (step->kind == SCRIPT_SEND || step->kind == SCRIPT_SAY) {
			if (over) {
				buf_adds(why, "ended before it was asked");
				return VERDICT_NO;
			}
			if (step->kind == SCRIPT_SEND)
				buf_add(say, step->bytes, step->len);
			else
				step->say(&r->script->words, say);
			forget_heard(r);
			continue;
		}
		if (step->kind == SCRIPT_NOT) {
			if (is_last(r) && !over)
				return VERDICT_MORE; /* it may still come */
			continue;
		}
		v = hear(r, step, over, say, why);
		if (v != VERDICT_YES)
			return v;
	}
	return VERDICT_YES;
}

enum verdict script_times_out(struct script_run *r, struct buf *why)
{
	const struct script_step *step = r->at < r->script->n ? &r->script->steps[r->at] : NULL;

	if (step && step->kind == SCRIPT_NOT)
		return VERDICT_YES;
	buf_adds(why, "time is over");
	if (step && (step->kind == SCRIPT_EXPECT || step->kind == SCRIPT_BEGIN)) {
		buf_adds(why, ", ");
		refuse(why, "expected", step, &r->heard);
	} else {
		buf_adds(why, r->heard.len ? ", got " : ", got nothing");
		if (r->heard.len)
			script_quote(why, r->heard.s, r->heard.len);
	}
	return VERDICT_NO;
}

void script_bye(const struct script_run *r, struct buf *say)
{
	for (size_t i = 0; i < r->script->n; i++)
		if (r->script->steps[i].kind == SCRIPT_BYE)
			buf_add(say, r->script->steps[i].bytes, r->script->steps[i].len);
}
