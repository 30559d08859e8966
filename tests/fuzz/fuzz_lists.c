/*
 * fuzz_lists.c - any bytes as a list of servers, and as what a supervisor has kept: what is accepted is canonical, and stands in a pool
 * as other processes read it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "ipc/roster.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *members(void *arg, const struct config *c, const struct section *s, const struct source *source)
{
	return source ? mem_strdup(arg) : NULL;
}

/* What is right as a list has its place in a pool, and reaches the workers. */
static void try_pool(char *lines)
{
	const struct config_ops world = {.arg = lines, .members = members}, packed = {.packed = true};
	struct config_errors errors;
	struct config *read = config_parse("/f", "port 1\nservers file:/l\nserver a:1\n", NULL, &errors);
	struct config *c = config_with_members(read, &world, &errors), *worker;
	struct buf text = BUF_INIT;

	CHECK(c && c->sections[0].n_servers > 0);
	config_print_packed(c, &text);
	worker = config_parse("", text.s, &packed, &errors);
	CHECK(worker && worker->sections[0].n_servers == c->sections[0].n_servers);
	config_free(worker);
	config_free(c);
	config_free(read);
	buf_release(&text);
}

static void try_list(const char *text)
{
	struct config_errors errors;
	char *lines = list_parse("/l", text, NULL, &errors), *again;

	CHECK(!lines == (errors.n > 0));
	if (lines && *lines) {
		again = list_parse("/l", lines, NULL, &errors);
		CHECK(again && strcmp(again, lines) == 0);
		free(again);
	}
	if (lines)
		try_pool(lines);
	free(lines);
	config_errors_release(&errors);
}

static void try_roster(const char *text)
{
	struct buf once = BUF_INIT, twice = BUF_INIT;
	struct roster r;

	roster_parse(text, &r);
	roster_print(&r, &once);
	roster_release(&r);
	roster_parse(once.s ? once.s : "", &r);
	roster_print(&r, &twice);
	roster_release(&r);
	CHECK(once.len == twice.len && (once.len == 0 || memcmp(once.s, twice.s, once.len) == 0));
	buf_release(&once);
	buf_release(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);

	try_list(text);
	try_roster(text);
	free(text);
	return 0;
}
