#include "cmdline/cmdline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/lex.h"
#include "cmdline/options.h"
#include "cmdline/sources.h"

#define DEFAULT_CONFIG "/etc/tcpproxy.conf"

/* ---- the configuration ---- */

static bool uses_file(const struct options *o)
{
	return !o->n_binds && !o->server;
}

static bool has_server(const struct options *o)
{
	return o->server || o->n_section;
}

/* An option before the server that was given no value of its own has taken the server for it. */
static const struct option_text *swallowed_server(const struct options *o)
{
	for (size_t i = 0; i < o->n_global; i++) {
		const char *value = strchr(o->global[i].text, ' ');

		if ((!strcmp(o->global[i].name, "-t") || !strcmp(o->global[i].name, "-v")) && value &&
		    strpbrk(value, ":/"))
			return &o->global[i];
	}
	return NULL;
}

static void server_missing(const struct options *o, struct config_errors *errors)
{
	const struct option_text *option = swallowed_server(o);
	char shown[SHOWN_MAX];

	if (option)
		usage_error(errors, "%s needs a value of its own: it has taken %s for it, and so -b %s has no server",
		            option->name, lex_show(strchr(option->text, ' ') + 1, shown), o->binds[0]);
	else
		usage_error(errors, "-b %s: a server is missing: tcpproxy -b %s HOST:PORT", o->binds[0], o->binds[0]);
}

static void check_usage(const struct options *o, struct config_errors *errors)
{
	if (o->config && o->n_binds)
		usage_error(errors,
		            "-b and a configuration file exclude each other: the ports "
		            "stand in the file %s",
		            o->config);
	else if (o->config && o->server)
		usage_error(errors,
		            "a configuration file (%s) and a server (%s) exclude each other: the "
		            "servers stand in the file",
		            o->config, o->server);
	else if (o->n_binds && !has_server(o) && !errors->n)
		server_missing(o, errors);
	if (o->daemon && o->server && !o->n_binds)
		usage_error(errors, "-D needs -b PORT or a configuration file: one connection on stdin "
		                    "is served in the foreground");
	if (o->mode == MODE_PORTS && o->server && !o->n_binds)
		usage_error(errors, "-z lists the ports of a configuration file or of -b");
}

static char *absolute(const char *cwd, const char *path)
{
	while (!strncmp(path, "./", 2))
		path += 2;
	if (*path == '/')
		return mem_strdup(path);
	return mem_printf("%s/%s", strcmp(cwd, "/") ? cwd : "", path);
}

/* As config_parse_sources(), but *errors may hold some already, and keeps them. */
static struct config *parse_sources(const struct config_source *list, size_t n, const struct config_ops *world,
                                    struct config_errors *errors)
{
	struct config_errors more;
	struct config *c = config_parse_sources(list, n, world, &more);

	if (more.n)
		errors->list = mem_resize(errors->list, errors->n + more.n, sizeof(*errors->list));
	for (size_t i = 0; i < more.n; i++)
		errors->list[errors->n++] = more.list[i];
	free(more.list);
	return c;
}

static struct config *read_file(const struct options *o, struct sources *s, const char *path,
                                const struct config_ops *world, struct config_errors *errors)
{
	const char *name = o->config ? o->config : DEFAULT_CONFIG, *why = NULL;
	struct config_source file = {.name = name, .path = path};
	char *text = world->read_file(world->arg, path, &why);
	struct config *c;

	if (!text) {
		usage_error(errors, "%s cannot be read: %s%s", name, why,
		            o->config ? ""
		                      : "; name a configuration file by -f FILE, or a server: "
		                        "tcpproxy -b PORT HOST:PORT (--help says more)");
		return NULL;
	}
	/* What belongs beside a server has none to stand by, and is refused there. */
	sources_add_texts(s, o->service, o->n_service);
	sources_add_texts(s, o->section, o->n_section);
	file.text = text;
	s->list = mem_resize(s->list, s->n + 1, sizeof(*s->list));
	s->list[s->n] = file;
	c = parse_sources(s->list, s->n + 1, world, errors);
	free(text);
	return c;
}

static struct config *build(const struct options *o, const char *cwd, const char *config_path,
                            const struct config_ops *world, struct config_errors *errors)
{
	struct sources s = {.path = absolute(cwd, "command-line")};
	struct config_ops elsewhere = *world;
	struct config *c = NULL;

	sources_add_texts(&s, o->global, o->n_global);
	if (uses_file(o)) {
		c = read_file(o, &s, config_path, world, errors);
	} else {
		if (o->n_binds)
			sources_add_binds(&s, o, errors);
		else
			sources_add_server(&s, o);
		if (!o->n_binds) /* another program listens, and has handed us the connection */
			elsewhere.addresses = NULL;
		c = parse_sources(s.list, s.n, &elsewhere, errors);
	}
	sources_release(&s);
	return c;
}

/* ---- messages ---- */

/* As from inetd, descriptor 2 may be the client's socket, which is not for our messages. */
static bool stderr_is_client(void)
{
	struct stat in, err;

	return fstat(STDIN_FILENO, &in) == 0 && fstat(STDERR_FILENO, &err) == 0 && S_ISSOCK(err.st_mode) &&
	       in.st_dev == err.st_dev && in.st_ino == err.st_ino;
}

static void say(const char *text)
{
	if (stderr_is_client())
		syslog(LOG_DAEMON | LOG_ERR, "%s", text);
	else
		fprintf(stderr, "tcpproxy: %s\n", text);
}

static int say_errors(struct config_errors *errors)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < errors->n; i++) {
		buf_clear(&text);
		config_error_format(&errors->list[i], &text);
		say(text.s);
	}
	buf_release(&text);
	config_errors_release(errors);
	return 1;
}

void cmdline_warn(const struct cmdline *c)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < c->config->warnings.n; i++) {
		buf_clear(&text);
		buf_adds(&text, "warning: ");
		config_error_format(&c->config->warnings.list[i], &text);
		say(text.s);
	}
	buf_release(&text);
}

/* ---- the whole ---- */

static char *join_binds(const struct options *o)
{
	struct buf list = BUF_INIT;

	for (size_t i = 0; i < o->n_binds; i++)
		buf_addf(&list, "%s%s", i ? "," : "", o->binds[i]);
	return buf_detach(&list);
}

static char **copy_argv(int argc, char **argv)
{
	char **copy = mem_alloc(((size_t)argc + 1) * sizeof(*copy));

	for (int i = 0; i < argc; i++)
		copy[i] = mem_strdup(argv[i]);
	return copy;
}

static void parse_explain(struct cmdline *c, const struct options *o, struct config_errors *errors)
{
	struct buf why = BUF_INIT;

	if (!explain_words(o->explain_client, o->explain_local, o->explain_more, o->n_explain_more, cmdline_ops(),
	                   &c->explain, &why))
		usage_error(errors, "--explain: %s", why.s);
	buf_release(&why);
}

static enum run_mode run_mode(const struct options *o, const struct config *c)
{
	switch (o->mode) {
	case MODE_PORTS:
		return RUN_PORTS;
	case MODE_CHECK:
		return RUN_CHECK;
	case MODE_EXPLAIN:
		return RUN_EXPLAIN;
	case MODE_HELP:
	case MODE_VERSION:
	case MODE_CLEAN_NETWORK:
		return RUN_DONE;
	case MODE_RUN:
		break;
	}
	if (uses_file(o))
		return c->standalone ? RUN_SERVE : RUN_SINGLE;
	return o->n_binds ? RUN_SERVE : RUN_SINGLE;
}

/* What only shows when the whole configuration is known. */
static void check_whole(const struct cmdline *c, struct config_errors *errors)
{
	if (!c->daemon)
		return;
	if (c->mode == RUN_SINGLE)
		usage_error(errors, "-D and \"standalone no\" exclude each other");
	for (size_t i = 0; i < c->config->n_logs; i++) {
		if (c->config->logs[i].kind == LOG_TO_STDERR)
			usage_error(errors, "-D and a log to stderr exclude each other: a daemon has no "
			                    "stderr; name syslog, journal or file:PATH by -l");
	}
}

static void cmdline_fill(struct cmdline *c, const struct options *o, struct config_errors *errors)
{
	size_t before = errors->n;

	check_usage(o, errors);
	if (errors->n > before)
		return;
	if (o->mode == MODE_EXPLAIN && o->explain_client)
		parse_explain(c, o, errors);
	c->daemon = o->daemon;
	c->network = o->network;
	if (o->network && o->mode != MODE_CHECK)
		usage_error(errors, "--network says what -C would not see: it stands beside -C");
	c->dump = o->dump;
	c->dump_path = o->dump_file ? absolute(c->cwd, o->dump_file) : NULL;
	if (o->dump && !o->n_binds)
		usage_error(errors, "--dump shows what -b PORT serves: it stands beside -b");
	if (o->dump && !o->dump_file && o->daemon)
		usage_error(errors, "-D and --dump exclude each other: a daemon has no stderr; --dump=FILE "
		                    "writes to a file");
	c->server_given = o->server && !o->n_binds;
	c->bind_list = join_binds(o);
	if (uses_file(o))
		c->config_path = absolute(c->cwd, o->config ? o->config : DEFAULT_CONFIG);
	/* The default file is not complained about beside an option that was not understood. */
	if (errors->n && !o->config && uses_file(o))
		return;
	c->config = build(o, c->cwd, c->config_path, cmdline_ops(), errors);
	if (!c->config)
		return;
	c->mode = run_mode(o, c->config);
	check_whole(c, errors);
}

static void say_terminal(const struct options *o)
{
	char *text = mem_printf("without -b, this terminal is relayed%s%s", o->server ? " to " : "",
	                        o->server ? o->server : "");

	say(text);
	free(text);
}

int cmdline_parse(int argc, char **argv, struct cmdline *ret)
{
	struct config_errors errors = {0};
	char *cwd = getcwd(NULL, 0);
	struct options o;

	*ret = (struct cmdline){.mode = RUN_DONE, .argc = argc, .argv = copy_argv(argc, argv)};
	ret->cwd = cwd ? cwd : mem_strdup("/");
	options_parse(argc, argv, &o, &errors);
	if (o.mode == MODE_HELP && !errors.n)
		options_help();
	else if (o.mode == MODE_VERSION && !errors.n)
		printf("tcpproxy %s\n", TCPPROXY_VERSION);
	else if (o.mode == MODE_CLEAN_NETWORK && !errors.n)
		ret->mode = RUN_CLEAN_NETWORK;
	else if (o.mode != MODE_HELP && o.mode != MODE_VERSION && !o.cut)
		cmdline_fill(ret, &o, &errors);
	if (!errors.n && ret->mode == RUN_SINGLE && isatty(STDIN_FILENO))
		say_terminal(&o);
	options_release(&o);
	if (!errors.n)
		return 0;
	cmdline_release(ret);
	return say_errors(&errors);
}

struct config *cmdline_reload(const struct cmdline *c, const struct config_ops *world, struct config_errors *errors)
{
	char **argv = copy_argv(c->argc, c->argv);
	/* getopt permutes the list, but the words are to be freed as they are. */
	char **permuted = mem_alloc(((size_t)c->argc + 1) * sizeof(*permuted));
	struct config *config = NULL;
	struct options o;

	*errors = (struct config_errors){0};
	memcpy(permuted, argv, (size_t)c->argc * sizeof(*permuted));
	options_parse(c->argc, permuted, &o, errors);
	if (!errors->n)
		config = build(&o, c->cwd, c->config_path, world, errors);
	options_release(&o);
	free(permuted);
	words_free(argv);
	return config;
}

void cmdline_release(struct cmdline *c)
{
	config_free(c->config);
	free(c->config_path);
	free(c->bind_list);
	free(c->cwd);
	words_free(c->argv);
	*c = (struct cmdline){0};
}

int cmdline_ports(const struct cmdline *c)
{
	uint16_t *ports;
	size_t n = config_ports(c->config, &ports);

	for (size_t i = 0; i < n; i++)
		printf("%u\n", ports[i]);
	free(ports);
	return 0;
}

int cmdline_check(const struct cmdline *c)
{
	struct buf text = BUF_INIT;

	config_print(c->config, &text);
	fwrite(text.s, 1, text.len, stdout);
	buf_release(&text);
	return 0;
}
