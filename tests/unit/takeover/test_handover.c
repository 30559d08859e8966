/* What two trios say to each other while connections move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/record.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "takeover/handover.h"

static struct handover_message sent, got;

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void relay_row(struct trio *t, uint32_t i, const int *sockets, const int *pipe)
{
	struct row *row = trio_row(t, i);
	struct row_cold *cold = trio_cold(t, i);

	*row = (struct row){.state = ROW_GIVING,
	                    .end = 3,
	                    .flags = ROWFLAG_KEEPALIVE_SET,
	                    .fd = {sockets[0], sockets[1], -1},
	                    .cookie = {11, 12},
	                    .active_ms = 13,
	                    .counted = {14, 15},
	                    .flow = {{.moved = 16, .flags = FLOW_EOF, .pipe_read = -1, .pipe_write = -1},
	                             {.moved = 17, .pipe_read = pipe[0], .pipe_write = pipe[1], .pipe_foreign = 1}}};
	*cold = (struct row_cold){.id = 21, .accepted_us = 22, .connected_us = 23, .base = {0, 24}, .timeout_ms = 25};
	cold->limit[LIMIT_SERVER] = 26;
	cold->client.port = 27;
}

static void a_row_goes_over_with_its_descriptors(void **state)
{
	struct trio *t = trio_new_private(8);
	struct row row;
	struct row_cold cold;
	int link[2], sockets[2], pipe[2], fds[HANDOVER_FDS], came[HANDOVER_BATCH * HANDOVER_FDS];
	size_t n, n_came;

	assert_int_equal(sock_message_pair(link), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	assert_int_equal(pipe2(pipe, O_NONBLOCK), 0);
	assert_int_equal(write(pipe[1], "parked", 6), 6);
	relay_row(t, 5, sockets, pipe);
	n = handover_pack(t, 5, &sent.entries[0], fds);
	assert_int_equal(n, 4);
	assert_int_equal(handover_fds(&sent.entries[0]), 4);
	assert_int_equal(handover_send(link[0], HANDOVER_ROWS, 7, &sent, 1, fds, n), 0);
	assert_int_equal(handover_recv(link[1], &got, came, &n_came), 1);
	assert_int_equal(got.head.type, HANDOVER_ROWS);
	assert_int_equal(got.head.serial, 7);
	assert_int_equal(got.head.n, 1);
	assert_int_equal(n_came, 4);
	memset(&row, 0, sizeof(row));
	memset(&cold, 0, sizeof(cold));
	handover_unpack(&got.entries[0], came, &row, &cold);
	assert_int_equal(row.fd[CLIENT], came[0]);
	assert_int_equal(row.fd[SERVER], came[1]);
	assert_int_equal(row.flow[CLIENT].pipe_read, -1);
	assert_int_equal(row.flow[SERVER].pipe_read, came[2]);
	assert_int_equal(pipe_filled(row.flow[SERVER].pipe_read), 6);
	assert_int_equal(row.flow[SERVER].pipe_foreign, 1);
	assert_int_equal(row.flow[CLIENT].flags, FLOW_EOF);
	assert_memory_equal(row.cookie, trio_row(t, 5)->cookie, sizeof(row.cookie));
	assert_memory_equal(row.counted, trio_row(t, 5)->counted, sizeof(row.counted));
	assert_int_equal(row.end, 3);
	assert_int_equal(cold.id, 21);
	assert_int_equal(cold.connected_us, 23);
	assert_memory_equal(cold.base, trio_cold(t, 5)->base, sizeof(cold.base));
	assert_memory_equal(cold.limit, trio_cold(t, 5)->limit, sizeof(cold.limit));
	assert_int_equal(cold.client.port, 27);
}

/* A later version may add fields, an earlier one lacks some. */
static void entries_of_another_size_are_fitted(void **state)
{
	static struct {
		struct handover_head head;
		char entries[2][sizeof(struct handover_entry) + 40];
	} longer;
	static struct {
		struct handover_head head;
		char entries[2][32];
	} shorter;
	struct handover_entry entry = {.number = 5, .source = 6, .id = 7};
	int link[2], fds[HANDOVER_BATCH * HANDOVER_FDS];
	size_t n;

	assert_int_equal(sock_message_pair(link), 0);
	longer.head = (struct handover_head){.type = HANDOVER_ROWS, .n = 2, .entry_size = sizeof(longer.entries[0])};
	shorter.head = (struct handover_head){.type = HANDOVER_ROWS, .n = 2, .entry_size = sizeof(shorter.entries[0])};
	memset(longer.entries, 0xee, sizeof(longer.entries));
	memcpy(longer.entries[1], &entry, sizeof(entry));
	memcpy(shorter.entries[1], &entry, sizeof(shorter.entries[1]));
	memset(&got, 0xff, sizeof(got));
	sock_send_message(link[0], &longer, sizeof(longer), NULL, 0);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), 1);
	assert_memory_equal(&got.entries[1], &entry, sizeof(entry));
	sock_send_message(link[0], &shorter, sizeof(shorter), NULL, 0);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), 1);
	assert_int_equal(got.entries[1].number, 5);
	assert_int_equal(got.entries[1].source, 6);
	assert_int_equal(got.entries[1].id, 0);
}

static void what_is_no_message_leaves_no_descriptor(void **state)
{
	struct handover_head head = {.type = HANDOVER_ROWS, .n = 3, .entry_size = 100};
	int link[2], fds[HANDOVER_BATCH * HANDOVER_FDS], next;
	size_t n;

	assert_int_equal(sock_message_pair(link), 0);
	next = dup(0);
	close(next);
	sock_send_message(link[0], &head, sizeof(head), (int[]){0, 1}, 2);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), -EPROTO);
	assert_int_equal(n, 0);
	assert_false(is_open(next));
	sock_send_message(link[0], "x", 1, NULL, 0);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), -EPROTO);
	head = (struct handover_head){.n = 1u << 31, .entry_size = 2};
	sock_send_message(link[0], &head, sizeof(head), NULL, 0);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), -EPROTO);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), -EAGAIN);
	close(link[0]);
	assert_int_equal(handover_recv(link[1], &got, fds, &n), 0);
}

static void the_words_of_another_trio(void **state)
{
	struct trio *t;
	struct peer p;
	int fd = trio_new(3, 16, &t);

	assert_true(fd >= 0);
	assert_int_equal(peer_map(&p, fd), 0);
	assert_int_equal(peer_given(&p, 4), 0);
	atomic_store(&trio_moves(t)->rows[4].given, move_word(9, MOVE_MOVED));
	assert_int_equal(peer_given(&p, 4), move_word(9, MOVE_MOVED));
	trio_moves(t)->rows[5].source = 77;
	atomic_store(&trio_moves(t)->rows[5].taken, 10);
	assert_true(peer_has_taken(&p, 5, 77, 10));
	assert_false(peer_has_taken(&p, 5, 77, 11));
	assert_false(peer_has_taken(&p, 5, 78, 10));
	assert_int_equal(peer_given(&p, 16), 0);
	assert_false(peer_has_taken(&p, 16, 0, 0));
	peer_unmap(&p);
	peer_unmap(&p);
	assert_int_equal(peer_map(&p, 0), -EINVAL);
}

/* Another trio may say anything: what is counted with is such as can be. */
static void an_entry_that_lies(void **state)
{
	int ends[2], fds[HANDOVER_BATCH * HANDOVER_FDS];
	struct handover_entry *e = &sent.entries[0];
	size_t n_fds;

	assert_int_equal(sock_message_pair(ends), 0);
	memset(e, 0xff, sizeof(*e));
	e->active_ms = e->accepted_us = e->timeout_ms = e->access_interval_ms = e->keepalive_ms = INT64_MIN;
	e->connected_us = e->deadline_ms = e->half_close_timeout_ms = INT64_MAX;
	assert_int_equal(handover_send(ends[0], HANDOVER_ROWS, 1, &sent, 1, NULL, 0), 0);
	assert_int_equal(handover_recv(ends[1], &got, fds, &n_fds), 1);
	e = &got.entries[0];
	assert_true(e->end < END_COUNT);
	assert_true(e->flow[CLIENT].flags < 16 && e->flow[SERVER].flags < 16);
	assert_true(e->active_ms == 0 && e->accepted_us == 0 && e->timeout_ms == 0 && e->access_interval_ms == 0 &&
	            e->keepalive_ms == 0);
	assert_true(e->connected_us <= clock_mono_us() && e->deadline_ms < INT64_MAX / 2 &&
	            e->half_close_timeout_ms < INT64_MAX / 2);
	assert_true(strlen(e->name) < sizeof(e->name) && strlen(e->rule) < sizeof(e->rule));
	close(ends[0]);
	close(ends[1]);
}

/* What can become smaller would end whoever reads it. */
static void memory_that_may_shrink(void **state)
{
	int fd = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct trio head = {.magic = TRIO_MAGIC, .n_rows = 1, .moves_offset = 4096};
	struct peer p;

	assert_int_equal(write(fd, &head, TRIO_HEAD_SIZE), TRIO_HEAD_SIZE);
	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_int_equal(peer_map(&p, fd), -EINVAL);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(peer_map(&p, fd), 0);
	peer_unmap(&p);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_row_goes_over_with_its_descriptors),
	        cmocka_unit_test(entries_of_another_size_are_fitted),
	        cmocka_unit_test(what_is_no_message_leaves_no_descriptor),
	        cmocka_unit_test(the_words_of_another_trio),
	        cmocka_unit_test(memory_that_may_shrink),
	        cmocka_unit_test(an_entry_that_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
