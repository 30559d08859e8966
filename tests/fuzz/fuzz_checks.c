/* fuzz_checks.c - what a server answers to a check, in pieces of any size: there is one verdict, however it comes. */
#include "checker/kinds.h"
#include "input.h"

static const char *const kinds[] = {"smtp", "pop3", "imap", "ssh", "redis", "http", "pgsql", "mysql", "pgsql", "tcp"};

#define WITH_STEPS ARRAY_LEN(kinds)

static void add_steps(struct input *in, struct script *s)
{
	static const enum script_kind list[] = {SCRIPT_SEND, SCRIPT_EXPECT, SCRIPT_BEGIN, SCRIPT_NOT, SCRIPT_BYE};
	unsigned n = input_u8(in) % 6;

	for (unsigned i = 0; i < n; i++) {
		char bytes[16];
		size_t len = input_u8(in) % sizeof(bytes);
		enum script_kind kind = list[input_u8(in) % ARRAY_LEN(list)];

		input_bytes(in, bytes, len);
		script_add(s, kind, bytes, len);
	}
}

struct outcome {
	enum verdict verdict;
	struct buf said, why;
};

/* The question is asked, then the answer comes. sizes: of the pieces, 0: all at once. */
static struct outcome run(const struct script *s, struct input answer, struct input sizes, bool over)
{
	struct outcome o = {VERDICT_MORE, BUF_INIT, BUF_INIT};
	struct script_run r;

	script_begin(&r, s);
	o.verdict = script_goes_on(&r, false, &o.said, &o.why);
	while (answer.left > 0 && o.verdict == VERDICT_MORE) {
		size_t n = input_u8(&sizes);

		if (n == 0 || n > answer.left)
			n = answer.left;
		script_hears(&r, answer.at, n);
		answer.at += n;
		answer.left -= n;
		o.verdict = script_goes_on(&r, false, &o.said, &o.why);
		CHECK(r.heard.len <= SCRIPT_HEARD_MAX);
	}
	if (o.verdict == VERDICT_MORE)
		o.verdict = over ? script_goes_on(&r, true, &o.said, &o.why) : script_times_out(&r, &o.why);
	script_bye(&r, &o.said);
	script_end(&r);
	return o;
}

static void check(const struct outcome *o)
{
	CHECK(o->verdict != VERDICT_MORE);
	CHECK((o->verdict == VERDICT_NO) == (o->why.len > 0));
	for (size_t i = 0; i < o->why.len; i++)
		CHECK((unsigned char)o->why.s[i] >= ' ' && o->why.s[i] != 0x7f);
	CHECK(o->why.len < 300);
	CHECK(o->said.len < 1000);
}

static void release(struct outcome *o)
{
	buf_release(&o->said);
	buf_release(&o->why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size}, sizes, none = {data, 0};
	struct script script = {0};
	unsigned which = input_u8(&in) % (WITH_STEPS + 1), how = input_u8(&in);
	struct script_words words = {.host = "proxy.example", .user = which == 8 ? NULL : "check"};
	struct outcome whole, parts;

	if (which == WITH_STEPS)
		add_steps(&in, &script);
	else
		CHECK(kind_script(kinds[which], &words, &script));
	sizes = (struct input){in.at, in.left < 16 ? in.left : 16};
	in.at += sizes.left;
	in.left -= sizes.left;
	whole = run(&script, in, none, how & 1);
	parts = run(&script, in, sizes, how & 1);
	check(&whole);
	check(&parts);
	/* where something is said in between, it matters what came before */
	if (which != WITH_STEPS && which != 0)
		CHECK(whole.verdict == parts.verdict);
	release(&whole);
	release(&parts);
	script_release(&script);
	return 0;
}
