/*
 * hints.h - where something probably stands in a table of shared memory that thousands are looked up in: in this process's own memory,
 * from a number for what is looked for to its place.
 *
 * A hint is not believed: whoever asks looks at the table whether it is so. So nobody has to say that a table has changed, and who may
 * write it cannot deceive by them; what no hint finds is looked for in the table itself.
 */
#ifndef IPC_HINTS_H
#define IPC_HINTS_H

#include <stdbool.h>
#include <stdint.h>

#define HINTS_FROM 64 /* entries of a table; fewer are looked through as fast */
#define HINTS_SIZE 65536
#define HINTS_NONE UINT32_MAX

struct hints {
	const void *of; /* the table */
	uint32_t known; /* so many of its entries, the first ones, have been noted */
	uint32_t used;
	uint32_t place[HINTS_SIZE]; /* the entry's number, and one; 0: none */
};

/* What is looked for, and where. */
struct hinted {
	const void *table;
	uint32_t n;                                             /* entries that it has now */
	uint64_t number;                                        /* for what is looked for */
	const void *arg;                                        /* of these: */
	bool (*is)(const void *arg, uint32_t entry);            /* it is the one */
	uint64_t (*number_of)(const void *arg, uint32_t entry); /* for what stands there */
};

/* The entry; HINTS_NONE: there is none. The table is looked through for one that no hint leads to. */
uint32_t hints_look_up(struct hints *h, const struct hinted *w);

#endif
