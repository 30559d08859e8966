/* spawner_parts.h - what the parts of the spawner have in common: channel.c above job.c, which reports by what spawner.c fills in. */
#ifndef SPAWNER_SPAWNER_PARTS_H
#define SPAWNER_SPAWNER_PARTS_H

#include "spawner/channel.h"
#include "spawner/generation.h"
#include "spawner/job.h"
#include "spawner/spawner.h"

#define SPAWNER_KILL_AFTER_MS 2000 /* after TERM */

struct spawner {
	struct spawner_setup setup;
	int null_fd;
	struct generation *generations; /* the newest first */
	struct channel *channels;
	struct job *jobs;
	struct {
		int fd; /* to the checker; -1: there is none */
		struct watch watch;
		struct check_job *jobs;
	} checking; /* checking.c */
	struct {
		int fd; /* to the supervisor; -1: there is none */
		struct watch watch;
		struct notice_job *jobs;
	} noticing; /* noticing.c */
	struct {
		struct list_program *programs;
		struct list_run *runs;
	} listing;                                      /* listing.c */
	struct left *left;                              /* left.c */
	struct programs_shared *programs, own_programs; /* shared; ours, if they are not */
	unsigned running;
	void (*answer)(struct channel *ch, struct job *j); /* j->answer is to be sent */
	void (*ended)(struct spawner *s);                  /* running went down */
	bool stopping;
	struct timer stop_timer;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

#endif
