#include "admin/request.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

void request_free(struct request *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->words[i]);
	free(r->words);
	free(r);
}

static void has_left(void *arg)
{
	struct request *r = arg;

	r->client = NULL;
}

struct request *request_new(const struct admin_ops *world, struct admin_client *c, char **words, size_t n)
{
	struct request *r = mem_alloc(sizeof(*r));

	r->world = world;
	r->client = c;
	r->words = mem_alloc((n + 1) * sizeof(*r->words));
	for (size_t i = 0; i < n; i++)
		r->words[i] = mem_strdup(words[i]);
	r->n = n;
	if (c)
		admin_on_leave(c, has_left, r);
	return r;
}

void request_answer(struct request *r, int code, struct buf *body)
{
	if (r->client)
		admin_answer(r->client, code, body);
	buf_release(body);
	request_free(r);
}

const char *request_option(const char *word, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(word, "--", 2) == 0)
		word += 2;
	return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}
