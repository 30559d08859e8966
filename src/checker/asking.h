/*
 * asking.h - what a configuration wants to know: its seats (ipc/seats.h), each with one line of `check` or several, and the checks
 * that answer them. Two seats whose lines ask the same of the same server share the check.
 */
#ifndef CHECKER_ASKING_H
#define CHECKER_ASKING_H

#include "checker/checks.h"
#include "config/config.h"
#include "ipc/world.h"

/* One check. */
struct asked {
	uint64_t key;
	const struct check_line *line;
	const struct section *section; /* the first that wants it */
	const struct server *server;
	uint32_t target;
	uint32_t number; /* of the line, in the section */
	uint16_t port;   /* that is asked */
	uint16_t server_port;
	struct pulse pulse;
	uint32_t first, n; /* of asking.wants */
};

/* Which line of which seat a check answers. */
struct want {
	uint64_t key;
	uint32_t place, line;
};

struct place {
	uint32_t seat;
	uint64_t asks;
	uint32_t target;
	uint16_t port;
	const struct section *section; /* one that has it */
	const struct server *server;
	int64_t failed_ms; /* the last failure of a client that was heeded */
};

struct asking {
	struct config *config;
	struct place *places; /* by seat */
	size_t n_places;
	struct want *wants; /* by key */
	size_t n_wants;
	struct asked *asked; /* by key */
	size_t n_asked;
};

/* Takes the configuration over. Pulses are those of health, where that is about the same seat. */
struct asking *asking_new(struct config *c, const struct world *world);
void asking_free(struct asking *a); /* takes NULL */
/* The key of the check of one line of a seat. */
uint64_t asking_key(const struct place *p, uint32_t line);
/* For checks_take(): malloc()ed, a->n_asked of them; owner: struct asked. */
struct check *asking_checks(struct asking *a);

#endif
