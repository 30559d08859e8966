/*
 * agent.h - what the agent of a server says: words in a line, as those of HAProxy's agents.
 */
#ifndef CHECKER_AGENT_H
#define CHECKER_AGENT_H

#include "ipc/seats.h"

/* What holds after this line, which changes what was said before as far as it speaks of it. False: no word of it makes sense. */
bool agent_hears(struct agent_view *v, const char *line);

#endif
