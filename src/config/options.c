#include "config/options.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"

const struct directive directives[] = {
#define DIRECTIVE(keyword, where, min, max, type, field, letter, option, arguments, help) \
	{keyword, where, min, max, field, letter, option, arguments, help},
#include "config/options.def"
#undef DIRECTIVE
};

const size_t n_directives = ARRAY_LEN(directives);

static const struct peer {
	const char *word, *answer;
} peers[] = {
#define PEER(word, answer) {word, answer},
#include "config/peers.def"
#undef PEER
};

const struct directive *directive_find(const char *keyword)
{
	for (size_t i = 0; i < n_directives; i++) {
		if (!strcmp(directives[i].keyword, keyword))
			return &directives[i];
	}
	return NULL;
}

bool directive_is_global(const struct directive *d)
{
	return d->where == GLOBAL;
}

bool directive_is_alias(const struct directive *d)
{
	for (const struct directive *e = directives; e < d; e++) {
		if (e->field != NOTHING && e->field == d->field && e->where == d->where && directive_is_global(d))
			return true;
	}
	return false;
}

const char *peer_answer(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
		if (!strcasecmp(peers[i].word, word))
			return peers[i].answer;
	}
	return NULL;
}

void directive_suggest(const char *word, struct buf *out)
{
	const char *words[ARRAY_LEN(directives) + 1];
	const char *answer = peer_answer(word);

	if (answer) {
		buf_addf(out, "; %s", answer);
		return;
	}
	for (size_t i = 0; i < n_directives; i++)
		words[i] = directives[i].keyword;
	words[n_directives] = NULL;
	answer = text_nearest(word, words);
	if (answer)
		buf_addf(out, "; did you mean \"%s\"?", answer);
	else
		buf_adds(out, "; tcpproxy.conf(5) lists them all");
}
