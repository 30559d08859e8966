/*
 * The slots: open all, receive all, send all, close one after the other.
 *
 *   store            a death after it leaves
 *   slot.row         nothing taken, or bytes in the slot: as many as the source's counters are ahead of the
 *                    destination's
 *   (scratch)        the same; a copy of them
 *   step.row         the same as a step of copying: see flow_copy.c
 *   row.moved        nothing; the slot is open, and the step if there was one
 *   step.row = -1    nothing; the slot is open
 *   slot.row = -1    nothing
 */
#include "proxy/flow_batch.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "proxy/flow.h"

_Static_assert(BATCH_ROOM <= 2 * 4096, "what is in a slot fits into the smallest pipe");

static void open_slots(struct trio *t, const struct flow_batch_item *items, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		t->batch[i].side = items[i].side;
		barrier();
		t->batch[i].row = items[i].row;
	}
	barrier();
	FAULT_POINT();
}

static void close_slot(struct trio *t, unsigned i)
{
	barrier();
	FAULT_POINT();
	t->batch[i].row = -1;
	barrier();
	FAULT_POINT();
}

static void open_step(struct trio *t, unsigned i, size_t n)
{
	memcpy(trio_scratch(t), trio_batch(t, i), n);
	t->step.side = t->batch[i].side;
	barrier();
	FAULT_POINT();
	t->step.row = t->batch[i].row;
	barrier();
	FAULT_POINT();
}

/* What the destination did not take goes the way of copying. */
static void park(struct trio *t, unsigned i, struct flow_batch_item *item)
{
	size_t n = (size_t)item->taken;

	open_step(t, i, n);
	flow_finish_copy(&t->step, item->flow, trio_scratch(t), n, n - (size_t)(item->sent > 0 ? item->sent : 0));
	item->flow->moved += n;
	barrier();
	FAULT_POINT();
	t->step.row = -1;
	barrier();
	FAULT_POINT();
}

static bool is_failure(int sent)
{
	return sent < 0 && sent != -EAGAIN && sent != -EINTR; /* interrupted: parked, and sent by the next drain */
}

static void finish(struct trio *t, unsigned i, struct pipepool *pool, struct flow_batch_item *item)
{
	bool rest = item->taken > 0 && item->sent < item->taken && !is_failure(item->sent);

	item->lost = rest && !pipepool_any_spare(pool, &t->step);
	if (rest && !item->lost)
		park(t, i, item);
	else if (item->taken > 0)
		item->flow->moved += (uint64_t)item->taken;
	close_slot(t, i);
}

bool flow_batch(struct trio *t, struct uring *uring, struct pipepool *pool, struct flow_batch_item *items, unsigned n)
{
	bool works;

	open_slots(t, items, n);
	for (unsigned i = 0; i < n; i++)
		uring_recv(uring, items[i].source, trio_batch(t, i), BATCH_ROOM, MSG_DONTWAIT, &items[i].taken);
	works = uring_run(uring);
	FAULT_POINT();
	for (unsigned i = 0; i < n; i++) {
		items[i].sent = -EAGAIN;
		if (works && items[i].taken > 0)
			uring_send(uring, items[i].dest, trio_batch(t, i), (size_t)items[i].taken,
			           MSG_DONTWAIT | MSG_NOSIGNAL, &items[i].sent);
	}
	works = works && uring_run(uring);
	FAULT_POINT();
	for (unsigned i = 0; i < n; i++)
		finish(t, i, pool, &items[i]);
	return works;
}

bool flow_batch_hand_over(struct trio *t, unsigned i)
{
	if (t->batch[i].row < 0)
		return false;
	open_step(t, i, BATCH_ROOM);
	close_slot(t, i);
	return true;
}
