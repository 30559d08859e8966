#include "config/lex.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Text has none of these but tabs; a file that has is not what was meant. */
static bool control(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

static struct word *word_add(struct line *l, char *text, size_t column)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->words = mem_resize(l->words, l->cap, sizeof(*l->words));
	}
	l->words[l->n] = (struct word){.text = text, .column = (uint32_t)column};
	return &l->words[l->n++];
}

/* Does \" or \\ stand here, in quotes? */
static bool escape(const char *text, size_t len, size_t i)
{
	return text[i] == '\\' && i + 1 < len && (text[i + 1] == '"' || text[i + 1] == '\\');
}

/* One word from text[*pos] to *out, which is moved past it. */
static const char *word_read(const char *text, size_t len, size_t *pos, char **out, size_t *bad)
{
	size_t i = *pos, quote = 0;
	bool quoted = false;

	for (; i < len; i++) {
		char c = text[i];

		if (control(c)) {
			*bad = i;
			return "a control character stands here: this is not a text file";
		}
		if (c == '"') {
			quoted = !quoted;
			quote = i;
			continue;
		}
		if (!quoted && (blank(c) || c == '#'))
			break;
		if (quoted && escape(text, len, i))
			c = text[++i];
		*(*out)++ = c;
	}
	*pos = i;
	*(*out)++ = '\0';
	*bad = quote;
	return quoted ? "this quote is not closed on its line" : NULL;
}

const char *lex_line(struct line *l, const char *text, size_t len, uint32_t *column)
{
	size_t pos = 0, bad = 0;
	char *out;

	if (len && text[len - 1] == '\r')
		len--;
	if (l->store_cap < len + 2) {
		l->store_cap = len + 2 + len / 2;
		l->store = mem_resize(l->store, l->store_cap, 1);
	}
	out = l->store;
	l->source = text;
	l->source_len = len;
	l->n = 0;
	l->end = 1;
	for (;;) {
		const char *why;
		char *start = out;
		size_t at;

		while (pos < len && blank(text[pos]))
			pos++;
		if (pos == len || text[pos] == '#')
			return NULL;
		at = pos;
		why = word_read(text, len, &pos, &out, &bad);
		if (why) {
			*column = (uint32_t)bad + 1;
			return why;
		}
		word_add(l, start, at + 1);
		l->end = (uint32_t)pos + 1;
	}
}

uint32_t lex_column(const struct line *l, const struct word *w, size_t byte)
{
	bool quoted = false;

	for (size_t i = w->column - 1; i < l->source_len; i++) {
		if (l->source[i] == '"') {
			quoted = !quoted;
			continue;
		}
		if (byte-- == 0)
			return (uint32_t)i + 1;
		if (quoted && escape(l->source, l->source_len, i))
			i++;
	}
	return w->column;
}

void line_release(struct line *l)
{
	free(l->words);
	free(l->store);
	*l = (struct line){0};
}

void lex_quote(const char *word, struct buf *out)
{
	if (*word && !strpbrk(word, " \t\n\r\"#")) {
		buf_adds(out, word);
		return;
	}
	buf_addc(out, '"');
	for (; *word; word++) {
		/* A backslash is doubled only where it would be taken for the start of \" or \\. */
		if (*word == '"' || (*word == '\\' && (!word[1] || word[1] == '"' || word[1] == '\\')))
			buf_addc(out, '\\');
		buf_addc(out, *word);
	}
	buf_addc(out, '"');
}

void lex_quote_option(const char *name, const char *value, struct buf *out)
{
	char *word = mem_printf("%s%s", name, value);

	buf_addc(out, ' ');
	lex_quote(word, out);
	free(word);
}

char **words_copy(const struct word *words, size_t n)
{
	char **copy = mem_alloc((n + 1) * sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = mem_strdup(words[i].text);
	return copy;
}

char **words_again(char *const *words)
{
	size_t n = 0;
	char **copy;

	while (words && words[n])
		n++;
	copy = words ? mem_alloc((n + 1) * sizeof(*copy)) : NULL;
	for (size_t i = 0; i < n; i++)
		copy[i] = mem_strdup(words[i]);
	return copy;
}

char **lex_words(const char *text, const char **why)
{
	struct line l = {0};
	uint32_t column;
	char **words = NULL;

	*why = lex_line(&l, text, strlen(text), &column);
	if (!*why)
		words = words_copy(l.words, l.n);
	line_release(&l);
	return words;
}

void words_free(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
}

const char *lex_show(const char *word, char *buf)
{
	const size_t most = SHOWN_MAX - 8;
	size_t n = 0;

	buf[n++] = '"';
	for (; *word && n < most; word++)
		buf[n++] = control(*word) || *word == '\t' ? '?' : *word;
	/* A character of several bytes is not cut in half. */
	if (*word) {
		while (n > 1 && ((unsigned char)*word & 0xc0) == 0x80) {
			word--;
			n--;
		}
	}
	snprintf(buf + n, SHOWN_MAX - n, *word ? "...\"" : "\"");
	return buf;
}
