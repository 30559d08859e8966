/*
 * parse.h - the parser's state, for the files that read the values of directives.
 *
 * Order nests, so whatever a section inherits is complete when the section is opened: it is born as
 * a copy of the outer one, whose texts and lists it shares until a line of its own replaces them.
 */
#ifndef CONFIG_PARSE_H
#define CONFIG_PARSE_H

#include <stdint.h>
#include "config/config.h"
#include "config/lex.h"
#include "config/options.h"

/* A text that is being read; the one that includes it is below. */
struct frame {
	const char *name;   /* of messages */
	const char *path;   /* absolute, or NULL */
	const char *origin; /* NULL: a file */
	uint32_t line;
	struct frame *below;
};

/* Where something was said. */
struct place {
	const char *file; /* owned by the parser; NULL: nowhere yet */
	uint32_t line, column;
	uint32_t end; /* column just behind the words of the line */
	bool command_line;
};

struct parser {
	struct config *c;
	const struct config_world *world;
	struct config_errors *errors;
	struct frame *frame;
	struct line *line; /* the words of the line that is being read */
	enum level level;
	size_t section;            /* the open one, index in c->sections; not for GLOBAL */
	struct place *said;        /* of each directive in the open section, n_directives of them */
	struct place *global_said; /* the same for GLOBAL */
	struct place *places;      /* of the line that opened each section */
	struct place last;         /* of the end of the last file */
	bool *puzzled; /* for each section: a line was not understood that may have named the
	                * server, so that a missing one is not worth a message */
	bool puzzled_globally; /* the same about a port */
	char **names;          /* every name a place may point to */
	size_t n_names, n_files, n_included;
	size_t cap_sections, cap_services, cap_places, cap_puzzled;
};

typedef void set_fn(struct parser *p, const struct directive *d, struct word *args, size_t n);

/* Adds an error at a column of the current line; column 0: at none. */
void parse_error(struct parser *p, uint32_t column, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same at a place. */
void parse_error_at(struct parser *p, const struct place *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What the current line may change: the open section, or c->global. */
struct section *parse_section(struct parser *p);
/* What that section inherits; NULL for c->global. */
const struct section *section_outer(const struct config *c, const struct section *s);
/* The global section of an empty configuration; its texts are static. */
struct section section_defaults(void);
/* What a section starts from. */
struct section section_inherit(const struct config *c, const struct section *outer);

/* Notes that a directive is said here. False: it must not be followed, since the command line has
 * said it, and wins, or since it is said twice (then an error was added). */
bool parse_said(struct parser *p, const struct directive *d);

/* The member that a directive fills. */
void *directive_field(struct parser *p, const struct directive *d);

/* include.c: files. `path` made absolute, from the directory of the current text; malloc()ed. */
char *parse_path(struct parser *p, const char *path);

/* Reads a file through the world and notes it in c->files. NULL: an error was added at `column`. */
char *parse_read(struct parser *p, const char *path, uint32_t column);

/* Notes a file in c->files: one that a reload would read again. */
void parse_note_file(struct parser *p, const char *path);

/* Reads `text` line by line as `name`, and calls `each` for every line that has words. */
typedef void line_fn(struct parser *p, void *arg);
void parse_lines(struct parser *p, struct frame *f, const char *text, line_fn *each, void *arg);
/* The same, each line a directive. */
void parse_directives(struct parser *p, struct frame *f, const char *text);

/* The next free element of an array that grows by doubling. */
#define GROW(array, n, cap)                                                                        \
	do {                                                                                       \
		if ((n) == (cap)) {                                                                \
			(cap) = (cap) ? (cap)*2 : 8;                                               \
			(array) = mem_resize((array), (cap), sizeof(*(array)));                    \
		}                                                                                  \
	} while (0)

/* One of each type of options.def. */
#define DIRECTIVE(keyword, where, min, max, type, field, letter, option, arguments, help)          \
	set_fn set_##type;
#include "config/options.def"
#undef DIRECTIVE

/* access.c: the open section is complete. Lists that came out empty, since their files are, say in so
 * many words what that means, as the canonical text has to. */
void access_finish(struct parser *p);

/* check.c: rules across lines. */
void config_check(struct parser *p);

#endif
