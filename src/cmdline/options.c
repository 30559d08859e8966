#include "cmdline/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/endpoint.h"
#include "config/explain.h"
#include "config/lex.h"
#include "config/options.h"

enum { OPTION_EXPLAIN = 256, OPTION_DUMP, OPTION_NETWORK, OPTION_CLEAN_NETWORK };

/* The options that are not directives; the others come from the table of directives. */
static const struct own_option {
	int letter; /* or an OPTION_ */
	const char *name, *argument, *help;
} own_options[] = {
        {'b', "bind", "[ADDR:]PORT", "listen on this port; may be given several times"},
        {'f', "config", "FILE", "configuration file, /etc/tcpproxy.conf by default"},
        {'c', NULL, "FILE", "the same as -f"},
        {'z', "list-ports", NULL, "print the ports, one a line, and exit"},
        {'o', "option", "'DIRECTIVE'", "any directive of the configuration file"},
        {'D', "daemon", NULL, "go to the background once every port is bound"},
        {'C', "check", NULL, "check the configuration, print it as understood, and exit"},
        {OPTION_EXPLAIN, "explain", "CLIENT[:PORT] [LOCAL:]PORT", "say who would serve this client, and why"},
        {OPTION_DUMP, "dump", "[=FILE]", "beside -b: show all bytes, as text and hex on stderr, or as pcapng in FILE"},
        {OPTION_NETWORK, "network", NULL, "beside -C: say what is in the way of \"source client\" on this machine"},
        {OPTION_CLEAN_NETWORK, "clean-network", NULL,
         "take away rules and routes that a killed tcpproxy has left, and exit"},
        {'V', "version", NULL, "print the version and exit"},
        {'h', "help", NULL, "print this and exit"},
};

#define N_OWN       ARRAY_LEN(own_options)
#define OPTIONS_MAX 64

void usage_error(struct config_errors *errors, const char *fmt, ...)
{
	struct buf message = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&message, fmt, ap);
	va_end(ap);
	errors->list = mem_resize(errors->list, errors->n + 1, sizeof(*errors->list));
	errors->list[errors->n++] = (struct config_error){.message = buf_detach(&message)};
}

/* ---- the tables of getopt ---- */

/* Directives that answer yes or no take no value here: the option says yes. */
static bool takes_value(const struct directive *d)
{
	return strcmp(d->arguments, "yes|no") != 0;
}

static const struct directive *directive_of(int letter)
{
	for (size_t i = 0; i < n_directives; i++) {
		if (directives[i].letter && directives[i].letter == letter)
			return &directives[i];
	}
	return NULL;
}

static void tables_make(struct option *longs, char *shorts)
{
	size_t n = 0;

	*shorts++ = ':';
	for (size_t i = 0; i < N_OWN; i++) {
		const struct own_option *o = &own_options[i];
		int has = o->argument ? required_argument : no_argument;

		if (o->letter == OPTION_DUMP)
			has = optional_argument;
		if (o->name)
			longs[n++] = (struct option){o->name, has, NULL, o->letter};
		if (o->letter >= OPTION_EXPLAIN)
			continue;
		*shorts++ = (char)o->letter;
		if (o->argument)
			*shorts++ = ':';
	}
	for (size_t i = 0; i < n_directives; i++) {
		const struct directive *d = &directives[i];

		if (!d->letter)
			continue;
		longs[n++] =
		        (struct option){d->option, takes_value(d) ? required_argument : no_argument, NULL, d->letter};
		*shorts++ = d->letter;
		if (takes_value(d))
			*shorts++ = ':';
	}
	longs[n] = (struct option){0};
	*shorts = '\0';
}

static void help_line(int letter, const char *name, const char *argument, const char *help)
{
	char left[80];

	snprintf(left, sizeof(left), "  %c%c%s %s%s%s%s", letter < 256 ? '-' : ' ', letter < 256 ? letter : ' ',
	         letter < 256 && name ? "," : " ", name ? "--" : "", name ? name : "",
	         argument && strncmp(argument, "[=", 2) ? " " : "", argument ? argument : "");
	if (strlen(left) > 36)
		printf("%s\n%38s%s\n", left, "", help);
	else
		printf("%-38s%s\n", left, help);
}

void options_help(void)
{
	fputs("usage: tcpproxy [options] [server]\n\n"
	      "  tcpproxy -b PORT HOST:PORT       listen and relay to the server\n"
	      "  tcpproxy -b PORT '/PROGRAM ARG'  listen and hand connections to a program\n"
	      "  tcpproxy HOST:PORT               relay stdin and stdout, as from inetd\n"
	      "  tcpproxy [-f FILE]               serve by a configuration file\n\n"
	      "The server is HOST[:PORT], [IPV6]:PORT, unix:PATH or a program, which begins with\n"
	      "/ or . and may have arguments if it is quoted as one word.\n\n",
	      stdout);
	for (size_t i = 0; i < N_OWN; i++)
		help_line(own_options[i].letter, own_options[i].name, own_options[i].argument, own_options[i].help);
	for (size_t i = 0; i < n_directives; i++) {
		const struct directive *d = &directives[i];

		if (d->letter)
			help_line(d->letter, d->option, takes_value(d) ? d->arguments : NULL, d->help);
	}
}

/* ---- values ---- */

static void text_add(struct option_text **list, size_t *n, char *name, char *text)
{
	*list = mem_resize(*list, *n + 1, sizeof(**list));
	(*list)[(*n)++] = (struct option_text){name, text};
}

/* "-o 'serverr x'", as messages name it. */
static char *option_name(const char *text)
{
	char shown[SHOWN_MAX];

	lex_show(text, shown);
	shown[0] = shown[strlen(shown) - 1] = '\'';
	return mem_printf("-o %s", shown);
}

/* Where a file would have this directive; one that may stand everywhere is for all. */
static void add_where_it_belongs(struct options *o, const char *keyword, char *name, char *text)
{
	const struct directive *d = directive_find(keyword);

	if (!strcmp(keyword, "include") || (d && d->where & OPENING && !(d->where & GLOBAL)))
		text_add(&o->section, &o->n_section, name, text);
	else if (!strcmp(keyword, "max-connections") || (d && !(d->where & GLOBAL)))
		text_add(&o->service, &o->n_service, name, text);
	else
		text_add(&o->global, &o->n_global, name, text);
}

static void add_option(struct options *o, const char *text, struct config_errors *errors)
{
	const char *why;
	char **words = lex_words(text, &why), *name = option_name(text);
	const char *keyword = words && words[0] ? words[0] : "";

	if (words && !*keyword) {
		usage_error(errors, "%s: a directive is missing", name);
		free(name);
	} else if (!strcmp(keyword, "port") || !strcmp(keyword, "interface")) {
		usage_error(errors, "%s: ports and addresses are opened by -b [ADDR:]PORT", name);
		free(name);
	} else {
		add_where_it_belongs(o, keyword, name, mem_strdup(text));
	}
	words_free(words);
}

static void add_directive(struct options *o, const struct directive *d, const char *value, struct config_errors *errors)
{
	struct buf text = BUF_INIT;

	if (d->letter == 'p' && all_digits(value)) {
		usage_error(errors,
		            "-p %s: the pidfile is a path, not a number; did you mean -b %s, to "
		            "listen on that port?",
		            value, value);
		return;
	}
	if (d->letter == 'w')
		o->wait = true;
	buf_addf(&text, "%s ", d->keyword);
	if (!takes_value(d))
		buf_adds(&text, "yes");
	else if (d->max == 1)
		lex_quote(value, &text);
	else
		buf_adds(&text, value);
	text_add(&o->global, &o->n_global, mem_printf("-%c", d->letter), buf_detach(&text));
}

/* ---- what is wrong with an option itself ---- */

static void missing_value(const char *option, int letter, struct config_errors *errors)
{
	const struct directive *d = directive_of(letter);
	const char *argument = d ? d->arguments : "a value";

	for (size_t i = 0; i < N_OWN; i++) {
		if (own_options[i].letter == letter)
			argument = own_options[i].argument;
	}
	usage_error(errors, "%s needs a value: %s%s", option, argument,
	            letter == 'v' ? "; for the version, it is -V" : "");
}

static void unknown_option(char **argv, struct config_errors *errors)
{
	const char *names[OPTIONS_MAX], *near, *word = argv[optind - 1];
	struct option longs[OPTIONS_MAX];
	char shorts[2 * OPTIONS_MAX], shown[SHOWN_MAX], *name;
	size_t n = 0;

	if (optopt && strncmp(word, "--", 2)) {
		char letter[2] = {(char)optopt, '\0'};

		usage_error(errors, "unknown option -%.*s; --help lists them all",
		            (int)strlen(lex_show(letter, shown)) - 2, shown + 1);
		return;
	}
	if (optopt) {
		usage_error(errors, "%s takes no value", lex_show(word, shown));
		return;
	}
	tables_make(longs, shorts);
	for (; longs[n].name; n++)
		names[n] = longs[n].name;
	names[n] = NULL;
	name = mem_strndup(word + 2, strcspn(word + 2, "="));
	near = text_nearest(name, names);
	usage_error(errors, "unknown option %s; %s%s%s", lex_show(word, shown),
	            near ? "did you mean --" : "--help lists them all", near ? near : "", near ? "?" : "");
	free(name);
}

/* An option in the place of a value: the value was forgotten. */
static bool value_forgotten(const char *option, int letter, struct config_errors *errors)
{
	char shown[SHOWN_MAX];

	if (!optarg || optarg[0] != '-' || !optarg[1] || letter == OPTION_DUMP)
		return false;
	lex_show(optarg, shown);
	if (letter == 'c')
		usage_error(errors,
		            "%s takes the configuration file, but %s follows; to check a file, did "
		            "you mean -C -f FILE?",
		            option, shown);
	else
		usage_error(errors, "%s needs a value, but the option %s follows%s", option, shown,
		            letter == 'v' ? "; for the version, it is -V" : "");
	return true;
}

static void set_config(struct options *o, struct config_errors *errors)
{
	if (o->config && strcmp(o->config, optarg))
		usage_error(errors, "there is more than one configuration file: %s and %s", o->config, optarg);
	o->config = optarg;
}

static void set_explain(struct options *o, int argc, char **argv, struct config_errors *errors)
{
	o->mode = MODE_EXPLAIN;
	o->explain_client = optarg;
	if (optind < argc && argv[optind][0] != '-')
		o->explain_local = argv[optind++];
	else
		usage_error(errors, "--explain takes two arguments: CLIENT[:PORT] [LOCAL:]PORT");
	o->explain_more = argv + optind;
	for (; o->explain_local && optind < argc && explain_is_more(argv[optind]); optind++)
		o->n_explain_more++;
}

static void take_option(struct options *o, int letter, int argc, char **argv, struct config_errors *errors)
{
	const struct directive *d = directive_of(letter);

	if (d) {
		add_directive(o, d, optarg, errors);
		return;
	}
	switch (letter) {
	case 'b':
		o->binds = mem_resize(o->binds, o->n_binds + 1, sizeof(*o->binds));
		o->binds[o->n_binds++] = optarg;
		break;
	case 'c':
	case 'f':
		set_config(o, errors);
		break;
	case 'o':
		add_option(o, optarg, errors);
		break;
	case 'D':
		o->daemon = true;
		break;
	case 'z':
		o->mode = MODE_PORTS;
		break;
	case 'C':
		o->mode = MODE_CHECK;
		break;
	case OPTION_NETWORK:
		o->network = true;
		break;
	case OPTION_CLEAN_NETWORK:
		o->mode = MODE_CLEAN_NETWORK;
		break;
	case 'V':
		o->mode = MODE_VERSION;
		break;
	case 'h':
		o->mode = MODE_HELP;
		break;
	case OPTION_EXPLAIN:
		set_explain(o, argc, argv, errors);
		break;
	case OPTION_DUMP:
		o->dump = true;
		o->dump_file = optarg;
		break;
	}
}

/* ---- the server ---- */

static void set_server(struct options *o, int argc, char **argv, struct config_errors *errors)
{
	char shown[SHOWN_MAX], first[SHOWN_MAX];

	if (optind == argc)
		return;
	o->server = argv[optind];
	o->cut = argc - optind > 1;
	for (int i = optind; i < argc; i++) {
		if (!all_digits(argv[i]))
			continue;
		o->cut = true;
		if (o->wait)
			usage_error(errors,
			            "-w takes no value, and \"%s\" is no server; did you mean -t %s, "
			            "the idle timeout, or -o 'half-close-timeout %s'?",
			            argv[i], argv[i], argv[i]);
		else
			usage_error(errors,
			            "\"%s\" is no server: a host name is not all digits; did you "
			            "mean -b %s, to listen on that port?",
			            argv[i], argv[i]);
		return;
	}
	if (argc - optind == 1)
		return;
	lex_show(argv[optind], first);
	lex_show(argv[optind + 1], shown);
	if (*o->server == '/' || *o->server == '.')
		usage_error(errors,
		            "%s follows the program %s; a program and its arguments are one quoted "
		            "word: '/PROGRAM ARG'",
		            shown, first);
	else
		usage_error(errors,
		            "there is more than one server: %s and %s; further ones are given by "
		            "-o 'server HOST:PORT'",
		            first, shown);
}

void options_parse(int argc, char **argv, struct options *ret, struct config_errors *errors)
{
	struct option longs[OPTIONS_MAX];
	char shorts[2 * OPTIONS_MAX], option[32];
	int letter;

	*ret = (struct options){.mode = MODE_RUN};
	tables_make(longs, shorts);
	opterr = 0;
	optind = 0;
	while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int shown = letter == ':' ? optopt : letter;

		if (shown < OPTION_EXPLAIN)
			snprintf(option, sizeof(option), "-%c", shown);
		else
			snprintf(option, sizeof(option), "--explain");
		if (letter == '?') {
			/* Whether the next word is its value or the server cannot be known. */
			unknown_option(argv, errors);
			ret->cut = true;
			continue;
		}
		if (letter == ':') {
			missing_value(option, optopt, errors);
			ret->cut = true;
			return;
		}
		/* What follows would be misread. */
		if (value_forgotten(option, letter, errors)) {
			ret->cut = true;
			return;
		}
		if (ret->mode == MODE_HELP || ret->mode == MODE_VERSION || ret->mode == MODE_CLEAN_NETWORK)
			continue;
		take_option(ret, letter, argc, argv, errors);
	}
	if (!ret->cut)
		set_server(ret, argc, argv, errors);
}

static void texts_free(struct option_text *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].name);
		free(list[i].text);
	}
	free(list);
}

void options_release(struct options *o)
{
	texts_free(o->global, o->n_global);
	texts_free(o->service, o->n_service);
	texts_free(o->section, o->n_section);
	free(o->binds);
	*o = (struct options){0};
}
