/* What a dead worker left in the descriptor table, and how far its streams got. Each in a child,
 * whose table is its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../child.h"
#include "os/pipe.h"
#include "os/proc.h"
#include "os/sock.h"
#include "takeover/position.h"
#include "takeover/recover.h"

static struct trio *new_table(void)
{
	struct trio *t = trio_new_private(8);

	EXPECT(t);
	t->table_size = 256;
	t->rows_used = t->n_rows;
	for (uint32_t i = 0; i < t->n_rows; i++) {
		struct row *row = trio_row(t, i);

		for (int n = 0; n < 3; n++)
			row->fd[n] = -1;
		for (int n = 0; n < 2; n++)
			row->flow[n].pipe_read = row->flow[n].pipe_write = -1;
	}
	return t;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int adopted[8], n_adopted;
static struct trio *alarmed;

static void adopt(void *arg, int fd)
{
	adopted[n_adopted++] = fd;
}

static int listen_here(struct addr *ret)
{
	int fd;

	EXPECT(addr_parse("127.0.0.1", ret));
	fd = sock_listen(ret, 5, false);
	EXPECT(fd >= 0 && sock_local(fd, ret) == 0);
	return fd;
}

/* accepted: the end that a listener gave; the other one called. */
static void connect_pair(int listener, const struct addr *a, int *accepted, int *caller)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};

	*caller = sock_new_tcp(AF_INET);
	EXPECT(sock_connect(*caller, a) == -EINPROGRESS);
	EXPECT(poll(&p, 1, 5000) == 1);
	*accepted = sock_accept(listener, NULL);
	EXPECT(*accepted >= 0);
}

static void keeps_what_is_recorded(void)
{
	struct trio *t = new_table();
	struct row *row = trio_row(t, 3);
	struct addr a;
	int pipe_ends[2], listener = listen_here(&a), control[2], other, fd;

	t->listeners_used = 8;
	atomic_store(&t->listeners[7].id, 5);
	t->listeners[7].fd = listener;
	EXPECT(sock_message_pair(control) == 0);
	t->control_fd = control[0];
	t->spawner_fd = control[1];
	connect_pair(listener, &a, &row->fd[CLIENT], &row->fd[SERVER]);
	row->fd[SECOND] = sock_new_tcp(AF_INET);
	EXPECT(pipe_new(pipe_ends, 0) == 0);
	row->flow[SERVER].pipe_read = pipe_ends[0];
	row->flow[SERVER].pipe_write = pipe_ends[1];
	row->state = ROW_RELAY;
	t->wake_fd = other = eventfd(0, EFD_CLOEXEC);
	recover_descriptors(t, adopt, NULL);
	EXPECT(n_adopted == 0);
	EXPECT(is_open(listener) && is_open(control[0]) && is_open(control[1]) && is_open(other));
	for (int i = 0; i < 3; i++)
		EXPECT(is_open(row->fd[i]));
	EXPECT(is_open(pipe_ends[0]) && is_open(pipe_ends[1]));
	/* a row that is free knows nothing */
	fd = row->fd[SECOND];
	row->state = ROW_FREE;
	recover_descriptors(t, adopt, NULL);
	EXPECT(!is_open(fd) && !is_open(pipe_ends[0]) && !is_open(pipe_ends[1]));
	EXPECT(is_open(listener) && is_open(control[0]));
}

static void recorded_descriptors_stay(void **state)
{
	in_child(keeps_what_is_recorded);
}

static void sweeps_the_rest(void)
{
	struct trio *t = new_table();
	struct addr a;
	int listener = listen_here(&a), ends[2], half[2], unix_fd, unconnected, far, memfd;

	EXPECT(pipe_new(ends, 0) == 0 && pipe_new(half, 0) == 0);
	unix_fd = sock_new_unix();
	unconnected = sock_new_tcp(AF_INET);
	memfd = memfd_create("test", MFD_CLOEXEC);
	far = fcntl(unconnected, F_DUPFD_CLOEXEC, 250);
	/* one end of a pipe without the other is of no use */
	trio_row(t, 0)->state = ROW_RELAY;
	trio_row(t, 0)->flow[CLIENT].pipe_write = half[1];
	recover_descriptors(t, adopt, NULL);
	EXPECT(!is_open(ends[0]) && !is_open(ends[1]) && !is_open(half[0]) && !is_open(half[1]));
	EXPECT(trio_row(t, 0)->flow[CLIENT].pipe_write < 0); /* the number is free, and soon somebody else's */
	EXPECT(!is_open(unix_fd) && !is_open(unconnected) && !is_open(far));
	EXPECT(!is_open(listener)); /* nobody has recorded it */
	EXPECT(!is_open(memfd) && is_open(2));
	EXPECT(n_adopted == 0);
}

static void unknown_sockets_and_pipes_are_closed(void **state)
{
	in_child(sweeps_the_rest);
}

static void on_alarm(int sig)
{
	(void)sig;
	atomic_fetch_add(&alarmed->changes[MEMBER_KEEPER1], 1); /* the keeper is done */
}

/* While a keeper is between opening a pidfd and recording it, nobody can tell whose that is. */
static void leaves_what_a_keeper_is_opening(void)
{
	const struct itimerval soon = {.it_value.tv_usec = 700};
	struct trio *t = alarmed = new_table();
	int recorded = proc_pidfd(getpid()), lost = proc_pidfd(getpid());

	EXPECT(recorded >= 0 && lost >= 0);
	t->member_pidfds[MEMBER_KEEPER1][MEMBER_WORKER] = recorded;
	atomic_store(&t->changes[MEMBER_KEEPER1], 3);
	recover_descriptors(t, adopt, NULL);
	EXPECT(is_open(recorded) && is_open(lost));
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
	recover_descriptors(t, adopt, NULL);
	EXPECT(is_open(recorded) && !is_open(lost));
}

static void a_pidfd_that_nobody_has_recorded_is_closed(void **state)
{
	in_child(leaves_what_a_keeper_is_opening);
}

/* Accepted, and not yet in a row when its worker died: a client all the same. */
static void finds_an_accepted_client(void)
{
	struct trio *t = new_table();
	struct addr a, b;
	int listener = listen_here(&a), foreign = listen_here(&b);
	int client, caller, stranger, its_caller;

	t->listeners_used = 1;
	atomic_store(&t->listeners[0].id, 1);
	t->listeners[0].fd = listener;
	connect_pair(listener, &a, &client, &caller);
	connect_pair(foreign, &b, &stranger, &its_caller);
	recover_descriptors(t, adopt, NULL);
	EXPECT(n_adopted == 1 && adopted[0] == client && is_open(client));
	EXPECT(!is_open(stranger) && !is_open(caller) && !is_open(its_caller));
}

static void a_client_without_a_row_is_adopted(void **state)
{
	in_child(finds_an_accepted_client);
}

static void knows_sockets_by_cookies(void)
{
	struct row row = {.fd = {-1, -1, -1}};
	struct addr a;
	int listener = listen_here(&a), caller, fd, ends[2];

	EXPECT(!recover_is_ours(&row, CLIENT));
	connect_pair(listener, &a, &row.fd[CLIENT], &caller);
	EXPECT(recover_is_ours(&row, CLIENT)); /* no cookie was noted: any such socket */
	fd = row.fd[CLIENT];
	row.fd[CLIENT] = listener;
	EXPECT(!recover_is_ours(&row, CLIENT));
	EXPECT(pipe_new(ends, 0) == 0);
	row.fd[CLIENT] = ends[0];
	EXPECT(!recover_is_ours(&row, CLIENT));
	row.fd[CLIENT] = fd;
	row.cookie[CLIENT] = sock_cookie(row.fd[CLIENT]);
	EXPECT(recover_is_ours(&row, CLIENT));
	/* the number serves another socket now */
	fd = row.fd[CLIENT];
	close(fd);
	EXPECT(!recover_is_ours(&row, CLIENT));
	EXPECT(dup2(caller, fd) == fd);
	EXPECT(!recover_is_ours(&row, CLIENT));
}

static void a_number_that_was_used_again(void **state)
{
	in_child(knows_sockets_by_cookies);
}

/* ---- position ---- */

static int near, far;

static void open_near(bool caller)
{
	struct addr a;
	int listener = listen_here(&a);

	if (caller)
		connect_pair(listener, &a, &far, &near);
	else
		connect_pair(listener, &a, &near, &far);
	close(listener);
}

static void wait_until_unread(int fd, int n)
{
	while (sock_unread(fd) < n)
		;
}

static void counts(bool caller)
{
	struct position at;
	char buf[100];

	open_near(caller);
	EXPECT(position_ask(near, caller, false, &at) == 0);
	EXPECT(at.consumed == 0 && at.written == 0 && !at.fin && !at.closed);
	EXPECT(send(far, buf, 100, 0) == 100);
	wait_until_unread(near, 100);
	EXPECT(recv(near, buf, 30, 0) == 30);
	EXPECT(send(near, buf, 55, 0) == 55);
	EXPECT(position_ask(near, caller, false, &at) == 0);
	EXPECT(at.consumed == 30 && at.written == 55);
	while (sock_unsent(near) > 0)
		;
	EXPECT(position_ask(near, caller, false, &at) == 0);
	EXPECT(at.consumed == 30 && at.written == 55); /* acknowledged or not */
	shutdown(far, SHUT_WR);
	do
		EXPECT(position_ask(near, caller, false, &at) == 0);
	while (!at.fin);
	EXPECT(at.consumed == 30 && !at.closed); /* a FIN is no byte */
	shutdown(near, SHUT_WR);
	EXPECT(position_ask(near, caller, false, &at) == 0);
	EXPECT(at.written == 55 || at.closed); /* neither is ours */
	EXPECT(at.fin && at.consumed == 30);
}

static void counts_of_an_accepted_one(void)
{
	counts(false);
}

static void counts_of_a_caller(void)
{
	counts(true);
}

static void positions(void **state)
{
	in_child(counts_of_an_accepted_one);
	in_child(counts_of_a_caller);
}

static void tells_resets_from_fins(void)
{
	struct position at;
	struct pollfd p;
	char buf[10];

	/* a reset, with data before it */
	open_near(false);
	EXPECT(!position_error_pending(near));
	EXPECT(send(far, buf, 10, 0) == 10);
	wait_until_unread(near, 10);
	sock_reset_on_close(far);
	close(far);
	p = (struct pollfd){.fd = near};
	EXPECT(poll(&p, 1, 5000) == 1);
	EXPECT(position_error_pending(near));
	EXPECT(position_ask(near, false, true, &at) == 0);
	EXPECT(at.closed && !at.fin && at.consumed == 0);
	EXPECT(recv(near, buf, 10, 0) == 10); /* asking took nothing of the data */
	close(near);
	/* both FINs, all acknowledged: closed, too */
	open_near(false);
	shutdown(far, SHUT_WR);
	do
		EXPECT(position_ask(near, false, false, &at) == 0);
	while (!at.fin);
	shutdown(near, SHUT_WR);
	do
		EXPECT(position_ask(near, false, false, &at) == 0);
	while (!at.closed);
	EXPECT(at.fin && at.consumed == 0);
}

static void a_reset_is_not_a_fin(void **state)
{
	in_child(tells_resets_from_fins);
}

static void no_socket(void **state)
{
	struct position at;

	assert_true(position_ask(-1, false, false, &at) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(recorded_descriptors_stay),
	        cmocka_unit_test(unknown_sockets_and_pipes_are_closed),
	        cmocka_unit_test(a_pidfd_that_nobody_has_recorded_is_closed),
	        cmocka_unit_test(a_client_without_a_row_is_adopted),
	        cmocka_unit_test(a_number_that_was_used_again),
	        cmocka_unit_test(positions),
	        cmocka_unit_test(a_reset_is_not_a_fin),
	        cmocka_unit_test(no_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
