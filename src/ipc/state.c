#include "ipc/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/shwords.h"
#include "base/text.h"
#include "config/lex.h"
#include "ipc/changes.h"

void state_of(const struct world *w, const struct spoken *of, int64_t now_ms, struct buf *out)
{
	const struct changed *c = of->changed;
	struct buf commands = BUF_INIT, word = BUF_INIT;

	changes_of(w, of, now_ms, &commands);
	if (commands.len > 0) {
		if (atomic_load(&c->line)) {
			changes_word(w, of, &word);
			buf_adds(out, STATE_SAID " ");
			shwords_quote(word.s, out);
			buf_addf(out, " %016" PRIx64 "%s\n", (uint64_t)atomic_load(&c->line),
			         atomic_load(&c->disabled) ? " disabled" : "");
		}
		buf_adds(out, commands.s);
	}
	buf_release(&commands);
	buf_release(&word);
}

/* ---- reading ---- */

static bool read_number(const char *word, uint64_t *ret)
{
	char *end;

	if (strlen(word) != 16 || word[strspn(word, "0123456789abcdef")])
		return false;
	*ret = strtoull(word, &end, 16);
	return true;
}

/* What is behind "#:". One that is not of ours is a comment. */
static void read_said(char *text, const struct state_reader *r)
{
	char *words[SHWORDS_MAX];
	uint64_t line;
	size_t n;

	if (shwords_split(text, words, &n) || n < 2 || n > 3 || !read_number(words[1], &line))
		return;
	if (n == 2 || strcmp(words[2], "disabled") == 0)
		r->said(r->arg, words[0], line, n == 3);
}

static bool is_text(const char *line)
{
	for (; *line; line++)
		if ((unsigned char)*line < ' ' && *line != '\t')
			return false;
	return true;
}

/* True: it was obeyed, or there was nothing to obey. */
static bool read_line(char *line, const struct state_reader *r, uint32_t *taken, struct buf *why)
{
	char *words[SHWORDS_MAX];
	const char *trouble = is_text(line) ? NULL : "a character is no text";
	size_t n = 0;

	if (!trouble && strncmp(line, STATE_SAID, strlen(STATE_SAID)) == 0) {
		read_said(line + strlen(STATE_SAID), r);
		return true;
	}
	if (!trouble)
		trouble = shwords_split(line, words, &n);
	if (trouble) {
		buf_adds(why, trouble);
		return false;
	}
	if (n == 0)
		return true;
	if (!r->command(r->arg, words, n, why))
		return false;
	++*taken;
	return true;
}

struct state_read state_read(char *text, const struct state_reader *r)
{
	struct state_read ret = {0};
	char shown[SHOWN_MAX];

	for (uint32_t number = 1; *text; number++) {
		char *next = text + strcspn(text, "\n");
		struct buf why = BUF_INIT;

		if (*next)
			*next++ = '\0';
		lex_show(text, shown);
		if (!read_line(text, r, &ret.taken, &why) && ret.wrong++ < STATE_WRONG_TOLD)
			r->wrong(r->arg, number, shown, why.s ? why.s : "");
		buf_release(&why);
		text = next;
	}
	return ret;
}
