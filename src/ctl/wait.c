#include "ctl/wait.h"

#include <stdio.h>
#include <time.h>
#include "base/clock.h"
#include "base/text.h"
#include "ctl/client.h"

#define USUAL_MS (30 * 1000)
#define AGAIN_MS 100
#define NOT_YET  3 /* what the daemon says then, and we if time is over */

static void pause_ms(int64_t ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static int show(const struct answer *a)
{
	if (a->ok)
		fwrite(a->text.s, 1, a->text.len, stdout);
	else
		fprintf(stderr, "tcpproxyctl: %s\n", a->text.s);
	return fflush(stdout) == 0 ? a->code : REFUSED;
}

int ctl_wait(const char *path, char **words, size_t n)
{
	int64_t time_ms = USUAL_MS, until_ms;
	struct answer a;
	int code;

	if (n > 3)
		text_parse_time_ms(words[3], &time_ms); /* what is no time is refused by the daemon */
	until_ms = clock_mono_ms() + time_ms;
	client_ask(path, words, n, &a);
	if (!a.ok)
		until_ms = 0;
	while ((a.ok ? a.code == NOT_YET : a.code == NO_DAEMON) && clock_mono_ms() < until_ms) {
		answer_release(&a);
		pause_ms(AGAIN_MS);
		client_ask(path, words, n, &a);
	}
	code = show(&a);
	answer_release(&a);
	return code;
}
