#include "base/shwords.h"

#include <string.h>

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";

void shwords_quote(const char *word, struct buf *out)
{
	if (*word && word[strspn(word, plain)] == '\0') {
		buf_adds(out, word);
		return;
	}
	buf_addc(out, '\'');
	for (; *word; word++) {
		if (*word == '\'')
			buf_adds(out, "'\\'");
		buf_addc(out, *word);
	}
	buf_addc(out, '\'');
}

static const char *in_single(char **from, char **to)
{
	char *end = strchr(++*from, '\'');

	if (!end)
		return "a ' is missing at its end";
	memmove(*to, *from, (size_t)(end - *from));
	*to += end - *from;
	*from = end + 1;
	return NULL;
}

static const char *in_double(char **from, char **to)
{
	for (++*from; **from != '"'; ++*from) {
		if (**from == '\\' && (*from)[1] && strchr("\"\\$`", (*from)[1]))
			++*from;
		if (!**from)
			return "a \" is missing at its end";
		*(*to)++ = **from;
	}
	++*from;
	return NULL;
}

/* One word, moved together in place. */
static const char *one_word(char **from, char **to)
{
	const char *why = NULL;

	while (!why && **from && **from != ' ' && **from != '\t') {
		if (**from == '\'')
			why = in_single(from, to);
		else if (**from == '"')
			why = in_double(from, to);
		else if (**from == '\\' && !*++*from)
			why = "nothing follows its last \\";
		else
			*(*to)++ = *(*from)++;
	}
	return why;
}

const char *shwords_split(char *line, char *words[SHWORDS_MAX], size_t *ret_n)
{
	char *from = line, *to = line;
	const char *why;

	*ret_n = 0;
	for (;;) {
		from += strspn(from, " \t");
		if (!*from || *from == '#')
			return NULL;
		if (*ret_n == SHWORDS_MAX)
			return "it has too many words";
		words[(*ret_n)++] = to;
		why = one_word(&from, &to);
		if (why)
			return why;
		if (*from) /* before the end is written, which may stand just there */
			from++;
		*to++ = '\0';
	}
}
