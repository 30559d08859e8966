/*
 * parser.h - the parser's state, for the files that read the values of directives.
 *
 * Order nests, so whatever a section inherits is complete when the section is opened: it is born as
 * a copy of the outer one, whose texts and lists it shares until a line of its own replaces them.
 */
#ifndef CONFIG_PARSER_H
#define CONFIG_PARSER_H

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
	uint32_t end; /* column just after the words of the line */
	bool command_line;
};

/* A name of this text ("as NAME"), and what has it. */
struct given {
	const char *called;
	const char *key; /* a server's spelling; NULL: of a service or one of its sections */
	uint32_t scope;  /* where there is no other of this name: called.c */
	size_t section, order;
	struct place at;
	bool member;
	bool told; /* that it is wrong */
};

struct parser;
typedef void line_fn(struct parser *p, void *arg);

struct parser {
	struct config *c;
	const struct config_ops *world;
	struct config_errors *errors;
	struct frame *frame;
	struct line *line;  /* the words of the line that is being read */
	line_fn *directive; /* reads a line that is one (parse.c) */
	enum level level;
	size_t section;              /* the open one, index in c->sections; not for GLOBAL */
	struct place *said;          /* of each directive in the open section, n_directives of them */
	struct place *global_said;   /* the same for GLOBAL */
	struct place *places;        /* of the line that opened each section */
	struct place *server_places; /* of each server that was said */
	struct place last;           /* of the end of the last file */
	bool *puzzled;               /* for each section: a line was not understood that may have named the
	                * server, so that a missing one is not worth a message */
	bool puzzled_globally;       /* the same about a port */
	char **names;                /* every name a place may point to */
	struct given *given;         /* every name of a service or server */
	bool list_is_none;           /* the list that is read says "none" */
	bool in_members;             /* what is read was not said by the file: what is wrong there is a warning */
	bool checks_off;             /* the open section, or GLOBAL, has said "check off" */
	size_t n_server_places, cap_server_places;
	size_t n_servers;   /* of all pools so far */
	uint32_t told_full; /* number, and one, of the section in which there were too many; 0: in none */
	size_t n_names, n_given, n_files, n_included;
	size_t cap_sections, cap_services, cap_places, cap_puzzled, cap_given;
};

typedef void set_fn(struct parser *p, const struct directive *d, struct word *args, size_t n);

/* Adds an error at a column of the current line; column 0: at none. */
void parse_error(struct parser *p, uint32_t column, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same at a place. */
void parse_error_at(struct parser *p, const struct place *at, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/* What is not an error, but should be known: goes to c->warnings. */
void parse_warning_at(struct parser *p, const struct place *at, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/* Where the current line stands. */
struct place place_here(const struct parser *p, uint32_t column);

/* What the current line may change: the open section, or c->global. */
struct section *parse_section(struct parser *p);
/* What that section inherits; NULL for c->global. */
const struct section *section_outer(const struct config *c, const struct section *s);
/* The global section of an empty configuration; its texts are static. */
struct section section_defaults(void);
/* The line was not understood, and may have named a port or a server. */
void parse_puzzled(struct parser *p);
/* What a section starts from. */
struct section section_inherit(const struct config *c, const struct section *outer);

/* Notes that a directive is said here. False: it must not be followed, since the command line has
 * said it, and wins, or since it is said twice (then an error was added). */
bool parse_said(struct parser *p, const struct directive *d);

/* Does it say a single thing, which would be said twice? */
bool directive_says_one_thing(const struct directive *d);
/* The member that a directive fills. */
void *directive_field(struct parser *p, const struct directive *d);

/* include.c: files. `path` made absolute, from the directory of the current text; malloc()ed. */
char *parse_path(struct parser *p, const char *path);

/* Reads a file through the world and notes it in c->files. NULL: an error was added at `column`. */
char *parse_read(struct parser *p, const char *path, uint32_t column);

/* Notes a file in c->files: one that a reload would read again. */
void parse_note_file(struct parser *p, const char *path);

/* Reads `text` line by line as `name`, and calls `each` for every line that has words. */
void parse_lines(struct parser *p, struct frame *f, const char *text, line_fn *each, void *arg);

/* The next free element of an array that grows by doubling. */
#define GROW(array, n, cap)                                                     \
	do {                                                                    \
		if ((n) == (cap)) {                                             \
			(cap) = (cap) ? (cap)*2 : 8;                            \
			(array) = mem_resize((array), (cap), sizeof(*(array))); \
		}                                                               \
	} while (0)

/* How long names hold, unless something else is said. */
#define NAME_TTL_MIN_MS 1000
#define NAME_TTL_MAX_MS 86400000
#define NAME_HOLD_MS    10000
#define NAME_KEEP_MS    3600000

/* One of each type of options.def. */
#define DIRECTIVE(keyword, where, min, max, type, field, letter, option, arguments, help) set_fn set_##type;
#include "config/options.def"
#undef DIRECTIVE

/* zones.c: an address or a network as it is kept in the configuration, and the number of its zone. */
bool parse_address(struct parser *p, const char *text, struct addr *ret, uint16_t *ret_zone);
bool parse_network(struct parser *p, const char *text, struct cidr *ret, uint16_t *ret_zone);
/* access.c: a network, an address, or "all" (family AF_UNSPEC). False: an error was said. */
bool parse_clients(struct parser *p, const struct word *w, struct cidr *ret, uint16_t *zone);

/* called.c: takes "as NAME" off the end of a line, after its first argument. NULL: there is none, or
 * it is wrong and an error was added. */
struct word *called_take(struct parser *p, struct word *args, size_t *n);
/* A server of this spelling, or the open section (key NULL), has this name: borrowed from it. */
void called_note(struct parser *p, const struct word *name, const char *called, const char *key);
/* Both, at the end of the line that has opened the section. */
void called_section(struct parser *p, struct word *args, size_t *n);
/* This one, by the text that was noted, is left out. NULL: it has no name. */
void called_forget(struct parser *p, const char *called);
/* Are they all different enough? */
void called_check(struct parser *p);

/* access.c: the open section is complete. Lists that came out empty, since their files are, say in so
 * many words what that means, as the canonical text has to. */
void access_finish(struct parser *p);

/* checks.c: takes n_checks of a list that nobody shares. */
void check_lines_free(struct check_line *checks, size_t n);
/* Appends what stands behind "check". public: without what is sent, which may be a password. */
void check_line_print(const struct config *c, const struct check_line *l, bool public, struct buf *out);
/* The open section is complete: does it have servers that can be checked? */
void check_lines_finish(struct parser *p);
/* All sections are: is it known at which port each server is checked? */
void check_lines_check(struct parser *p);

/* waits.c: TIME [max=N] behind `who`. False: an error was added. */
bool wait_rule_read(struct parser *p, const char *who, struct word *args, size_t n, struct wait_rule *ret);
void wait_rule_print(const struct wait_rule *r, struct buf *out);
bool wait_rule_equal(const struct wait_rule *a, const struct wait_rule *b);

/* opening.c */
void opening_release(struct opening *o);
/* openings.c: a line of the open section leads somewhere: it should not stand further left than the section. */
void opening_check_column(struct parser *p, const char *keyword);
/* All sections are complete: does none stand twice? */
void openings_check(struct parser *p);

/* accept_proxy.c */
void accept_proxy_free(struct accept_proxy *a); /* takes NULL */
/* Appends what stands behind "accept-proxy". */
void accept_proxy_print(const struct config *c, const struct accept_proxy *a, struct buf *out);

/* send_proxy.c */
void send_proxy_free(struct send_proxy *s); /* takes NULL */
/* Appends what stands behind "send-proxy". */
void send_proxy_print(const struct send_proxy *s, struct buf *out);
/* "send-proxy=v2" of a server; its words. */
extern const char *const server_proxy_words[];

/* server.c: words as those of a program, whose path is made absolute (words_free()); and as they stand in the canonical text (free()). */
char **program_argv(struct parser *p, struct word *args, size_t n);
char *program_key(char **argv);

/* server.c: the servers of the open section, or where they come from, are said from here on: the first time they replace those that it
 * inherited. */
void pool_open(struct parser *p);
/* Reads a server, as behind "server". False: there is none, it is wrong and an error was added. Owned by the caller. */
bool server_read(struct parser *p, struct word *args, size_t n, struct server *ret);
/* Its words behind the first one; good: that one was. False: it is not, or an error was added, and ret is released. */
bool server_words(struct parser *p, struct word *args, size_t n, struct server *ret, bool good);
/* Puts it into the open section, which owns it from then on. */
void server_add(struct parser *p, const struct server *server, uint32_t column);
/* Likewise one more source. */
void source_add(struct parser *p, const struct source *source, uint32_t column);
bool server_is_program(const char *word);

/* each.c: a member of a line that stands for many: what it lacks. */
void each_complete(const struct service *service, struct server *member);
/* With `each` behind how it is spelt. */
void server_print_each(const struct server *s, const char *each, struct buf *out);

/* members.c: the open section is complete: its sources are asked. */
void members_finish(struct parser *p);
/* A line of config_print_packed() that is no directive. False: nor is it such. */
bool members_line(struct parser *p);
/* A line of a list. */
void pool_list_line(struct parser *p, void *arg);
void pool_list_end(struct parser *p, const struct frame *f, const char *text);

/* calling.c: what stands behind "source" and "routes"; all sections are complete: can their servers be called so? */
bool source_equal(const struct section *a, const struct section *b);
void source_print(const struct config *c, const struct section *s, struct buf *out);
void source_check(struct parser *p);
void routes_print(const struct routes *r, struct buf *out);

/* packets.c: what stands behind "dscp". */
void dscp_print(const struct dscp_rule *r, struct buf *out);

/* netns.c: the path of a namespace, as it is said, by its name or its path; NULL: it is neither (free()). And back; NULL: "off". */
char *netns_path(const char *text);
const char *netns_word(const char *path);

/* ways.c: an option of a server that says how it is called. NULL: it is one; "": it is none; else what is wrong with it. */
const char *server_way_option(const char *word, struct server *s);
void server_way_print(const struct server *s, struct buf *out);
/* All sections are complete: can their servers be called so? */
void server_ways_check(struct parser *p);

/* ports.c: a port, a name of one, or a range, behind the n of this line, of which it may name none again; or an error. */
void port_range_add(struct parser *p, const struct word *w, struct port_range **list, size_t *n);
/* Of a place that is so spelt. */
uint32_t place_number(const char *text);
/* intercept.c: what stands behind "intercept"; all sections are complete: is "server original" where it can be? */
void interception_print(const struct service *service, const struct interception *i, struct buf *out);
void interception_release(struct interception *i);
void intercept_check(struct parser *p);

/* ports.c: what stands behind "port", but for its name. */
void port_line_print(const struct service *service, struct buf *out);

/* calling.c: N or N/MASK, in decimal, or hexadecimal behind 0x. */
bool mark_read(const char *text, uint32_t *mark, uint32_t *mask);

/* sections.c: could it be the name of an interface? */
bool interface_name(const char *text);

/* stick.c: what stands behind "stick". */
void stick_print(const struct stick_rule *r, struct buf *out);
bool stick_equal(const struct stick_rule *a, const struct stick_rule *b);
/* The open section, or GLOBAL, is complete: does something else choose by the client, too? */
void stick_finish(struct parser *p);

/* ejects.c: appends what stands behind "eject". */
void eject_rule_print(const struct eject_rule *r, struct buf *out);
bool eject_rule_equal(const struct eject_rule *a, const struct eject_rule *b);
/* The open section is complete: does it have servers that can be ejected? */
void eject_finish(struct parser *p);

/* home.c: servers that are ourselves. */
void check_home(struct parser *p);

/* check.c: rules across lines. */
void config_check(struct parser *p);

#endif
