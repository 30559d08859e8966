#include "checker/kinds.h"

#include <string.h>
#include "base/mem.h"
#include "checker/protocols.h"

struct kind_step {
	enum script_kind kind;
	const char *bytes;
	size_t len;
	script_hear *hear;
	script_say *say;
};

#define SEND(text)                                                          \
	{                                                                   \
		.kind = SCRIPT_SEND, .bytes = text, .len = sizeof(text) - 1 \
	}
#define BYE(text)                                                          \
	{                                                                  \
		.kind = SCRIPT_BYE, .bytes = text, .len = sizeof(text) - 1 \
	}
#define HEAR(f)                                \
	{                                      \
		.kind = SCRIPT_HEAR, .hear = f \
	}
#define SAY(f)                               \
	{                                    \
		.kind = SCRIPT_SAY, .say = f \
	}

#define KIND(name, ...) static const struct kind_step steps_of_##name[] = {__VA_ARGS__};
#include "checker/kinds.def"
#undef KIND

static const struct kind {
	const char *name;
	const struct kind_step *steps;
	size_t n;
} kinds[] = {
#define KIND(name, ...) {#name, steps_of_##name, sizeof(steps_of_##name) / sizeof(struct kind_step)},
#include "checker/kinds.def"
#undef KIND
};

static void add(struct script *s, const struct kind_step *step)
{
	switch (step->kind) {
	case SCRIPT_HEAR:
		script_add_hear(s, step->hear);
		break;
	case SCRIPT_SAY:
		script_add_say(s, step->say);
		break;
	default:
		script_add(s, step->kind, step->bytes, step->len);
	}
}

bool kind_script(const char *name, const struct script_words *words, struct script *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0) {
			ret->words = *words;
			ret->tells = ret->tells || strcmp(name, "agent") == 0;
			for (size_t k = 0; k < kinds[i].n; k++)
				add(ret, &kinds[i].steps[k]);
			return true;
		}
	return false;
}
