#include "children/hearing.h"

#include "base/log.h"

void hearing_line(const struct said *m, struct logger *l, const char *who, atomic_ullong *lost)
{
	if (m->wire.n > 0) {
		atomic_fetch_add(lost, m->wire.n);
		log_error("%s: %u log lines are lost: they came faster than they could be written", who, m->wire.n);
	}
	if (said_is_line(m))
		logger_line(l, said_level(m), m->line.text, m->line.wall_us);
}
