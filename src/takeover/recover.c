#include "takeover/recover.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/mem.h"
#include "os/proc.h"
#include "os/sock.h"

/* A gap of so many unused numbers behind the last one that is known ends the search: the kernel
 * always gives out the lowest, so what was made last stands in front of it. */
#define LONGEST_GAP 65536

struct known {
	uint8_t *bits;
	uint32_t size; /* in descriptors */
	uint32_t last;
};

static void note(struct known *k, int fd)
{
	if (fd < 0 || (uint32_t)fd >= k->size)
		return;
	k->bits[fd / 8] |= (uint8_t)(1 << fd % 8);
	if ((uint32_t)fd > k->last)
		k->last = (uint32_t)fd;
}

static bool is_known(const struct known *k, uint32_t fd)
{
	return k->bits[fd / 8] >> fd % 8 & 1;
}

static void note_row(struct known *k, const struct row *row)
{
	for (int i = 0; i < 3; i++)
		note(k, row->fd[i]);
	for (int i = 0; i < 2; i++) {
		/* half a pair is of no use: it is empty, and made anew */
		if (row->flow[i].pipe_read < 0 || row->flow[i].pipe_write < 0)
			continue;
		note(k, row->flow[i].pipe_read);
		note(k, row->flow[i].pipe_write);
	}
}

static void note_spare(struct known *k, struct copy_step *step)
{
	if (step->pipe_read < 0 || step->pipe_write < 0)
		step->pipe_read = step->pipe_write = -1;
	note(k, step->pipe_read);
	note(k, step->pipe_write);
}

static void note_all(struct known *k, struct trio *t)
{
	note_spare(k, &t->step);
	note(k, t->control_fd);
	note(k, t->spawner_fd);
	note(k, t->door_fd);
	note(k, t->link_fd);
	for (int i = 0; i < TRIO_LISTENERS; i++)
		if (atomic_load(&t->listeners[i].id) != 0)
			note(k, t->listeners[i].fd);
	for (uint32_t i = 0; i < t->rows_used; i++)
		if (trio_row(t, i)->state != ROW_FREE)
			note_row(k, trio_row(t, i));
}

/* A socket of ours that was dialled has a local port of the kernel's choice, or is in a row
 * already. */
static bool is_accepted_client(const struct trio *t, int fd)
{
	struct addr local, peer;

	if (sock_is_listening(fd) || sock_local(fd, &local) < 0 || sock_peer(fd, &peer) < 0)
		return false;
	for (int i = 0; i < TRIO_LISTENERS; i++) {
		struct addr a;

		if (atomic_load(&t->listeners[i].id) == 0 ||
		    sock_local(t->listeners[i].fd, &a) < 0 || a.port != local.port)
			continue;
		if (addr_is_wildcard(&a) || addr_same_host(&a, &local))
			return true;
	}
	return false;
}

static void settle(struct trio *t, int fd, struct known *clients)
{
	struct stat st;

	/* keepers make only other kinds, so theirs are never touched */
	if (fstat(fd, &st) < 0 || (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)))
		return;
	FAULT_POINT();
	if (S_ISSOCK(st.st_mode) && clients && is_accepted_client(t, fd))
		note(clients, fd);
	else
		close(fd);
}

static uint64_t unknown(const struct known *k, uint32_t from)
{
	uint64_t found = 0;

	for (uint32_t i = 0; i < 64; i++)
		if (from + i >= 3 && from + i < k->size && !is_known(k, from + i))
			found |= UINT64_C(1) << i;
	return found;
}

/* Closes what nobody knows; accepted clients are written down. */
static void sweep(struct trio *t, const struct known *k, struct known *clients)
{
	for (uint32_t from = 0; from < k->size && from < k->last + LONGEST_GAP; from += 64) {
		uint64_t open = proc_open_fds((int)from, unknown(k, from));

		for (int i = 0; i < 64; i++)
			if (open >> i & 1)
				settle(t, (int)from + i, clients);
	}
}

static void known_init(struct known *k, uint32_t size)
{
	*k = (struct known){.size = size, .bits = mem_alloc(size / 8 + 1)};
}

void recover_descriptors(struct trio *t, void (*adopt)(void *arg, int fd), void *arg)
{
	struct known known, clients;

	known_init(&known, t->table_size);
	known_init(&clients, t->table_size);
	note_all(&known, t);
	sweep(t, &known, adopt ? &clients : NULL);
	/* only now: who is served has descriptors opened */
	for (uint32_t fd = 3; fd <= clients.last; fd++)
		if (is_known(&clients, fd))
			adopt(arg, (int)fd);
	free(known.bits);
	free(clients.bits);
}

bool recover_is_ours(const struct row *row, enum side side)
{
	if (row->fd[side] < 0)
		return false;
	if (row->cookie[side] != 0)
		return sock_cookie(row->fd[side]) == row->cookie[side];
	/* A number is closed and still in its row only while the row is being ended; nobody makes a stream socket
	 * before such rows are looked at, and keepers make other kinds. */
	return sock_is_stream(row->fd[side]);
}
