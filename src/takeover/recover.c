#include "takeover/recover.h"

#include <sys/stat.h>
#include <unistd.h>
#include "os/sock.h"

static void close_socket(struct row *row, enum side side)
{
	int fd = row->fd[side];

	if (fd >= 0 && sock_cookie(fd) == row->cookie[side] && row->cookie[side] != 0) {
		sock_reset_on_close(fd);
		close(fd);
	}
	row->fd[side] = -1;
}

static void close_pipe_end(int32_t *end)
{
	struct stat st;
	int fd = *end;

	*end = -1;
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		close(fd);
}

static void end_row(struct row *row)
{
	row->state = ROW_ABORTING;
	close_socket(row, CLIENT);
	close_socket(row, SERVER);
	row->fd[SECOND] = -1; /* a second attempt to connect is swept */
	for (int i = 0; i < 2; i++) {
		close_pipe_end(&row->flow[i].pipe_read);
		close_pipe_end(&row->flow[i].pipe_write);
	}
	barrier();
	row->state = ROW_FREE;
}

static bool recorded(const struct trio *t, int fd)
{
	if (fd == t->control_fd || fd == t->spawner_fd)
		return true;
	for (int i = 0; i < TRIO_LISTENERS; i++)
		if (atomic_load(&t->listeners[i].id) != 0 && t->listeners[i].fd == fd)
			return true;
	return false;
}

/* Workers make sockets and pipes; keepers make only other kinds, so theirs are never touched. */
static void sweep(struct trio *t)
{
	for (int fd = 3; fd < (int)t->table_size; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0)
			continue;
		if ((S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode)) && !recorded(t, fd))
			close(fd);
	}
}

void recover_end_rows(struct trio *t, void (*told)(void *arg, uint32_t row), void *arg)
{
	for (uint32_t i = 0; i < t->n_rows; i++) {
		struct row *row = trio_row(t, i);

		if (row->state == ROW_FREE)
			continue;
		if (row->state == ROW_HANDLER && row->fd[SECOND] >= 0)
			close(row->fd[SECOND]);
		told(arg, i);
		end_row(row);
	}
	atomic_store(&t->live, 0);
	sweep(t);
}
