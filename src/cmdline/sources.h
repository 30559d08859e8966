/* sources.h - what the command line says, as texts of a configuration. */
#ifndef CMDLINE_SOURCES_H
#define CMDLINE_SOURCES_H

#include "cmdline/options.h"

struct sources {
	struct config_source *list;
	size_t n;
	char *path; /* owned: relative names start from the directory of this one */
};

void sources_release(struct sources *s);

/* Directives of -o and its kin. */
void sources_add_texts(struct sources *s, const struct option_text *texts, size_t n);
/* Every -b, with the server. Those that are wrong are added to *errors. */
void sources_add_binds(struct sources *s, const struct options *o, struct config_errors *errors);
/* A server for the one connection on stdin. */
void sources_add_server(struct sources *s, const struct options *o);

#endif
