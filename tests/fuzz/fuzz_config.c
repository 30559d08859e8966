/*
 * fuzz_config.c - any bytes as a configuration: never a crash, and what is accepted prints to a
 * text that parses back to itself, byte for byte, without files and names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const include_texts[] = {
        "10.0.0.0/8\nfd00::/8\n", "timeout 5\ninclude 2\n", "server b:1\n", "port 99\n", "\"", "",
};

/* A few files, named by their last character. */
static char *read_file(void *arg, const char *path, const char **why)
{
	size_t len = strlen(path);
	unsigned int which = len ? (unsigned char)path[len - 1] - '0' : 99;

	*why = "there is no such file";
	return which < ARRAY_LEN(include_texts) ? mem_strdup(include_texts[which]) : NULL;
}

static char **find_files(void *arg, const char *pattern)
{
	char **found = mem_alloc(4 * sizeof(*found));

	found[0] = mem_strdup("/2");
	found[1] = mem_strdup("/5");
	return found;
}

static uint16_t service_port(void *arg, const char *name)
{
	return !strcmp(name, "smtp") ? 25 : 0;
}

static const struct config_ops world = {
        .read_file = read_file,
        .glob = find_files,
        .service_port = service_port,
};

static void try_binds_and_ports(const struct config *c)
{
	static const struct interface_address lo = {"lo", {.family = AF_INET, .ip = {127, 0, 0, 1}}};
	struct addr local = lo.addr, *binds;
	uint16_t *ports;
	size_t n = config_ports(c, &ports);

	local.port = n ? ports[0] : 1;
	config_find(c, &local, &lo, 1);
	free(ports);
	config_binds(c, &lo, 1, &binds);
	free(binds);
}

static void try_round_trip(const struct config *c)
{
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct config_errors errors;
	struct config *again;

	config_print(c, &first);
	again = config_parse("canonical", first.s ? first.s : "", NULL, &errors);
	CHECK(again);
	CHECK(again->n_sections == c->n_sections);
	config_print(again, &second);
	CHECK(first.len == second.len && !memcmp(first.s ? first.s : "", second.s ? second.s : "", first.len));
	config_free(again);
	buf_release(&first);
	buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_alloc(size + 1);
	struct config_errors errors;
	struct buf message = BUF_INIT;
	struct config *c;

	memcpy(text, data, size);
	c = config_parse("/fuzz", text, &world, &errors);
	CHECK(!c == (errors.n > 0));
	for (size_t i = 0; i < errors.n; i++) {
		CHECK(errors.list[i].file && errors.list[i].line && errors.list[i].column);
		config_error_format(&errors.list[i], &message);
	}
	if (c) {
		try_round_trip(c);
		try_binds_and_ports(c);
	}
	buf_release(&message);
	config_errors_release(&errors);
	config_free(c);
	free(text);
	return 0;
}
