/*
 * Who is behind a trio's door may answer at once, late, in part, wrongly, or not at all. All of them live in this process: whenever the
 * supervisor waits, those who are connected to do what the test says, and if nothing comes of it, the time passes for which is waited.
 */
#include "fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "children/adopt.h"
#include "ipc/wire.h"
#include "os/proc.h"
#include "os/sock.h"

#define DOORS       2
#define KEY         4711
#define PATIENCE_MS 5000
#define AGAIN_MS    200

static char what[40];
static struct trio *trios[DOORS];
static struct world *world;
static struct world_fds world_fds;
static int fds[DOORS][GREETING_FDS];
static struct greeting good[DOORS];
static struct orphans found_ones;
static int64_t begun_ms;
static int tcp; /* listens */

/* ---- behind the doors ---- */

#define CONNECTIONS_MAX 16

static void (*behind)(uint32_t door, int fd, int nth); /* the nth that connects there, from 1 on */
static int n_connected[DOORS], connections[CONNECTIONS_MAX];
static int n_connections;
static struct {
	int64_t at_ms; /* 0: nothing */
	uint32_t door;
	int fd;
	void (*fn)(uint32_t door, int fd);
} later;

static void open_doors(void)
{
	for (uint32_t i = 0; i < DOORS; i++)
		for (int fd; behind && (fd = sock_accept(fds[i][GREETING_DOOR], NULL)) >= 0;) {
			connections[n_connections++ % CONNECTIONS_MAX] = fd;
			behind(i, fd, ++n_connected[i]);
		}
}

static void do_later(void)
{
	if (later.at_ms == 0 || later.at_ms > now_ms)
		return;
	later.at_ms = 0;
	later.fn(later.door, later.fd);
}

int __real_poll(struct pollfd *p, nfds_t n, int ms);
int __wrap_poll(struct pollfd *p, nfds_t n, int ms);

int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
	int rc;

	open_doors();
	do_later();
	rc = __real_poll(p, n, 0);
	if (rc != 0 || ms <= 0)
		return rc;
	now_ms = later.at_ms && later.at_ms < now_ms + ms ? later.at_ms : now_ms + ms;
	do_later();
	return __real_poll(p, n, 0);
}

static void greet_with(uint32_t door, int fd, size_t len, size_t n_fds)
{
	assert_int_equal(sock_send_message(fd, &good[door], len, fds[door], n_fds), 0);
}

static void greet(uint32_t door, int fd)
{
	greet_with(door, fd, sizeof(good[door]), GREETING_FDS);
}

static void hang_up(int fd)
{
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		if (connections[i] == fd)
			connections[i] = -1;
	close(fd);
}

static int setup(void **state)
{
	static int n;
	const struct addr any = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	bool taken;

	fixture_begin_without_loop();
	snprintf(what, sizeof(what), "test_adopt_doors %d %d", getpid(), n++);
	assert_int_equal(world_new(&world, &world_fds), 0);
	for (uint32_t i = 0; i < DOORS; i++) {
		fds[i][GREETING_TRIO] = trio_new(i, 8, &trios[i]);
		fds[i][GREETING_WORLD] = world_fds.shared;
		fds[i][GREETING_SAID] = world_fds.said;
		fds[i][GREETING_WAKE] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		fds[i][GREETING_REARM] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		fds[i][GREETING_DOOR] = rendezvous_open(what, i, &taken);
		good[i] = (struct greeting){.magic = GREETING_MAGIC,
		                            .trio_version = TRIO_VERSION,
		                            .world_version = WORLD_VERSION,
		                            .trio_size = sizeof(struct trio),
		                            .world_size = sizeof(struct world),
		                            .row_size = sizeof(struct row),
		                            .cold_size = sizeof(struct row_cold),
		                            .number = i,
		                            .n_workers = 1,
		                            .next_id = 100 + i};
		n_connected[i] = 0;
	}
	tcp = sock_listen(&any, 5, false);
	n_connections = 0;
	memset(connections, -1, sizeof(connections));
	later.at_ms = 0;
	begun_ms = now_ms;
	return 0;
}

static void close_door(uint32_t i)
{
	close(fds[i][GREETING_DOOR]);
	fds[i][GREETING_DOOR] = -1;
}

static int teardown(void **state)
{
	adopt_drop(&found_ones);
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		if (connections[i] >= 0)
			close(connections[i]);
	for (uint32_t i = 0; i < DOORS; i++) {
		trio_unmap(trios[i]);
		close(fds[i][GREETING_TRIO]);
		close(fds[i][GREETING_WAKE]);
		close(fds[i][GREETING_REARM]);
		if (fds[i][GREETING_DOOR] >= 0)
			close_door(i);
	}
	world_unmap(world);
	close(world_fds.said);
	close(world_fds.shared);
	close(tcp);
	fixture_end_without_loop();
	return 0;
}

/* Only the second door is there, and behind it is this one. */
static enum adopt_result find_behind(void (*fn)(uint32_t door, int fd, int nth))
{
	if (fds[0][GREETING_DOOR] >= 0)
		close_door(0);
	behind = fn;
	return adopt_find(what, KEY, &found_ones);
}

/* ---- in time, and not ---- */

static void at_once(uint32_t door, int fd, int nth)
{
	greet(door, fd);
}

static void test_one_that_answers_is_found_at_once(void **state)
{
	assert_int_equal(find_behind(at_once), ADOPT_FOUND);
	assert_int_equal(now_ms, begun_ms);
	assert_int_equal(found_ones.n, 1);
	assert_int_equal(found_ones.list[0].number, 1);
	assert_int_equal(found_ones.list[0].next_id, 101);
	assert_non_null(found_ones.list[0].trio);
	assert_non_null(found_ones.world);
}

static void test_all_doors_are_looked_at(void **state)
{
	behind = at_once;
	assert_int_equal(adopt_find(what, KEY, &found_ones), ADOPT_FOUND);
	assert_int_equal(found_ones.n, DOORS);
	assert_int_equal(found_ones.n_workers, DOORS);
	assert_int_not_equal(found_ones.list[0].number, found_ones.list[1].number);
	assert_ptr_not_equal(found_ones.list[0].trio, found_ones.list[1].trio);
}

static void test_where_there_is_no_door_nobody_waits(void **state)
{
	close_door(1);
	assert_int_equal(find_behind(at_once), ADOPT_NONE);
	assert_int_equal(now_ms, begun_ms);
	assert_int_equal(found_ones.n, 0);
}

static void never(uint32_t door, int fd, int nth)
{
	(void)door;
}

static void test_one_that_says_nothing_is_named(void **state)
{
	char c;

	assert_int_equal(find_behind(never), ADOPT_SILENT);
	assert_int_equal(found_ones.silent, 1);
	assert_false(found_ones.full);
	assert_int_equal(now_ms, begun_ms + PATIENCE_MS);
	assert_int_equal(sock_recv(connections[0], &c, 1, 0), 0); /* it is let go */
}

static void in_the_last_moment(uint32_t door, int fd, int nth)
{
	later.at_ms = begun_ms + PATIENCE_MS - 1;
	later.door = door;
	later.fd = fd;
	later.fn = greet;
}

static void test_one_that_is_late_is_found(void **state)
{
	assert_int_equal(find_behind(in_the_last_moment), ADOPT_FOUND);
	assert_int_equal(now_ms, begun_ms + PATIENCE_MS - 1);
}

/* ---- deaths in between ---- */

static void hangs_up_first(uint32_t door, int fd, int nth)
{
	if (nth == 1)
		hang_up(fd);
	else
		greet(door, fd);
}

static void test_the_next_worker_opens_the_door_again(void **state)
{
	assert_int_equal(find_behind(hangs_up_first), ADOPT_FOUND);
	assert_int_equal(n_connected[1], 2);
	assert_int_equal(found_ones.n, 1);
}

static void greet_with_listener(uint32_t door, int fd)
{
	struct wire w = {.type = WIRE_LISTEN, .n = 1, .ids = {7}};

	good[door].n_listeners = 1;
	greet(door, fd);
	assert_int_equal(sock_send_message(fd, &w, sizeof(w), &tcp, 1), 0);
}

static void dies_before_its_listeners(uint32_t door, int fd, int nth)
{
	if (nth > 1) {
		greet_with_listener(door, fd);
		return;
	}
	good[door].n_listeners = 1;
	greet(door, fd);
	hang_up(fd);
}

static void test_one_that_dies_in_the_middle_is_asked_once_more(void **state)
{
	assert_int_equal(find_behind(dies_before_its_listeners), ADOPT_FOUND);
	assert_int_equal(n_connected[1], 2);
	assert_int_equal(found_ones.n, 1);
	assert_int_equal(found_ones.sockets.n, 1);
}

/* Whoever is honest is found nevertheless. */
static void keeps_its_listeners(uint32_t door, int fd, int nth)
{
	good[0].n_listeners = 1;
	greet(door, fd);
}

static void test_one_that_keeps_back_what_it_owes_keeps_nobody_else(void **state)
{
	behind = keeps_its_listeners;
	assert_int_equal(adopt_find(what, KEY, &found_ones), ADOPT_SILENT);
	assert_int_equal(found_ones.silent, 0);
	assert_int_equal(found_ones.n, 1);
	assert_int_equal(found_ones.list[0].number, 1);
	assert_int_equal(now_ms, begun_ms + PATIENCE_MS);
}

/* ---- listeners ---- */

static struct wire bad_message;
static size_t bad_len, bad_n_fds;

static void lists_badly_first(uint32_t door, int fd, int nth)
{
	int list[] = {tcp, tcp};

	if (nth > 1) {
		greet_with_listener(door, fd);
		return;
	}
	good[door].n_listeners = 1;
	greet(door, fd);
	assert_int_equal(sock_send_message(fd, &bad_message, bad_len, list, bad_n_fds), 0);
}

static void test_listeners_that_are_told_wrongly_are_not_taken(void **state)
{
	static const struct {
		uint32_t type, n;
		size_t len, n_fds;
	} all[] = {
	        {WIRE_LISTEN, 1, sizeof(struct wire), 0},
	        {WIRE_LISTEN, 1, sizeof(struct wire), 2},
	        {WIRE_LISTEN, 0, sizeof(struct wire), 0},
	        {WIRE_LISTEN, 2, sizeof(struct wire), 2},
	        {WIRE_UNLISTEN, 1, sizeof(struct wire), 1},
	        {WIRE_LISTEN, 1, sizeof(struct wire) - 1, 1},
	        {WIRE_LISTEN, 1, 1, 1},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		bad_message = (struct wire){.type = all[i].type, .n = all[i].n, .ids = {9, 10}};
		bad_len = all[i].len;
		bad_n_fds = all[i].n_fds;
		n_connected[1] = 0;
		assert_int_equal(find_behind(lists_badly_first), ADOPT_FOUND);
		assert_int_equal(n_connected[1], 2);
		assert_int_equal(found_ones.sockets.n, 1);
		assert_int_equal(found_ones.sockets.list[0].id, 7);
		assert_int_equal(now_ms, begun_ms);
		adopt_drop(&found_ones);
	}
}

static void each_with_its_listener(uint32_t door, int fd, int nth)
{
	greet_with_listener(door, fd);
}

static void test_what_both_serve_is_one_listener(void **state)
{
	behind = each_with_its_listener;
	assert_int_equal(adopt_find(what, KEY, &found_ones), ADOPT_FOUND);
	assert_int_equal(found_ones.n, 2);
	assert_int_equal(found_ones.sockets.n, 1);
	assert_int_equal(found_ones.sockets.last_id, 7);
}

/* ---- other versions, and strangers ---- */

static size_t greeting_len, greeting_fds;

static void as_said(uint32_t door, int fd, int nth)
{
	greet_with(door, fd, greeting_len, greeting_fds);
}

static void test_one_of_the_first_versions_has_no_number_of_records(void **state)
{
	greeting_len = offsetof(struct greeting, next_id);
	greeting_fds = GREETING_FDS_1;
	good[1].trio_version--;
	assert_int_equal(find_behind(as_said), ADOPT_INCOMPATIBLE);
	assert_int_equal(found_ones.list[0].next_id, 0);
	assert_int_equal(found_ones.list[0].fds[GREETING_SAID], -1);
	assert_null(found_ones.list[0].trio);
	assert_null(found_ones.world);
}

static void test_each_size_tells_of_another_layout(void **state)
{
	uint32_t *all[] = {&good[1].trio_version, &good[1].world_version, &good[1].trio_size,
	                   &good[1].world_size,   &good[1].row_size,      &good[1].cold_size};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		++*all[i];
		assert_int_equal(find_behind(at_once), ADOPT_INCOMPATIBLE);
		assert_null(found_ones.list[0].trio);
		--*all[i];
		adopt_drop(&found_ones);
	}
}

static void test_one_that_speaks_otherwise_is_not_known(void **state)
{
	greeting_len = offsetof(struct greeting, next_id) - 1;
	greeting_fds = GREETING_FDS;
	assert_int_equal(find_behind(as_said), ADOPT_UNKNOWN);
	adopt_drop(&found_ones);
	greeting_len = sizeof(struct greeting);
	good[1].magic++;
	assert_int_equal(find_behind(as_said), ADOPT_UNKNOWN);
	assert_int_equal(found_ones.n, 0);
	assert_int_equal(now_ms, begun_ms);
}

static void test_one_that_does_not_bring_all_descriptors_is_none(void **state)
{
	greeting_len = sizeof(struct greeting);
	for (greeting_fds = 0; greeting_fds < GREETING_FDS; greeting_fds++) {
		/* of this layout there is no world without what the supervisor has said */
		assert_int_equal(find_behind(as_said), ADOPT_NONE);
		assert_int_equal(found_ones.n, 0);
		adopt_drop(&found_ones);
	}
}

static void test_one_that_has_a_supervisor_is_left_alone(void **state)
{
	good[1].supervised = 1;
	assert_int_equal(find_behind(at_once), ADOPT_NONE);
	assert_int_equal(found_ones.n, 0);
	assert_int_equal(n_connected[1], 1);
}

/* ---- who are you? ---- */

static int n_asked;

static void ask(int fd)
{
	const struct challenge c = {.magic = CHALLENGE_MAGIC};

	n_asked++;
	assert_int_equal(sock_send_message(fd, &c, sizeof(c), &tcp, 1), 0);
}

static void greet_if_known(uint32_t door, int fd)
{
	struct wire w;

	assert_int_equal(sock_recv_message(fd, &w, sizeof(w), NULL, NULL), sizeof(w));
	assert_int_equal(w.type, WIRE_KEY);
	assert_int_equal(w.key, KEY);
	greet(door, fd);
}

static void asks_first(uint32_t door, int fd, int nth)
{
	ask(fd);
	later.at_ms = now_ms + 1;
	later.door = door;
	later.fd = fd;
	later.fn = greet_if_known;
}

static void test_one_that_asks_is_told_the_key(void **state)
{
	assert_int_equal(find_behind(asks_first), ADOPT_FOUND);
	assert_int_equal(found_ones.n, 1);
}

static void asks_and_asks(uint32_t door, int fd, int nth)
{
	ask(fd);
	ask(fd);
}

static void test_nobody_asks_twice(void **state)
{
	assert_int_equal(find_behind(asks_and_asks), ADOPT_UNKNOWN);
	assert_int_equal(found_ones.n, 0);
}

/* ---- several doors of one trio ---- */

static int other_door;

static void only_behind_the_other(uint32_t door, int fd, int nth)
{
	if (fds[1][GREETING_DOOR] == other_door)
		greet(door, fd);
}

/* Somebody has taken the usual name, and says nothing there. */
static void test_a_stranger_at_the_usual_name_keeps_nobody(void **state)
{
	int strangers = fds[1][GREETING_DOOR];
	bool taken;

	other_door = rendezvous_open(what, 1, &taken);
	assert_true(other_door >= 0 && taken);
	fds[1][GREETING_DOOR] = other_door;
	assert_int_equal(find_behind(only_behind_the_other), ADOPT_FOUND);
	assert_int_equal(found_ones.n, 1);
	close(strangers);
}

static int crowd[200], n_crowd;

/* Nobody can connect any more to the second door's usual name. */
static void gather(void)
{
	struct rendezvous_name *names;

	assert_true(rendezvous_names(what, DOORS, &names) >= DOORS);
	n_crowd = 0;
	while (n_crowd < 200 && (crowd[n_crowd] = rendezvous_connect(&names[1], geteuid())) >= 0)
		n_crowd++;
	assert_int_equal(crowd[n_crowd], -EAGAIN);
	free(names);
}

static void scatter(void)
{
	while (n_crowd > 0)
		close(crowd[--n_crowd]);
}

static void test_where_there_is_no_room_it_is_tried_until_time_is_over(void **state)
{
	gather();
	assert_int_equal(find_behind(NULL), ADOPT_NONE);
	assert_true(found_ones.full);
	assert_int_equal(now_ms, begun_ms + PATIENCE_MS);
	scatter();
}

static void test_where_there_is_no_room_at_a_stranger_s_nobody_waits(void **state)
{
	int strangers = fds[1][GREETING_DOOR];
	bool taken;

	gather();
	other_door = rendezvous_open(what, 1, &taken);
	assert_true(other_door >= 0 && taken);
	fds[1][GREETING_DOOR] = other_door;
	assert_int_equal(find_behind(only_behind_the_other), ADOPT_FOUND);
	assert_int_equal(found_ones.n, 1);
	assert_false(found_ones.full);
	assert_true(now_ms < begun_ms + PATIENCE_MS);
	scatter();
	close(strangers);
}

/* ---- one that was found, once more ---- */

static void test_the_same_once_more(void **state)
{
	int fd;
	char c;

	behind = at_once;
	fd = adopt_again(what, KEY, 1);
	assert_true(fd >= 0);
	assert_int_equal(n_connected[0], 0); /* the others are not asked */
	assert_int_equal(n_connected[1], 1);
	assert_int_equal(sock_recv(connections[0], &c, 1, 0), -EAGAIN);
	close(fd);
	good[1].row_size++;
	fd = adopt_again(what, KEY, 1);
	assert_true(fd >= 0);
	close(fd);
}

static void test_one_that_does_not_answer_then_is_not_waited_for_long(void **state)
{
	behind = never;
	assert_int_equal(adopt_again(what, KEY, 1), -EAGAIN);
	assert_int_equal(now_ms, begun_ms + AGAIN_MS);
	close_door(1);
	assert_int_equal(adopt_again(what, KEY, 1), -EAGAIN);
	assert_int_equal(now_ms, begun_ms + AGAIN_MS);
}

/* ---- taking ---- */

static void test_it_is_told_whose_it_is(void **state)
{
	int pair[2], pidfd;
	struct wire w;
	size_t n = 1;

	assert_int_equal(sock_message_pair(pair), 0);
	assert_int_equal(adopt_take_one(pair[0]), 0);
	assert_int_equal(sock_recv_message(pair[1], &w, sizeof(w), &pidfd, &n), sizeof(w));
	assert_int_equal(w.type, WIRE_ADOPT);
	assert_int_equal(n, 1);
	assert_false(proc_pidfd_dead(pidfd));
	close(pidfd);
	close(pair[1]);
	assert_int_equal(adopt_take_one(pair[0]), 0); /* that it is gone is seen by who watches it */
	close(pair[0]);
	leave_room(0);
	assert_int_equal(adopt_take_one(-1), -EMFILE);
}

static void test_without_their_memory_they_can_only_be_retired(void **state)
{
	assert_int_equal(find_behind(at_once), ADOPT_FOUND);
	adopt_forget_memory(&found_ones);
	assert_null(found_ones.list[0].trio);
	assert_null(found_ones.world);
	assert_int_equal(found_ones.n, 1);
	assert_true(found_ones.list[0].control_fd >= 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(one_that_answers_is_found_at_once),
	        TEST(all_doors_are_looked_at),
	        TEST(where_there_is_no_door_nobody_waits),
	        TEST(one_that_says_nothing_is_named),
	        TEST(one_that_is_late_is_found),
	        TEST(the_next_worker_opens_the_door_again),
	        TEST(one_that_dies_in_the_middle_is_asked_once_more),
	        TEST(one_that_keeps_back_what_it_owes_keeps_nobody_else),
	        TEST(listeners_that_are_told_wrongly_are_not_taken),
	        TEST(what_both_serve_is_one_listener),
	        TEST(one_of_the_first_versions_has_no_number_of_records),
	        TEST(each_size_tells_of_another_layout),
	        TEST(one_that_speaks_otherwise_is_not_known),
	        TEST(one_that_does_not_bring_all_descriptors_is_none),
	        TEST(one_that_has_a_supervisor_is_left_alone),
	        TEST(one_that_asks_is_told_the_key),
	        TEST(nobody_asks_twice),
	        TEST(a_stranger_at_the_usual_name_keeps_nobody),
	        TEST(where_there_is_no_room_it_is_tried_until_time_is_over),
	        TEST(where_there_is_no_room_at_a_stranger_s_nobody_waits),
	        TEST(the_same_once_more),
	        TEST(one_that_does_not_answer_then_is_not_waited_for_long),
	        TEST(it_is_told_whose_it_is),
	        TEST(without_their_memory_they_can_only_be_retired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
