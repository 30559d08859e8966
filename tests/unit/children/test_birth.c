/* A trio that is started: what it is born with, and when the next one comes. */
#include "fake_process.h"
#include "fake_workers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "os/sock.h"
#include "takeover/keeper.h"
#include "worker/worker.h"

#define RESPAWN_MS   500
#define MESSAGES_MAX 8

/* What the trio says of itself, beside what fixture.h looks at. */
static struct told_of {
	bool knows_its_life, reads_others, writes_others, writes_its_own;
	uint32_t n_messages, messages[MESSAGES_MAX], n_fds[MESSAGES_MAX];
} * told_of;

static struct socket_entry listener = {.id = 7};

_Noreturn void __wrap_trio_run(const struct trio_setup *setup);

static bool can_write(const struct trio *t, int fd)
{
	return mprotect((void *)t, 4096, PROT_READ | PROT_WRITE) == 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
}

static void look_at_memory(const struct trio *own)
{
	told_of->writes_its_own = can_write(own, own->trio_fd);
	for (uint32_t i = 0; i < own->n_peers; i++)
		if (i != own->number) {
			told_of->reads_others = workers.trios[i]->number == i;
			told_of->writes_others |= can_write(workers.trios[i], own->peer_fds[i]);
		}
}

/* Instead of its life: it writes down what it is told, until it is told to stop. */
_Noreturn void __wrap_trio_run(const struct trio_setup *setup)
{
	const struct worker_setup *w = setup->arg;
	int control_fd = setup->trio->control_fd;

	find();
	told_of->knows_its_life = setup->worker == worker_run && setup->forget == worker_forget &&
	                          w->trio == setup->trio && w->world == workers.world && w->trios == workers.trios &&
	                          w->n_trios == workers.n && w->rearm_fds == workers.rearm_fds &&
	                          setup->supervisor_pidfd == setup->trio->supervisor_fd;
	look_at_memory(setup->trio);
	fcntl(control_fd, F_SETFL, 0);
	for (;;) {
		int fds[SOCK_MAX_FDS];
		struct wire m;
		struct iovec iov = {&m, sizeof(m)};
		char control[CMSG_SPACE(sizeof(fds))];
		struct msghdr msg = {
		        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

		if (recvmsg(control_fd, &msg, 0) <= 0 || m.type == WIRE_STOP)
			_exit(0);
		told_of->n_fds[told_of->n_messages] =
		        CMSG_FIRSTHDR(&msg) ? (uint32_t)((CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0)) / sizeof(int))
		                            : 0;
		told_of->messages[told_of->n_messages] = m.type;
		told_of->n_messages++;
	}
}

static int setup(void **state)
{
	if (!told_of)
		told_of = mmap(NULL, sizeof(*told_of), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(told_of, 0, sizeof(*told_of));
	fixture_begin();
	fake_workers_begin();
	fake_process_reset();
	fork_really = true;
	listener.fd = any_fd();
	rules.listeners = (struct sockets){.list = &listener, .n = 1};
	return 0;
}

/* Those that were started end. */
static int teardown(void **state)
{
	for (uint32_t i = 0; i < workers.n; i++)
		if (workers.list[i].child.pid > 0 && workers.list[i].child.control.fd >= 0) {
			worker_send(&workers.list[i], &(struct wire){.type = WIRE_STOP}, NULL, 0);
			await(workers.list[i].child.pid);
		}
	rules.listeners.n = 0;
	close(listener.fd);
	fake_process_reset();
	fake_workers_end();
	fixture_end();
	return 0;
}

/* The second of two, the first of which is there already. */
static struct worker *start_second(void)
{
	assert_int_equal(fake_workers_find(2, 1), 0);
	TURN_UNTIL(told_of->n_messages == 2);
	read_all(theirs[0]);
	return &workers.list[1];
}

static void test_it_has_its_descriptors_and_no_others(void **state)
{
	int door = any_fd();
	const struct trio *t;

	workers.doors[1] = door;
	t = start_second()->trio;
	const int all[] = {t->control_fd,        t->supervisor_fd, t->wake_fd,    t->world_fd,
	                   t->said_fd,           t->config_fd,     t->door_fd,    t->rearm_fd,
	                   t->peer_rearm_fds[0], t->peer_fds[0],   t->peer_fds[1]};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_true(has_found(all[i]));
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(all[i], all[k]);
	}
	assert_int_equal(found->n_fds, sizeof(all) / sizeof(all[0]));
	assert_int_equal(t->door_fd, door);
	assert_int_equal(t->trio_fd, workers.list[1].memfd);
	assert_int_equal(t->peer_fds[1], t->trio_fd);
	assert_int_equal(t->peer_rearm_fds[1], t->rearm_fd);
	assert_int_equal(t->config_fd, rules.fd);
	assert_int_equal(t->wake_fd, workers.list[1].wake_fd);
	close(door);
}

static void test_one_without_a_door_has_none(void **state)
{
	assert_int_equal(start_second()->trio->door_fd, -1);
	assert_int_equal(found->n_fds, 10);
}

static void test_it_knows_who_has_started_it_and_what_holds(void **state)
{
	const struct trio *t = start_second()->trio;

	assert_true(told_of->knows_its_life);
	assert_int_equal(t->supervisor_pid, getpid());
	assert_int_equal(t->uid, geteuid());
	assert_int_equal(t->config_generation, rules.generation);
	assert_int_equal(t->n_peers, 2);
	assert_int_equal(atomic_load(&workers.world->n_workers), 2);
	assert_int_equal(t->key, workers.key);
}

static void test_it_writes_to_its_own_memory_and_reads_that_of_others(void **state)
{
	start_second();
	assert_true(told_of->writes_its_own);
	assert_true(told_of->reads_others);
	assert_false(told_of->writes_others);
}

static void test_it_can_get_no_privilege_and_reach_no_terminal(void **state)
{
	start_second();
	assert_true(found->no_new_privs);
	assert_true(found->leads_session);
	assert_true(found->null_in && found->null_out && found->pipe_err);
}

/* The rules it has. */
static void test_it_is_told_of_its_listeners(void **state)
{
	assert_int_equal(fake_workers_find(1, 0), 0);
	TURN_UNTIL(told_of->n_messages == 2);
	assert_int_equal(told_of->messages[0], WIRE_LISTEN);
	assert_int_equal(told_of->n_fds[0], 1);
	assert_int_equal(told_of->messages[1], WIRE_SYNC);
	assert_int_equal(told_of->n_fds[1], 0);
	assert_string_equal(reported(), "begun:0");
	assert_true(workers.list[0].adopted);
	assert_int_equal(workers.list[0].session, workers.list[0].child.pid);
	assert_int_equal(atomic_load(&workers.world->n_workers), 1);
}

/* When the others have their channels to the spawner already. */
static void test_of_one_that_begins_late_it_is_said(void **state)
{
	start_second();
	assert_string_equal(reported(), "begun:1 mute");
}

static void test_the_first_start_fails_where_there_are_no_processes(void **state)
{
	fork_error = EAGAIN;
	assert_int_equal(fake_workers_find(2, 0), -EAGAIN);
	assert_int_equal(forks, 1);
	assert_string_equal(reported(), "");
	assert_int_equal(workers.list[0].child.control.fd, -1);
}

static void test_the_first_start_fails_where_a_descriptor_is_missing(void **state)
{
	/* its memory, two eventfds; then a pidfd, two sockets and two ends of a pipe */
	leave_room(3 + 4);
	assert_int_equal(fake_workers_find(1, 0), -EMFILE);
	leave_room(-1);
	assert_int_equal(forks, 0);
	assert_int_equal(workers.n, 1);
	turn();
}

/* Nothing of what is half made is looked at. */
static void test_where_not_even_their_memory_can_be_had_there_are_none(void **state)
{
	int memfd;

	leave_room(1);
	assert_int_equal(fake_workers_find(1, 0), -EMFILE);
	leave_room(-1);
	assert_int_equal(workers.n, 0);
	memfd = workers.list[0].memfd;
	assert_true(fd_is_open(memfd));
	close(memfd);
	trio_unmap(workers.list[0].trio);
}

static void test_the_next_one_comes_when_all_three_have_died_at_once(void **state)
{
	struct worker *w;
	pid_t first;

	assert_int_equal(fake_workers_find(1, 0), 0);
	w = &workers.list[0];
	TURN_UNTIL(told_of->n_messages == 2);
	first = w->child.pid;
	w->idle = true;
	worker_send(w, &(struct wire){.type = WIRE_STOP}, NULL, 0);
	assert_int_equal(await(first), 0);
	turn();
	assert_int_equal(logged("worker 0 and both its keepers have died at once"), 1);
	told_of->n_messages = 0;
	pass(RESPAWN_MS);
	TURN_UNTIL(told_of->n_messages == 2);
	assert_int_not_equal(w->child.pid, first);
	assert_int_equal(told_of->messages[0], WIRE_LISTEN); /* it knows none */
	assert_string_equal(reported(), "begun:0 begun:0 mute");
	assert_int_equal(w->session, w->child.pid);
	assert_false(w->idle);
	assert_int_equal(forks, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_has_its_descriptors_and_no_others),
	        TEST(one_without_a_door_has_none),
	        TEST(it_knows_who_has_started_it_and_what_holds),
	        TEST(it_writes_to_its_own_memory_and_reads_that_of_others),
	        TEST(it_can_get_no_privilege_and_reach_no_terminal),
	        TEST(it_is_told_of_its_listeners),
	        TEST(of_one_that_begins_late_it_is_said),
	        TEST(the_first_start_fails_where_there_are_no_processes),
	        TEST(the_first_start_fails_where_a_descriptor_is_missing),
	        TEST(where_not_even_their_memory_can_be_had_there_are_none),
	        TEST(the_next_one_comes_when_all_three_have_died_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
