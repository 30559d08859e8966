/*
 * dialog.h - one check of one address: it connects, says and hears what a script says, comes to a verdict within its time, and
 * then leaves politely: what the server has sent is read, then FIN, then a second for the server's FIN; never a reset.
 */
#ifndef CHECKER_DIALOG_H
#define CHECKER_DIALOG_H

#include "base/addr.h"
#include "checker/script.h"
#include "event/loop.h"

struct dialog_setup {
	struct loop *loop;
	const struct script *script;     /* stays until done() or dialog_cancel() */
	const struct addr *to;           /* with its port; or unix_path */
	const char *unix_path;           /* NULL: to */
	const struct addr *from;         /* NULL: whichever */
	const char *device;              /* NULL: any */
	uint32_t mark;                   /* 0: none */
	uint8_t dscp;                    /* and one; 0: as it is */
	uint32_t netns;                  /* likewise: ours */
	const struct blank_list *blanks; /* where sockets with a mark wait (os/blank.h); NULL: nowhere */
	int64_t timeout_ms;              /* for all of it, but for the leaving */
	bool *heard;                     /* set when the server says something before the verdict; NULL: never mind */
	/* Once. words: why it is a no; of a yes "", but for a script that tells. dialog_start() has returned. */
	void (*done)(void *arg, bool yes, const char *words);
	void *arg;
};

struct dialog; /* opaque */

/* Never fails: what cannot be begun is a no. */
struct dialog *dialog_start(const struct dialog_setup *setup);
/* No verdict is wanted any more; it leaves. Takes NULL. After done() it must not be called. */
void dialog_cancel(struct dialog *d);
/* Of the loop's process: those that are not gone yet, the leaving ones among them. */
unsigned dialog_open(void);

#endif
