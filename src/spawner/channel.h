/*
 * channel.h - where the questions of a trio come from, and their answers go.
 */
#ifndef SPAWNER_CHANNEL_H
#define SPAWNER_CHANNEL_H

#include "event/loop.h"
#include "program/question.h"

struct job;
struct spawner;

struct channel {
	struct channel *next, **link;
	struct spawner *spawner;
	int fd;
	struct watch watch;
	struct timer retry;
	struct question_slot *slots;
	const struct trio *trio; /* whose they are; NULL: nothing else of it is known */
	uint32_t n;
	struct job **by_row; /* the latest job of each row */
	struct job *queue, **queue_end;
	uint32_t n_queued;
	bool blocked; /* the last send found no room */
	void (*gone)(void *arg);
	void *gone_arg;
};

/* Sends j->answer now or as soon as there is room. */
void channel_answer(struct channel *ch, struct job *j);
void channel_close(struct channel *ch);

#endif
