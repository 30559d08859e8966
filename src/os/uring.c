#include "os/uring.h"
#include "base/progress.h"

#include <errno.h>

#if HAVE_URING
#include <liburing.h>
#include <stdlib.h>

struct uring {
	struct io_uring ring;
	unsigned n;
};

/* By numbers: the library has functions for both, but does not export them. */
static int restrict_to_messages(struct io_uring *ring)
{
	struct io_uring_restriction allowed[] = {
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_RECV},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_SEND},
	};
	int rc = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
	                           sizeof(allowed) / sizeof(allowed[0]));

	return rc < 0 ? rc : io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

struct uring *uring_new(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED};
	struct uring *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return NULL;
	rc = io_uring_queue_init_params(URING_MOST, &u->ring, &params);
	if (rc == 0) {
		rc = restrict_to_messages(&u->ring);
		if (rc == 0)
			rc = io_uring_ring_dontfork(&u->ring);
		if (rc < 0)
			io_uring_queue_exit(&u->ring);
	}
	if (rc == 0)
		return u;
	free(u);
	errno = -rc;
	return NULL;
}

void uring_free(struct uring *u)
{
	if (!u)
		return;
	io_uring_queue_exit(&u->ring);
	free(u);
}

void uring_forget(struct uring *u)
{
	free(u);
}

int uring_fd(const struct uring *u)
{
	return u->ring.ring_fd;
}

static struct io_uring_sqe *next(struct uring *u, int *ret)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	*ret = -EAGAIN;
	u->n++;
	return sqe; /* there is room: nothing stays in the queue between two calls */
}

void uring_recv(struct uring *u, int fd, void *to, size_t len, int flags, int *ret)
{
	struct io_uring_sqe *sqe = next(u, ret);

	io_uring_prep_recv(sqe, fd, to, len, flags);
	io_uring_sqe_set_data(sqe, ret);
}

void uring_send(struct uring *u, int fd, const void *from, size_t len, int flags, int *ret)
{
	struct io_uring_sqe *sqe = next(u, ret);

	io_uring_prep_send(sqe, fd, from, len, flags);
	io_uring_sqe_set_data(sqe, ret);
}

static void take_results(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		*(int *)io_uring_cqe_get_data(cqe) = cqe->res;
		if (cqe->res > 0)
			progress();
		n++;
	}
	io_uring_cq_advance(&u->ring, n);
	u->n -= n;
}

bool uring_run(struct uring *u)
{
	while (u->n > 0) {
		int rc = io_uring_submit_and_wait(&u->ring, u->n);

		take_results(u);
		/* interrupted, or stopped at an operation that failed: again with the rest */
		if (rc < 0 && rc != -EINTR)
			return false;
		if (rc == 0 && u->n > 0)
			return false;
	}
	return true;
}
#else
struct uring *uring_new(void)
{
	errno = ENOSYS;
	return NULL;
}

void uring_free(struct uring *u)
{
	(void)u;
}

void uring_forget(struct uring *u)
{
	(void)u;
}

int uring_fd(const struct uring *u)
{
	(void)u;
	return -1;
}

void uring_recv(struct uring *u, int fd, void *to, size_t len, int flags, int *ret)
{
	*ret = -EAGAIN;
}

void uring_send(struct uring *u, int fd, const void *from, size_t len, int flags, int *ret)
{
	*ret = -EAGAIN;
}

bool uring_run(struct uring *u)
{
	(void)u;
	return false;
}
#endif
