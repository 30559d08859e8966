/* options.h - the command line of tcpproxy-servers. */
#ifndef SOURCES_OPTIONS_H
#define SOURCES_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "sources/http.h"

#define URLS_MAX 16

enum source { SOURCE_ETCD, SOURCE_CONSUL };

struct options {
	enum source source;
	char *urls[URLS_MAX]; /* without a slash at the end; owned by no one: they live as long as the process */
	size_t n_urls;
	const char *what;       /* the prefix, or the name of the service */
	const char *tag;        /* NULL: any */
	const char *file;       /* NULL: stdout */
	const char *token_file; /* NULL: none */
	const char *user_file;
	struct http_tls tls;
};

/* Ends the process where there is nothing to do (help, version) and where something is wrong, after a message. */
void options_read(int argc, char **argv, struct options *ret);

/* The first line of a file with a secret, into *ret, which is cleared first. NULL, or what is wrong (static). */
const char *options_secret(const char *file, struct buf *ret);

#endif
