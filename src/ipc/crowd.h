/*
 * crowd.h - the servers that a line of the configuration stands for now (`server ... each`, `server srv:...`): as the checker tells the
 * supervisor, who believes nothing of it unseen.
 */
#ifndef IPC_CROWD_H
#define IPC_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

#define CROWD_MAX  4096 /* members of one */
#define CROWD_PART 13   /* members in one message */

struct member {
	struct addr addr;          /* port 0: that at which the client came */
	uint16_t priority, weight; /* of its record (RFC 2782); without one both 0 */
};

/* By address and port; then, the second one, by what its record says, the better one first. */
int member_compare_place(const struct member *a, const struct member *b);
int member_compare(const void *a, const void *b);
bool member_equal(const struct member *a, const struct member *b);
/* Puts them in order, each once: of the same one twice the better priority stays. Returns how many there are then. */
size_t crowd_sort(struct member *list, size_t n);
/* By what a line is known to other processes. */
uint64_t crowd_id(const char *line);

/* A part of a crowd; a crowd without members is one part of none. */
struct crowd_part {
	uint16_t at, total; /* the number of its first member; of all */
	struct member list[CROWD_PART];
};

/* A crowd that is coming, of one sender. All zero: none. */
struct gathering {
	uint64_t id;
	size_t n, total;
	struct member *list; /* room for total */
};

enum gathered {
	GATHERED_PART,  /* there is more to come */
	GATHERED_ALL,   /* list has n members, in order, each once */
	GATHERED_WRONG, /* what had come of it is dropped */
};

/* Takes a part with n members. */
enum gathered gathering_take(struct gathering *g, uint64_t id, uint32_t n, const struct crowd_part *part);
void gathering_release(struct gathering *g);

#endif
