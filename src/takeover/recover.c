#include "takeover/recover.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/mem.h"
#include "os/proc.h"
#include "os/sock.h"

/* A gap of so many unused numbers after the last one that is known ends the search: the kernel
 * always gives out the lowest, so what was made last stands in front of it. */
#define LONGEST_GAP 65536

/* How often, and how long each time, it is waited for keepers that just open or close a pidfd. */
#define QUIET_TRIES   20
#define QUIET_WAIT_NS 100000
#define MOST_STRAYS   512 /* others are left to the next worker */

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

/* Half a pair is of no use: it is empty, and made anew. It is forgotten here, because it is closed here: its number may be
 * a connection's before this row is looked at. */
static void note_pipe(struct known *k, int32_t *read_end, int32_t *write_end)
{
	if (*read_end < 0 || *write_end < 0)
		*read_end = *write_end = -1;
	note(k, *read_end);
	note(k, *write_end);
}

static void note_row(struct known *k, struct row *row)
{
	for (int i = 0; i < 3; i++)
		note(k, row->fd[i]);
	for (int i = 0; i < 2; i++)
		note_pipe(k, &row->flow[i].pipe_read, &row->flow[i].pipe_write);
}

/* What every trio holds besides its connections. */
static void note_fixed(struct known *k, const struct trio *t)
{
	const int fds[] = {t->epfd,      t->config_fd, t->trio_fd,      t->world_fd, t->said_fd,  t->supervisor_fd,
	                   t->binary_fd, t->wake_fd,   t->link_peer_fd, t->rearm_fd, t->uring_fd, t->stick_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		note(k, fds[i]);
	for (uint32_t i = 0; i < t->blanks.n && i < BLANK_KINDS_MAX; i++)
		note(k, t->blanks.fds[i]);
	for (uint32_t i = 0; i < t->n_peers && i < TRIO_PEERS; i++) {
		note(k, t->peer_fds[i]);
		note(k, t->peer_rearm_fds[i]);
	}
}

static void note_all(struct known *k, struct trio *t)
{
	note_fixed(k, t);
	note_pipe(k, &t->step.pipe_read, &t->step.pipe_write);
	note(k, t->control_fd);
	note(k, t->spawner_fd);
	note(k, t->old_spawner_fd);
	note(k, t->door_fd);
	note(k, t->link_fd);
	for (int i = 0; i < TRIO_TAPS; i++)
		if (t->taps[i].number != 0) {
			note(k, t->taps[i].wake_fd);
			note(k, t->taps[i].ring_fd);
		}
	for (uint32_t i = 0; i < trio_listeners_used(t); i++)
		if (atomic_load(&t->listeners[i].id) != 0)
			note(k, t->listeners[i].fd);
	for (uint32_t i = 0; i < t->rows_used; i++)
		if (trio_row(t, i)->state != ROW_FREE)
			note_row(k, trio_row(t, i));
}

static const struct trio_listener *find_listener(const struct trio *t, int fd, bool exactly)
{
	for (uint32_t i = 0; i < trio_listeners_used(t); i++)
		if (atomic_load(&t->listeners[i].id) != 0 && sock_may_be_of(fd, t->listeners[i].fd, exactly))
			return &t->listeners[i];
	return NULL;
}

const struct trio_listener *recover_listener_of(const struct trio *t, int fd)
{
	const struct trio_listener *l;

	if (sock_is_listening(fd) || sock_peer(fd, NULL) < 0)
		return NULL;
	l = find_listener(t, fd, true);
	return l ? l : find_listener(t, fd, false);
}

/* A socket of ours that was dialled has a local port of the kernel's choice, or is in a row
 * already. */
static bool is_accepted_client(const struct trio *t, int fd)
{
	return recover_listener_of(t, fd) != NULL;
}

/* Of other kinds than sockets and pipes: those that may be recorded nowhere. */
struct strays {
	int fd[MOST_STRAYS];
	size_t n;
};

static void settle(struct trio *t, int fd, struct known *clients, struct strays *strays)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	/* keepers make only other kinds, so theirs are never touched here */
	if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) {
		if (strays->n < MOST_STRAYS)
			strays->fd[strays->n++] = fd;
		return;
	}
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

/* Closes what is recorded nowhere; accepted clients are written down. */
static void sweep(struct trio *t, const struct known *k, struct known *clients, struct strays *strays)
{
	for (uint32_t from = 0; from < k->size && from < k->last + LONGEST_GAP; from += 64) {
		uint64_t open = proc_open_fds((int)from, unknown(k, from));

		for (int i = 0; i < 64; i++)
			if (open >> i & 1)
				settle(t, (int)from + i, clients, strays);
	}
}

/* No member opens or closes a pidfd now. */
static bool quiet(struct trio *t, unsigned changes[MEMBERS])
{
	bool even = true;

	for (int m = 0; m < MEMBERS; m++) {
		changes[m] = atomic_load(&t->changes[m]);
		even = even && changes[m] % 2 == 0;
	}
	return even;
}

/* The pidfds of the keepers come and go while we look. One that is open and not recorded, while no keeper is between
 * the two, belongs to none: its number cannot change hands any more. */
static void close_strays(struct trio *t, const struct strays *strays)
{
	const struct timespec wait = {.tv_nsec = QUIET_WAIT_NS};

	for (int tries = 0; strays->n > 0 && tries < QUIET_TRIES; tries++) {
		unsigned before[MEMBERS], after[MEMBERS];
		struct strays lost = {.n = 0};

		if (!quiet(t, before)) {
			nanosleep(&wait, NULL);
			continue;
		}
		for (size_t i = 0; i < strays->n; i++) {
			bool recorded = false;

			for (int m = 0; m < MEMBERS; m++)
				for (int n = 0; n < MEMBERS; n++)
					recorded = recorded || t->member_pidfds[m][n] == strays->fd[i];
			if (!recorded && fcntl(strays->fd[i], F_GETFD) >= 0)
				lost.fd[lost.n++] = strays->fd[i];
		}
		if (!quiet(t, after) || memcmp(before, after, sizeof(after)) != 0)
			continue;
		for (size_t i = 0; i < lost.n; i++) {
			FAULT_POINT();
			close(lost.fd[i]);
		}
		return;
	}
}

static void known_init(struct known *k, uint32_t size)
{
	*k = (struct known){.size = size, .bits = mem_alloc(size / 8 + 1)};
}

void recover_descriptors(struct trio *t, void (*adopt)(void *arg, int fd), void *arg)
{
	struct known known, clients;
	struct strays strays = {.n = 0};

	known_init(&known, t->table_size);
	known_init(&clients, t->table_size);
	note_all(&known, t);
	sweep(t, &known, adopt ? &clients : NULL, &strays);
	close_strays(t, &strays);
	/* only now: to serve a client opens descriptors */
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
	/* A number is closed and still in its row only while the row is being ended; no stream socket is made
	 * before such rows are looked at, and keepers make other kinds. */
	return sock_is_stream(row->fd[side]);
}

void recover_row(struct row *row)
{
	if (row->fd[SERVER] >= 0 && row->fd[SERVER] == row->fd[SECOND])
		row->fd[SECOND] = -1;
	for (enum side side = CLIENT; side <= SECOND; side++)
		if (!(side == SECOND && row->cookie[SECOND] == 0) && !recover_is_ours(row, side))
			row->fd[side] = -1;
}
