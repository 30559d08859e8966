/*
 * rules.h - what holds: the configuration as it is read here, as all other processes get it, and its listening sockets.
 * The supervisor changes it (supervisor/rules.c, reload.c); the processes that it keeps running are told of it.
 */
#ifndef CHILDREN_RULES_H
#define CHILDREN_RULES_H

#include <stdint.h>
#include "children/listeners.h"
#include "config/config.h"
#include "ipc/world.h"

struct rules {
	struct config *config;
	uint64_t generation;
	int fd; /* sealed memfd of this generation; -1: none yet */
	struct sockets listeners;
	const struct interface_address *ifs; /* of this host, when it was taken */
	size_t n_ifs;
	char *formats[WORLD_LABELS]; /* log-format of the section with this label; NULL: the usual text */
};

#endif
