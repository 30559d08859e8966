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

/* is: it is the one. HINTS_NONE: no hint leads to it. */
uint32_t hints_find(const struct hints *h, uint64_t number, bool (*is)(const void *arg, uint32_t entry),
                    const void *arg);
void hints_note(struct hints *h, uint64_t number, uint32_t entry);
/* Before that: hints of another table are of no use. n: entries that the table has now. Returns from which on they are to be noted. */
uint32_t hints_begin(struct hints *h, const void *of, uint32_t n);

#endif
