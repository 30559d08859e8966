/* Nothing is counted: only to measure what counting costs (docs/performance.md). */
#include "proxy/tally.h"

void tally_accepted(struct session *s)
{
}

void tally_section(struct session *s, const struct section *found)
{
}

void tally_preamble(struct session *s, enum preamble_outcome outcome, uint8_t version, enum why why)
{
}

void tally_server(struct session *s)
{
}

void tally_connected(struct session *s)
{
}

void tally_failed(struct session *s, enum end end)
{
}

void tally_moved(struct session *s)
{
}

void tally_ended(struct session *s)
{
}
