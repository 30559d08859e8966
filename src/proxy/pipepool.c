#include "proxy/pipepool.h"

#include <errno.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/pipe.h"

#define ASK_AGAIN_AFTER 1000 /* wishes */

static void refuse(struct pipepool *p)
{
	if (p->refused++ == 0)
		log_warning("no large pipes are left for this user (sysctl fs.pipe-user-pages-soft): "
		            "bulk data is copied, which costs more");
	p->not_yet = ASK_AGAIN_AFTER;
}

/* 0: a large one, 1: a small one, or -errno. */
static int make(struct pipepool *p, bool small_will_do, int ends[2])
{
	int rc;

	if (p->not_yet > 0 && !small_will_do) {
		p->not_yet--;
		return -EAGAIN;
	}
	rc = pipe_new(ends, PIPEPOOL_SIZE);
	if (rc < 0)
		p->not_yet = ASK_AGAIN_AFTER;
	if (rc == 1 && pipe_room(ends[0]) >= PIPEPOOL_LEAST)
		rc = 0;
	if (rc != 1)
		return rc;
	refuse(p);
	if (small_will_do)
		return 1;
	close(ends[0]);
	close(ends[1]);
	return -EAGAIN;
}

/* Large ones come from the pool, others from the kernel. */
static int get(struct pipepool *p, bool small_will_do, int ends[2])
{
	if (p->n == 0)
		return make(p, small_will_do, ends);
	p->n--;
	ends[0] = p->ends[p->n][0];
	ends[1] = p->ends[p->n][1];
	return 0;
}

static void store(const int ends[2], int32_t *read_end, int32_t *write_end)
{
	FAULT_POINT();
	*write_end = ends[1];
	barrier();
	FAULT_POINT();
	*read_end = ends[0];
	barrier();
}

int pipepool_take(struct pipepool *p, struct flow_row *row, bool small_will_do)
{
	int ends[2];
	int rc = get(p, small_will_do, ends);

	if (rc < 0)
		return rc;
	row->pipe_foreign = rc == 1;
	store(ends, &row->pipe_read, &row->pipe_write);
	return 0;
}

static bool spare(struct pipepool *p, struct copy_step *step, bool small_will_do)
{
	int ends[2];

	if (step->pipe_read >= 0)
		return true;
	if (get(p, small_will_do, ends) < 0)
		return false;
	store(ends, &step->pipe_read, &step->pipe_write);
	return true;
}

bool pipepool_spare(struct pipepool *p, struct copy_step *step)
{
	return spare(p, step, false);
}

bool pipepool_any_spare(struct pipepool *p, struct copy_step *step)
{
	return spare(p, step, true);
}

void pipepool_give(struct pipepool *p, int32_t *read_end, int32_t *write_end)
{
	if (p->n >= (p->most ? p->most : PIPEPOOL_MAX)) {
		pipepool_discard(read_end, write_end);
		return;
	}
	p->ends[p->n][0] = *read_end;
	p->ends[p->n][1] = *write_end;
	p->n++;
	*read_end = *write_end = -1;
}

void pipepool_discard(int32_t *read_end, int32_t *write_end)
{
	int r = *read_end, w = *write_end;

	/* forget first, close later: pipe ends have no cookie by which a successor could know them */
	*read_end = *write_end = -1;
	FAULT_POINT();
	if (r >= 0)
		close(r);
	FAULT_POINT();
	if (w >= 0)
		close(w);
}

void pipepool_release(struct pipepool *p)
{
	while (p->n > 0) {
		p->n--;
		pipepool_discard(&p->ends[p->n][0], &p->ends[p->n][1]);
	}
}
