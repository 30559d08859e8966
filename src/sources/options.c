#include "sources/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/file.h"

#define WRONG        1
#define SECRET_LONG  4096
#define SOURCES_TEXT "etcd URL[,URL...] PREFIX, or consul URL SERVICE [tag=T]"

enum { OPTION_CA = 256, OPTION_CERT, OPTION_KEY, OPTION_TOKEN_FILE, OPTION_USER_FILE };

static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'},
        {"ca", required_argument, NULL, OPTION_CA},
        {"cert", required_argument, NULL, OPTION_CERT},
        {"key", required_argument, NULL, OPTION_KEY},
        {"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
        {"user-file", required_argument, NULL, OPTION_USER_FILE},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0},
};

static _Noreturn void print_help(void)
{
	printf("usage: tcpproxy-servers [OPTION...] etcd URL[,URL...] PREFIX\n"
	       "       tcpproxy-servers [OPTION...] consul URL SERVICE [tag=T]\n"
	       "\n"
	       "prints lists of servers, for \"servers program\" of tcpproxy.conf(5), whenever they change\n"
	       "\n"
	       "  -o, --output FILE        keep the list in FILE instead, for \"servers file:\"\n"
	       "      --ca FILE            who may have signed the server's certificate (PEM), instead of the "
	       "system's\n"
	       "      --cert FILE          our own certificate (PEM)\n"
	       "      --key FILE           its key, if it is not in the same file\n"
	       "      --token-file FILE    a token that says who we are\n"
	       "      --user-file FILE     USER:PASSWORD\n"
	       "  -V, --version            print the version and exit\n"
	       "  -h, --help               print this and exit\n");
	exit(0);
}

static _Noreturn void wrong_usage(void)
{
	fprintf(stderr, "tcpproxy-servers: --help lists what there is\n");
	exit(WRONG);
}

static void read_options(int argc, char **argv, struct options *ret)
{
	int letter;

	while ((letter = getopt_long(argc, argv, "o:Vh", longs, NULL)) != -1) {
		switch (letter) {
		case 'o':
			ret->file = optarg;
			break;
		case OPTION_CA:
			ret->tls.ca = optarg;
			break;
		case OPTION_CERT:
			ret->tls.cert = optarg;
			break;
		case OPTION_KEY:
			ret->tls.key = optarg;
			break;
		case OPTION_TOKEN_FILE:
			ret->token_file = optarg;
			break;
		case OPTION_USER_FILE:
			ret->user_file = optarg;
			break;
		case 'V':
			printf("tcpproxy-servers %s\n", TCPPROXY_VERSION);
			exit(0);
		case 'h':
			print_help();
		default:
			wrong_usage();
		}
	}
}

/* ---- the source ---- */

static void add_url(struct options *o, char *url, bool *any_tls)
{
	const char *why;
	bool tls = false;
	size_t n;

	if (o->n_urls == URLS_MAX) {
		log_error("%s: too many URLs: at most %d", url, URLS_MAX);
		exit(WRONG);
	}
	why = http_check_url(url, &tls);
	if (why) {
		log_error("%s: %s", url, why);
		exit(WRONG);
	}
	for (n = strlen(url); n && url[n - 1] == '/'; n--)
		url[n - 1] = '\0';
	*any_tls = *any_tls || tls;
	o->urls[o->n_urls++] = url;
}

static void read_urls(struct options *o, char *urls)
{
	bool any_tls = false;

	for (char *url; (url = strsep(&urls, ","));)
		add_url(o, url, &any_tls);
	if (!any_tls && (o->tls.ca || o->tls.cert || o->tls.key)) {
		log_error("%s: --ca, --cert and --key are for https:// alone", o->urls[0]);
		exit(WRONG);
	}
}

static void read_source(struct options *o, char **words, size_t n)
{
	bool etcd = n && strcmp(words[0], "etcd") == 0, consul = n && strcmp(words[0], "consul") == 0;

	if (!etcd && !consul) {
		if (n)
			log_error("%s is no source: %s", words[0], SOURCES_TEXT);
		else
			log_error("from where? %s", SOURCES_TEXT);
		wrong_usage();
	}
	if (n < 3 || !*words[2]) {
		log_error("%s", etcd ? "write etcd URL[,URL...] PREFIX" : "write consul URL SERVICE [tag=T]");
		exit(WRONG);
	}
	if (consul && n > 3 && strncmp(words[3], "tag=", 4) == 0 && words[3][4]) {
		o->tag = words[3] + 4;
		n--;
	}
	if (n > 3) {
		log_error("%s: nothing is expected there: %s", words[3], SOURCES_TEXT);
		exit(WRONG);
	}
	o->source = etcd ? SOURCE_ETCD : SOURCE_CONSUL;
	o->what = words[2];
	read_urls(o, words[1]);
	if (consul && o->n_urls > 1) {
		log_error("consul is asked at one URL");
		exit(WRONG);
	}
}

/* ---- files ---- */

const char *options_secret(const char *file, struct buf *ret)
{
	int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const char *why;
	char *text;

	buf_clear(ret);
	if (fd < 0)
		return strerror(errno);
	text = file_read_all(fd, &why);
	close(fd);
	if (!text)
		return why;
	buf_add(ret, text, strcspn(text, "\r\n"));
	explicit_bzero(text, strlen(text));
	free(text);
	if (ret->len == 0)
		return "its first line is empty";
	return ret->len > SECRET_LONG ? "its first line is too long" : NULL;
}

static void check_secret(const char *option, const char *file, bool user)
{
	struct buf text = BUF_INIT;
	const char *why = file ? options_secret(file, &text) : NULL;

	if (!why && file && user && !strchr(text.s, ':'))
		why = "it does not begin with USER:PASSWORD";
	if (why) {
		log_error("%s %s: %s", option, file, why);
		exit(WRONG);
	}
	buf_release(&text);
}

static void check_readable(const char *option, const char *file)
{
	if (file && access(file, R_OK) < 0) {
		log_error("%s %s: %s", option, file, strerror(errno));
		exit(WRONG);
	}
}

void options_read(int argc, char **argv, struct options *ret)
{
	*ret = (struct options){0};
	read_options(argc, argv, ret);
	read_source(ret, argv + optind, (size_t)(argc - optind));
	if (ret->token_file && ret->user_file) {
		log_error("--token-file and --user-file: one of both");
		exit(WRONG);
	}
	if (ret->tls.key && !ret->tls.cert) {
		log_error("--key: of which certificate? --cert says so");
		exit(WRONG);
	}
	check_readable("--ca", ret->tls.ca);
	check_readable("--cert", ret->tls.cert);
	check_readable("--key", ret->tls.key);
	check_secret("--token-file", ret->token_file, false);
	check_secret("--user-file", ret->user_file, true);
}
