#include "ctl/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/ring.h"
#include "base/tapread.h"
#include "ctl/client.h"
#include "os/safepath.h"
#include "os/shm.h"

static volatile sig_atomic_t stop;

static void tap_on_signal(int sig)
{
	stop = sig;
}

static int follow(const struct answer *a, struct tap_view *v, int to)
{
	size_t n = a->n_fds - 1;
	struct ring **rings;
	uint64_t lost = 0;
	int rc = 0;

	if (a->n_fds == 0) {
		fprintf(stderr, "tcpproxyctl: the answer is text, where descriptors to read from belong: is this a "
		                "tcpproxy?\n");
		return NO_DAEMON;
	}
	rings = mem_alloc((n + 1) * sizeof(*rings));
	for (size_t i = 0; i < n && rc == 0; i++) {
		rings[i] = shm_map(a->fds[i + 1], ring_size(TAP_RING));
		if (!rings[i])
			rc = -ENOMEM;
	}
	if (rc == 0)
		rc = tap_read(rings, n, a->fds[0], v, to, &stop, &lost);
	free(rings);
	if (lost)
		fprintf(stderr,
		        "tcpproxyctl: %llu records are lost: they came faster than they could be "
		        "written\n",
		        (unsigned long long)lost);
	if (rc == -EPIPE && to == STDOUT_FILENO)
		return DONE; /* the reader has enough */
	if (rc < 0)
		fprintf(stderr, "tcpproxyctl: writing what was seen: %s\n", strerror(-rc));
	return rc < 0 ? REFUSED : DONE;
}

/* Takes "-w FILE" out of the words. false: it is wrong. */
static bool take_file(char **words, size_t *n, const char **file)
{
	size_t left = 1;

	for (size_t i = 1; i < *n; i++) {
		if (strncmp(words[i], "--write=", 8) == 0) {
			*file = words[i] + 8;
		} else if (strcmp(words[i], "-w") == 0 || strcmp(words[i], "--write") == 0) {
			if (++i == *n)
				return false;
			*file = words[i];
		} else if (strncmp(words[i], "-w", 2) == 0) {
			*file = words[i] + 2;
		} else {
			words[left++] = words[i];
		}
	}
	*n = left;
	return true;
}

static int show(const char *path, char **words, size_t n, bool pcapng, int to)
{
	struct tap_view *v = pcapng ? tap_view_pcapng("tcpproxyctl " TCPPROXY_VERSION) : tap_view_text();
	struct answer a;
	int code;

	client_ask(path, words, n, &a);
	code = a.code;
	if (!a.ok)
		fprintf(stderr, "tcpproxyctl: %s\n", a.text.s);
	else
		code = follow(&a, v, to);
	answer_release(&a);
	tap_view_free(v);
	return code;
}

int ctl_tap(const char *path, char **words, size_t n)
{
	struct sigaction sa = {.sa_handler = tap_on_signal};
	const char *file = NULL;
	int to = STDOUT_FILENO, code;

	if (!take_file(words, &n, &file)) {
		fprintf(stderr, "tcpproxyctl: -w needs a FILE, or - for standard output\n");
		return REFUSED;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (file && strcmp(file, "-") != 0)
		to = safepath_open_new(file, 0600);
	if (to < 0) {
		fprintf(stderr, "tcpproxyctl: cannot write to %s: %s\n", file, safepath_error(-to));
		return REFUSED;
	}
	code = show(path, words, n, file != NULL, to);
	if (to != STDOUT_FILENO && close(to) < 0) {
		fprintf(stderr, "tcpproxyctl: %s: %s\n", file, strerror(errno));
		code = REFUSED;
	}
	return code;
}
