#include "checker/agent.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "checker/protocols.h"

#define AGENT_LINE_MAX 512
#define BETWEEN        " \t,\r\n"

/* The first line, without its end; the end of the connection ends it, too. */
enum verdict hear_agent(const struct script_words *words, struct hearing *h)
{
	const char *end = memchr(h->bytes, '\n', h->n);
	size_t n = end ? (size_t)(end - h->bytes) : h->n;

	if (!end && !h->last && n <= AGENT_LINE_MAX)
		return VERDICT_MORE;
	if (n == 0)
		return script_no(h, "the agent said", h->bytes, n);
	buf_add(h->why, h->bytes, n < AGENT_LINE_MAX ? n : AGENT_LINE_MAX);
	return VERDICT_YES;
}

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
	return text_parse_uint(text, max, ret);
}

/* "50%", "weight:50%", "weight:3", "maxconn:30". */
static bool hear_number(struct agent_view *v, char *word)
{
	char *value = strchr(word, ':');
	size_t len = strlen(word);
	bool percent = len > 0 && word[len - 1] == '%';
	uint64_t n;

	if (percent)
		word[len - 1] = '\0';
	if (!strncasecmp(word, "maxconn:", 8)) {
		if (percent || !number(word + 8, INT32_MAX, &n))
			return false;
		v->max = (int64_t)n;
		return true;
	}
	if (value ? strncasecmp(word, "weight:", 7) != 0 : !percent)
		return false;
	if (!number(value ? value + 1 : word, AGENT_WEIGHT_MAX, &n))
		return false;
	v->weight = (int32_t)n;
	v->in_percent = percent;
	return true;
}

static bool hear_word(struct agent_view *v, char *word)
{
	if (!strcasecmp(word, "up"))
		v->down = false;
	else if (!strcasecmp(word, "down") || !strcasecmp(word, "fail") || !strcasecmp(word, "failed") ||
	         !strcasecmp(word, "stopped"))
		v->down = true;
	else if (!strcasecmp(word, "ready"))
		v->drain = v->maint = false;
	else if (!strcasecmp(word, "drain"))
		v->drain = true;
	else if (!strcasecmp(word, "maint"))
		v->maint = true;
	else
		return hear_number(v, word);
	return true;
}

/* What takes something back is heard first: the order of the words means nothing, and bad news stay. */
static bool takes_back(const char *word)
{
	return !strcasecmp(word, "up") || !strcasecmp(word, "ready");
}

bool agent_hears(struct agent_view *v, const char *line)
{
	bool any = false;

	for (int turn = 0; turn < 2; turn++) {
		char copy[AGENT_LINE_MAX + 1], *rest;

		snprintf(copy, sizeof(copy), "%s", line);
		copy[strcspn(copy, "#")] = '\0';
		for (char *word = strtok_r(copy, BETWEEN, &rest); word; word = strtok_r(NULL, BETWEEN, &rest))
			if (takes_back(word) == (turn == 0))
				any |= hear_word(v, word);
	}
	return any;
}
