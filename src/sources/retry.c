#include "sources/retry.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define FIRST_MS   1000
#define LONGEST_MS 30000

int64_t retry_failed(struct retry *r)
{
	unsigned n = r->failures++;

	return n < 5 ? FIRST_MS << n : LONGEST_MS;
}

void retry_say(struct retry *r, const char *who, const char *why)
{
	char text[sizeof(r->said)];

	snprintf(text, sizeof(text), "%s: %s", who, why);
	if (strcmp(text, r->said) == 0)
		return;
	memcpy(r->said, text, sizeof(text));
	log_warning("%s; the list stays as it was, and it is asked again", text);
}

void retry_over(struct retry *r, const char *who)
{
	if (*r->said)
		log_info("%s answers again", who);
	r->said[0] = '\0';
}
