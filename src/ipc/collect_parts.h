/* collect_parts.h - what collect.c has of collect_servers.c: servers and pools of a snapshot. Not for others. */
#ifndef IPC_COLLECT_PARTS_H
#define IPC_COLLECT_PARTS_H

#include "ipc/collect.h"

/* All that there are, with what is known of them. active: connections of each, by index. */
void collect_servers(const struct collect_source *source, struct snapshot *s, const uint32_t *active);
/* What the file says of them: one that it disables wherever it names it is out, unless tcpproxyctl says otherwise. */
void collect_config(const struct world *w, struct snapshot *s, const struct config *config);
/* The members of each section, in its order, when services and servers are there and have their labels. */
void collect_pools(const struct world *w, struct snapshot *s, const struct config *config);

#endif
