/* tcpproxy-servers - lists of servers out of etcd or Consul, for `servers program` and `servers file:`. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/proc.h"
#include "sources/consul.h"
#include "sources/etcd.h"
#include "sources/http.h"
#include "sources/options.h"
#include "sources/output.h"

#define COULD_NOT_START 2

static void to_stderr(void *arg, enum log_level level, const char *line)
{
	char *text = mem_printf("tcpproxy-servers: %s\n", line);
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n; /* there is nobody else who could be told */
	free(text);
}

int main(int argc, char **argv)
{
	static struct options options;
	static struct loop loop;
	static struct http http;
	static struct output output;
	static struct etcd etcd;
	static struct consul consul;
	int rc;

	proc_fill_streams();
	argv[0] = (char *)"tcpproxy-servers"; /* in every message, whatever we were called as */
	log_set_sink(to_stderr, NULL);
	signal(SIGPIPE, SIG_IGN);
	options_read(argc, argv, &options);
	rc = loop_init(&loop, -1, NULL, 64);
	if (rc == 0)
		rc = output_begin(&output, &loop, options.file);
	if (rc < 0) {
		log_error("%s: %s", options.file ? options.file : "cannot begin", strerror(-rc));
		return COULD_NOT_START;
	}
	if (!http_init(&http, &loop, &options.tls)) {
		log_error("libcurl does not begin");
		return COULD_NOT_START;
	}
	mem_serve();
	if (options.source == SOURCE_ETCD)
		etcd_start(&etcd, &loop, &http, &output, &options);
	else
		consul_start(&consul, &loop, &http, &output, &options);
	loop_run(&loop);
	return 0;
}
