#include "proxy/pipepool.h"

#include <unistd.h>
#include "base/fault.h"
#include "os/pipe.h"

int pipepool_take(struct pipepool *p, int32_t *read_end, int32_t *write_end)
{
	int ends[2];
	int rc;

	if (p->n > 0) {
		p->n--;
		*write_end = p->ends[p->n][1];
		FAULT_POINT();
		*read_end = p->ends[p->n][0];
		return 0;
	}
	rc = pipe_new(ends, PIPEPOOL_SIZE);
	if (rc < 0) {
		p->refused++;
		return rc;
	}
	FAULT_POINT();
	*write_end = ends[1];
	FAULT_POINT();
	*read_end = ends[0];
	return 0;
}

void pipepool_give(struct pipepool *p, int32_t *read_end, int32_t *write_end)
{
	if (p->n == PIPEPOOL_MAX) {
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
