#include <fnmatch.h>

#include "fixture.h"

const struct fixture_file *fixture_files;

static char *read_file(void *arg, const char *path, const char **why)
{
	for (const struct fixture_file *f = fixture_files; f && f->path; f++) {
		if (!strcmp(f->path, path))
			return mem_strdup(f->text);
	}
	*why = "there is no such file";
	return NULL;
}

static char **find_files(void *arg, const char *pattern)
{
	char **found = mem_alloc(20 * sizeof(*found));
	size_t n = 0;

	for (const struct fixture_file *f = fixture_files; f && f->path; f++) {
		if (!fnmatch(pattern, f->path, FNM_PATHNAME))
			found[n++] = mem_strdup(f->path);
	}
	return found;
}

static uint16_t service_port(void *arg, const char *name)
{
	return !strcmp(name, "smtp") ? 25 : !strcmp(name, "http-alt") ? 8080 : 0;
}

unsigned fixture_ve0;

static uint32_t interface_index(void *arg, const char *name)
{
	return !strcmp(name, "ve0") ? fixture_ve0 : !strcmp(name, "lo") ? 1 : 0;
}

static uint16_t usual_port(void *arg, const char *name)
{
	return service_port(arg, name);
}

const struct config_ops fixture_world = {
        .read_file = read_file,
        .glob = find_files,
        .service_port = service_port,
        .interface_index = interface_index,
        .usual_port = usual_port,
};

static char *messages(struct config_errors *errors)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < errors->n; i++) {
		config_error_format(&errors->list[i], &text);
		buf_addc(&text, '\n');
	}
	config_errors_release(errors);
	return buf_detach(&text);
}

struct config *parse_good(const char *text)
{
	struct config_errors errors;
	struct config *c = config_parse("/etc/t.conf", text, &fixture_world, &errors);

	if (!c)
		fail_msg("%s", messages(&errors));
	assert_int_equal(errors.n, 0);
	return c;
}

char *parse_bad(const char *text)
{
	struct config_errors errors;

	assert_null(config_parse("/etc/t.conf", text, &fixture_world, &errors));
	assert_true(errors.n > 0);
	return messages(&errors);
}

char *printed(const struct config *c)
{
	struct buf text = BUF_INIT;

	config_print(c, &text);
	return buf_detach(&text);
}
