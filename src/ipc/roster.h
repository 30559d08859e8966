/*
 * roster.h - which servers there are that the file does not say: what each source brought last, which ones tcpproxyctl has added, and
 * which it has taken out. As a text it is kept for the next supervisor (ipc/kept.h).
 */
#ifndef IPC_ROSTER_H
#define IPC_ROSTER_H

#include "base/buf.h"
#include "config/config.h"

/* What a source has now. */
struct brought {
	char *line;  /* by which it is known: struct source */
	char *lines; /* its servers, one a line, as behind "server"; "": none */
	bool wanted; /* by the present configuration */
};

/* A server that was added, or taken out. */
struct entry {
	bool added;    /* else: taken out */
	bool stands;   /* it is a line that stands for many, with all that it brings */
	char *section; /* section_key() */
	char *server;  /* as behind "server": what it says, or said when it was taken out; a line: struct source */
	char *key;     /* how it is spelt */
	char *called;  /* NULL: it has no name */
	bool met;      /* the present configuration has what it is about */
	bool stale;    /* the file has something to say of it */
};

struct roster {
	struct brought *brought;
	size_t n_brought;
	struct entry *entries;
	size_t n_entries;
};

void roster_release(struct roster *j);

/* NULL: nothing is known of it yet. */
const struct brought *roster_brought(const struct roster *j, const char *line);
/* From now on it has these. True: that is something new. */
bool roster_bring(struct roster *j, const char *line, const char *lines);
/* Those that nobody wants. */
void roster_forget_brought(struct roster *j);

/* The entry about a server of this section, by how it is spelt or called; NULL: there is none. */
struct entry *roster_find(const struct roster *j, const char *section, const char *word);
/* server: server_parse() has made it. */
void roster_add(struct roster *j, bool added, const char *section, const struct server *server);
/* A line that stands for many, as in struct source, is taken out. False: it is no such line. */
bool roster_add_line(struct roster *j, const char *section, const char *line);
void roster_drop(struct roster *j, struct entry *e);

/* As a text, and back: a text that somebody else has written may say anything, and is taken as far as it makes sense. */
void roster_print(const struct roster *j, struct buf *out);
void roster_parse(const char *text, struct roster *ret);

#endif
