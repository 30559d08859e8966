/* Greetings that lie: what the next supervisor takes over from a trio whose own is dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "children/adopt.h"
#include "ipc/wire.h"
#include "os/sock.h"

#define NUMBER 1

static char what[40];
static struct trio *trio;
static struct world *world;
static struct world_fds world_fds;
static int fds[GREETING_FDS], other_door;
static int said_door = -1; /* what is sent as the door; -1: it */
static struct greeting good;
static struct orphans found;

static int setup(void **state)
{
	static int n;
	bool taken;

	snprintf(what, sizeof(what), "test_adopt %d %d", getpid(), n++);
	assert_int_equal(world_new(&world, &world_fds), 0);
	fds[GREETING_TRIO] = trio_new(NUMBER, 8, &trio);
	fds[GREETING_WORLD] = world_fds.shared;
	fds[GREETING_SAID] = world_fds.said;
	fds[GREETING_WAKE] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[GREETING_REARM] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[GREETING_DOOR] = rendezvous_open(what, NUMBER, &taken);
	other_door = rendezvous_open("another", 0, &taken);
	assert_true(fds[GREETING_TRIO] >= 0 && fds[GREETING_DOOR] >= 0 && other_door >= 0);
	good = (struct greeting){.magic = GREETING_MAGIC,
	                         .trio_version = TRIO_VERSION,
	                         .world_version = WORLD_VERSION,
	                         .trio_size = sizeof(struct trio),
	                         .world_size = sizeof(struct world),
	                         .row_size = sizeof(struct row),
	                         .cold_size = sizeof(struct row_cold),
	                         .number = NUMBER,
	                         .n_workers = 2};
	return 0;
}

static int teardown(void **state)
{
	trio_unmap(trio);
	world_unmap(world);
	for (int i = 0; i < GREETING_FDS; i++)
		close(fds[i]);
	close(other_door);
	return 0;
}

/* Greets whoever knocks. */
static _Noreturn void behind_the_door(const struct wire *listeners, const int *listener_fds)
{
	int fd, listener = fds[GREETING_DOOR];

	alarm(20);
	if (said_door >= 0)
		fds[GREETING_DOOR] = said_door;
	for (;;) {
		while ((fd = sock_accept(listener, NULL)) < 0)
			usleep(1000);
		sock_send_message(fd, &good, sizeof(good), fds, GREETING_FDS);
		if (listeners)
			sock_send_message(fd, listeners, sizeof(*listeners), listener_fds, listeners->n);
	}
}

static enum adopt_result look(const struct wire *listeners, const int *listener_fds)
{
	enum adopt_result r;
	pid_t pid = fork();

	if (pid == 0)
		behind_the_door(listeners, listener_fds);
	r = adopt_find(what, 0, &found);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static void expect(enum adopt_result r)
{
	assert_int_equal(look(NULL, NULL), r);
	assert_int_equal(found.n, r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE);
	adopt_drop(&found);
}

static void one_that_says_the_truth(void **state)
{
	expect(ADOPT_FOUND);
	good.trio_version++;
	expect(ADOPT_INCOMPATIBLE);
}

static void the_number_is_that_of_the_door(void **state)
{
	good.number = NUMBER + 1;
	expect(ADOPT_NONE);
}

static void there_are_as_many_workers_as_are_found(void **state)
{
	good.n_workers = 0;
	assert_int_equal(look(NULL, NULL), ADOPT_FOUND);
	assert_int_equal(found.n_workers, NUMBER + 1);
	adopt_drop(&found);
	good.n_workers = UINT32_MAX;
	assert_int_equal(look(NULL, NULL), ADOPT_FOUND);
	assert_int_equal(found.n_workers, WORLD_WORKERS);
	adopt_drop(&found);
}

/* In the place of one of its descriptors it sends another. */
static void expect_refused(enum greeting_fd which, int fd)
{
	int before = fds[which];

	assert_true(fd >= 0);
	fds[which] = fd;
	expect(ADOPT_NONE);
	fds[which] = before;
	close(fd);
}

static void descriptors_are_what_they_should_be(void **state)
{
	int pair[2];

	expect_refused(GREETING_WAKE, open("/dev/null", O_RDWR | O_CLOEXEC));
	expect_refused(GREETING_WAKE, eventfd(0, EFD_CLOEXEC)); /* who reads would wait */
	assert_int_equal(sock_message_pair(pair), 0);
	expect_refused(GREETING_REARM, pair[0]);
	close(pair[1]);
	expect_refused(GREETING_SAID, memfd_create("any", MFD_CLOEXEC));
	said_door = other_door;
	expect(ADOPT_NONE);
	said_door = -1;
	expect(ADOPT_FOUND);
}

static void listeners_are_such_as_listen(void **state)
{
	struct wire w = {.type = WIRE_LISTEN, .n = 5, .ids = {0, 7, UINT32_MAX, 8, 9}};
	struct addr any = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	int listener = sock_listen(&any, 5, false), plain = sock_new_tcp(AF_INET);
	int list[] = {listener, listener, listener, plain, other_door};

	good.n_listeners = 5;
	assert_int_equal(look(&w, list), ADOPT_FOUND);
	assert_int_equal(found.sockets.n, 1);
	assert_int_equal(found.sockets.list[0].id, 7);
	assert_int_equal(found.sockets.last_id, 7);
	adopt_drop(&found);
	close(listener);
	close(plain);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(one_that_says_the_truth),
	        TEST(the_number_is_that_of_the_door),
	        TEST(there_are_as_many_workers_as_are_found),
	        TEST(descriptors_are_what_they_should_be),
	        TEST(listeners_are_such_as_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
