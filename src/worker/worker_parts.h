/* worker_parts.h - a worker's private memory, which its files share: worker.c (birth, log), control.c and members.c, where it is. */
#ifndef WORKER_WORKER_PARTS_H
#define WORKER_WORKER_PARTS_H

#include "event/loop.h"
#include "ipc/outbox.h"
#include "os/sandbox.h"
#include "proxy/engine.h"
#include "worker/greeter.h"
#include "worker/succession.h"
#include "worker/tcp_info.h"

extern struct worker_self {
	struct engine engine;
	struct trio *trio;
	struct watch control;
	struct outbox outbox; /* to the supervisor */
	struct greeter greeter;
	struct tcp_info_writer tcp_info;
	struct watch members[3]; /* keepers and supervisor */
	struct timer members_timer;
	struct succession succession;
	enum unix_reach reach; /* to which Unix sockets it may connect */
	bool quitting;
	bool reexecing;
	bool succeeded;
} self;

/* members.c: begins to watch them; the supervisor is another one. */
void worker_watch_members(void);
void worker_members_changed(void);

#endif
