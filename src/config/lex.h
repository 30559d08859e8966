/*
 * lex.h - a line of configuration as words.
 *
 * Words are separated by blanks; # outside of quotes starts a comment; "..." quotes, also in the
 * middle of a word, and in quotes \" and \\ stand for " and \. Columns count bytes from 1.
 */
#ifndef CONFIG_LEX_H
#define CONFIG_LEX_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

struct word {
	char *text;
	uint32_t column;
};

struct line {
	struct word *words;
	size_t n, cap;
	uint32_t end; /* column just after the last word, where what is missing would stand */
	char *store;  /* the words' text; owned */
	size_t store_cap;
	const char *source; /* the text that was split: the caller's */
	size_t source_len;
};

/* Splits `len` bytes without a newline. Returns NULL, or what is wrong (static), *column says
 * where; the words before it are kept. The words are valid until the next call. */
const char *lex_line(struct line *l, const char *text, size_t len, uint32_t *column);
void line_release(struct line *l);

/* The column of a byte of this word: quotes, and the backslashes in them, make it differ from the sum. The text of
 * lex_line() must still be there. */
uint32_t lex_column(const struct line *l, const struct word *w, size_t byte);

/* Appends `word` so that lex_line() reads it as one word, in quotes only if it must. */
void lex_quote(const char *word, struct buf *out);
/* Appends a blank, and the two as one such word: "netns=" and its value. */
void lex_quote_option(const char *name, const char *value, struct buf *out);

/* The words of a text, as an argument vector: malloc()ed, NULL-terminated (words_free()).
 * NULL: *why says what is wrong (static). */
char **lex_words(const char *text, const char **why);
void words_free(char **words);          /* takes NULL */
char **words_again(char *const *words); /* a copy; NULL: NULL */
char **words_copy(const struct word *words, size_t n);

#define SHOWN_MAX 80
/* A word for a message: in quotes, cut if it is long, without what would spoil a terminal. buf
 * holds SHOWN_MAX bytes. Returns buf. */
const char *lex_show(const char *word, char *buf);

#endif
