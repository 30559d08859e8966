/* options.h - the table of directives (options.def), and what to say about a word that is not in it. */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "config/config.h"

/* OPENING: behind sni or protocol. */
enum level { GLOBAL = 1, SERVICE = 2, INTERFACE = 4, OPENING = 8 };

#define MANY       UINT_MAX
#define SECTION(m) offsetof(struct section, m)
#define PROGRAM(m) offsetof(struct config, m)
#define NOTHING    0

struct directive {
	const char *keyword;
	unsigned int where;    /* enum level, or-ed */
	unsigned int min, max; /* arguments */
	size_t field;          /* offset; in struct config for what is global only */
	char letter;           /* 0: no option says the same */
	const char *option;
	const char *arguments, *help;
};

extern const struct directive directives[];
extern const size_t n_directives;

const struct directive *directive_find(const char *keyword); /* NULL: there is none */

/* Global only: said once for the whole program, kept in struct config. */
bool directive_is_global(const struct directive *d);

/* A second word for what an earlier one says. */
bool directive_is_alias(const struct directive *d);

/* How a word of another program is said here, or NULL. */
const char *peer_answer(const char *word);

/* Appends what is meant by `word`, which is not a directive: "; did you mean ...?". */
void directive_suggest(const char *word, struct buf *out);

#endif
