/* consul_said.h - what Consul answers, as a stranger's words: checked, and made what we need of it. */
#ifndef SOURCES_CONSUL_SAID_H
#define SOURCES_CONSUL_SAID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "sources/lines.h"

/* The answer to /v1/health/service/NAME: each instance goes to lines. False: it is something else; *why, which is cleared first, says so. */
bool consul_read_instances(const char *text, size_t len, struct lines *lines, struct buf *why);
/* X-Consul-Index, NULL if there was none: 0 is none that could be waited for. */
uint64_t consul_read_index(const char *header);
/* What an answer that is no success complains of: never empty. */
void consul_read_complaint(const char *text, size_t len, long status, struct buf *why);

#endif
