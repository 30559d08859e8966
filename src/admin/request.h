/*
 * request.h - a request that is being worked on: from the words to exactly one answer. For the commands in this folder.
 */
#ifndef ADMIN_REQUEST_H
#define ADMIN_REQUEST_H

#include "admin/commands.h"

struct request {
	const struct admin_ops *world;
	struct admin_client *client; /* NULL: it has left, or there never was one */
	struct buf *refused;         /* without one: why it was; NULL: nobody wants to know */
	char **words;                /* the arguments; owned copies */
	size_t n;
	bool json;
	const char *sort;
	const char *subject; /* the one word that is no option */
	uint64_t limit;
	struct connection_filter filter;
	void (*render)(const struct snapshot *s, struct buf *out);
};

/* Each command: its function. */
#define HERE(name, arguments, function, help)
#define COMMAND(name, arguments, function, changes, help) void do_##function(struct request *r);
#include "admin/commands.def"
#undef COMMAND
#undef HERE

/* Its words are copied. c NULL: there is no client. */
struct request *request_new(const struct admin_ops *world, struct admin_client *c, char **words, size_t n);
/* The two ends; r is gone then. `body` is taken. */
void request_answer(struct request *r, int code, struct buf *body);
#define request_refuse(r, ...)                                 \
	do {                                                   \
		if ((r)->client)                               \
			admin_error((r)->client, __VA_ARGS__); \
		else if ((r)->refused)                         \
			buf_addf((r)->refused, __VA_ARGS__);   \
		request_free(r);                               \
	} while (0)
void request_free(struct request *r);

/* "name=VALUE", perhaps with -- before it: VALUE; else NULL. */
const char *request_option(const char *word, const char *name);

#endif
