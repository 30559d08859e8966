/* tcpproxyctl - inspects and controls a running tcpproxy over its admin socket. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/utf8.h"
#include "ctl/client.h"
#include "ctl/tap.h"
#include "ctl/top.h"
#include "ctl/wait.h"
#include "os/proc.h"

#define DEFAULT_SOCKET "/run/tcpproxy/admin.sock"

static const struct command {
	const char *name, *arguments, *help;
} commands[] = {
#define COMMAND(name, arguments, function, changes, help) {name, arguments, help},
#define HERE(name, arguments, function, help)             {name, arguments, help},
#include "admin/commands.def"
#undef COMMAND
#undef HERE
};

static void print_help(void)
{
	printf("usage: tcpproxyctl [-s PATH] COMMAND [ARGUMENT...]\n"
	       "\n"
	       "  -s, --socket PATH    the admin socket, %s by default\n"
	       "  -j, --json           behind a command that lists: JSON\n"
	       "  -V, --version        print the version and exit\n"
	       "  -h, --help           print this and exit\n"
	       "\n"
	       "commands:\n",
	       DEFAULT_SOCKET);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %s%s%s\n      %s\n", commands[i].name, *commands[i].arguments ? " " : "",
		       commands[i].arguments, commands[i].help);
	printf("\n"
	       "a FILTER is one or more of: ID, service=NAME|PORT, client=ADDRESS[/BITS|:PORT],\n"
	       "via=ADDRESS[/BITS|:PORT], server=NAME|HOST:PORT, sni=NAME, state=STATE;\nall of them must fit\n");
}

static int run(const char *path, char **words, size_t n)
{
	struct answer a;
	int code;

	client_ask(path, words, n, &a);
	code = a.code;
	if (a.ok && isatty(STDOUT_FILENO))
		utf8_tame(a.text.s, a.text.len);
	if (!a.ok)
		fprintf(stderr, "tcpproxyctl: %s\n", a.text.s);
	else if (a.text.len > 0 && fwrite(a.text.s, 1, a.text.len, stdout) != a.text.len)
		code = REFUSED;
	if (fflush(stdout) != 0) {
		perror("tcpproxyctl: writing the answer");
		code = REFUSED;
	}
	answer_release(&a);
	return code;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	        {"socket", required_argument, NULL, 's'},
	        {"json", no_argument, NULL, 'j'},
	        {"version", no_argument, NULL, 'V'},
	        {"help", no_argument, NULL, 'h'},
	        {0},
	};
	const char *path = DEFAULT_SOCKET;
	char **words;
	size_t n = 0;
	bool json = false;
	int letter;

	proc_fill_streams();             /* an answer may not go where the next thing that is opened leads */
	argv[0] = (char *)"tcpproxyctl"; /* in every message, whatever we were called as */
	/* what stands after the command is its own */
	while ((letter = getopt_long(argc, argv, "+s:jVh", longs, NULL)) != -1) {
		switch (letter) {
		case 's':
			path = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'V':
			printf("tcpproxyctl %s\n", TCPPROXY_VERSION);
			return DONE;
		case 'h':
			print_help();
			return DONE;
		default:
			fprintf(stderr, "tcpproxyctl: --help lists what there is\n");
			return REFUSED;
		}
	}
	if (optind == argc) {
		fprintf(stderr, "tcpproxyctl: which command? --help lists them\n");
		return REFUSED;
	}
	words = mem_alloc(((size_t)(argc - optind) + 2) * sizeof(*words));
	for (int i = optind; i < argc; i++)
		words[n++] = argv[i];
	if (json)
		words[n++] = (char *)"-j";
	if (strcmp(words[0], "tap") == 0)
		letter = ctl_tap(path, words, n);
	else if (strcmp(words[0], "top") == 0)
		letter = ctl_top(path, words, n);
	else if (strcmp(words[0], "wait") == 0)
		letter = ctl_wait(path, words, n);
	else
		letter = run(path, words, n);
	free(words);
	return letter;
}
