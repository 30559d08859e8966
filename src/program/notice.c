#include "program/notice.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static uint32_t add_words(char *const *words, struct buf *out)
{
	uint32_t n = 0;

	for (; words[n]; n++)
		buf_add(out, words[n], strlen(words[n]) + 1);
	return n;
}

void notice_pack(struct notice_question q, const char *label, char *const *argv, char *const *env, struct buf *out)
{
	buf_clear(out);
	buf_add(out, &q, sizeof(q));
	buf_add(out, label, strlen(label) + 1);
	q.n_argv = add_words(argv, out);
	q.n_env = add_words(env, out);
	memcpy(out->s, &q, sizeof(q));
}

/* The next text, or NULL: there is none that ends. */
static const char *take_text(const char **at, const char *end)
{
	const char *text = *at, *nul = memchr(text, '\0', (size_t)(end - text));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return text;
}

/* NULL: there are not so many. */
static char **take_words(const char **at, const char *end, uint32_t n)
{
	char **words;

	if (n > (size_t)(end - *at)) /* each has a byte */
		return NULL;
	words = mem_alloc((n + 1) * sizeof(*words));
	for (uint32_t i = 0; i < n; i++) {
		words[i] = (char *)take_text(at, end);
		if (!words[i]) {
			free(words);
			return NULL;
		}
	}
	return words;
}

bool notice_unpack(const void *message, size_t len, struct notice *ret)
{
	const char *at = message, *end = at + len;

	*ret = (struct notice){0};
	if (len < sizeof(ret->question))
		return false;
	memcpy(&ret->question, at, sizeof(ret->question));
	at += sizeof(ret->question);
	ret->label = take_text(&at, end);
	if (ret->label && ret->question.n_argv > 0)
		ret->argv = take_words(&at, end, ret->question.n_argv);
	if (ret->argv)
		ret->env = take_words(&at, end, ret->question.n_env);
	if (ret->env)
		return true;
	notice_release(ret);
	return false;
}

void notice_release(struct notice *n)
{
	free(n->argv);
	free(n->env);
	*n = (struct notice){0};
}
