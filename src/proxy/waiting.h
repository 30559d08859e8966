/*
 * waiting.h - clients that wait in line: for a place where a limit is reached, or for a server that is usable.
 *
 * Who came first is served first, in all workers. The ticket is the time at which a client came into its line; it stands in the row,
 * so a successor takes it up. Each worker has those of a line that are its own in order, and says in its trio who of them has the
 * oldest ticket and when it looked last: only the one with the oldest of all goes on. One who has not looked lately is passed over,
 * since nobody waits for another process.
 *
 * Who frees a place wakes the workers in which somebody waits. A wake-up that is lost costs WAITING_LOOK_MS.
 */
#ifndef PROXY_WAITING_H
#define PROXY_WAITING_H

#include "proxy/step.h"

#define WAITING_LOOK_MS 250

enum waiting_outcome {
	WAITING_TURN,  /* it goes on; if there is nothing for it after all, it starts to wait again, with its ticket */
	WAITING_OVER,  /* its time */
	WAITING_RESET, /* the client is gone */
};

struct waiting_line;

/* All those who wait in this worker. */
struct waiting_room {
	struct loop *loop;
	struct trio *trio;
	struct trio *const *trios; /* of all workers; [own] is ours */
	uint32_t n_trios, own;
	const int *rearm_fds; /* eventfd of each worker; NULL: it is alone, and nobody waits */
	struct waiting_line *lines;
	struct timer timer;
	bool wanted; /* look in this turn of the loop */
	bool news;   /* wake the other workers then */
	uint32_t n;
	uint32_t
	        inherited; /* rows of a predecessor that wait, not all of which are taken up; meanwhile nobody goes on */
};

struct waiting {
	struct waiting_room *room;
	struct waiting_line *line; /* NULL: it does not wait */
	struct row *row;
	struct row_cold *cold;
	uint32_t at; /* its place in the heap of the line */
	struct timer timer;
	/* It is the first here: is there something for it? first: in all workers, too. Changes nothing. */
	bool (*ready)(void *arg, bool first);
	void (*done)(void *arg, enum waiting_outcome outcome);
	void *arg;
};

void waiting_room_init(struct waiting_room *room, struct loop *loop, struct trio *const *trios, uint32_t n_trios,
                       uint32_t own, const int *rearm_fds);
void waiting_room_forget(struct waiting_room *room); /* frees memory only */
/* So many rows of a predecessor wait; what it has told others holds until all are taken up: */
void waiting_room_inherit(struct waiting_room *room, uint32_t n);
void waiting_room_settle(struct waiting_room *room);

/* Begins to wait with the ticket in the row, or goes on with it: state is ROW_QUEUED or ROW_HELD, line names what it waits for (never 0; the same in
 * all workers), deadline_ms when it has to end. */
void waiting_start(struct waiting *w, struct waiting_room *room, struct row *row, struct row_cold *cold,
                   enum row_state state, uint64_t line, int64_t deadline_ms);
/* An error of the client's socket. */
void waiting_event(struct waiting *w, uint32_t events);
void waiting_cancel(struct waiting *w);

/* Does anybody wait there, in any worker? Who comes now stands behind him. */
bool waiting_has_line(const struct waiting_room *room, uint64_t line);
/* Something was freed, or is known that was not: those workers look in which somebody waits. */
void waiting_wake(struct waiting_room *room);
/* Once a turn of the loop. */
void waiting_look(struct waiting_room *room);

/* What is known of the servers of a line. */
enum waiting_hope {
	HOPE_NONE, /* none is usable */
	HOPE_SOME, /* one that has failed may be tried again */
	HOPE_GOOD, /* one is well, as far as is known */
};

/* The pace at which a line tries servers that have failed: after 100 ms, 200 ms ... 1 s, and when there is more hope than before. One
 * client at a time does, unless a server is well. */
void waiting_hopes(struct waiting *w, enum waiting_hope hope);
bool waiting_may_try(const struct waiting *w);
void waiting_tries(struct waiting_room *room, uint64_t line, const struct row *row);
void waiting_failed(struct waiting_room *room, uint64_t line);
/* Is it worth a message that it has failed? One a second is. */
bool waiting_says(struct waiting_room *room, uint64_t line);

#endif
