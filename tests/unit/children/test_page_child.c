/* The process that serves the page, as the supervisor sees it: there while there is something to serve, heard with mistrust, replaced. */
#include "fake_process.h"
#include "fake_workers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "children/page_child.h"
#include "ipc/saying.h"
#include "os/proc.h"
#include "os/sock.h"
#include "page/pageserver.h"

#define WORKERS    2
#define RESPAWN_MS 500

static struct page_child page;
static struct admin_socket list[3]; /* one of the file system, and two for the page */
static struct admin_sockets sockets;
static struct {
	bool right, writes_something, again;
} * born; /* shared with the child */
static int client_fd, clients;
static struct addr client_from;
static int tcp_info_wanted;

int __wrap_pageserver_run(const struct pageserver_setup *setup);

static bool can_write(const void *at)
{
	return mprotect((void *)at, 4096, PROT_READ | PROT_WRITE) == 0;
}

/* Instead of its life. */
int __wrap_pageserver_run(const struct pageserver_setup *s)
{
	find();
	born->right = s->sockets == &sockets && s->world == workers.world && s->trios == workers.trios &&
	              s->n_trios == WORKERS && s->history == page.history && s->supervisor_pid == getppid() &&
	              strcmp(s->config_path, "/config") == 0 && s->generation == rules.generation;
	born->writes_something = can_write(s->world) || can_write(&s->world->next_id) || can_write(s->trios[0]) ||
	                         can_write(s->trios[1]);
	born->again = s->again;
	return 7;
}

static void on_client(void *arg, int fd, const struct addr *from)
{
	assert_ptr_equal(arg, &page);
	clients++;
	client_fd = fd;
	client_from = *from;
}

static void on_wants_tcp_info(void *arg)
{
	tcp_info_wanted++;
}

static const struct page_events page_events = {on_client, on_wants_tcp_info};

static int setup(void **state)
{
	const struct addr any = {.family = AF_INET, .ip = {127, 0, 0, 1}};

	if (!born)
		born = mmap(NULL, sizeof(*born), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fixture_begin();
	fake_workers_begin();
	fake_workers_serve(WORKERS);
	fake_process_reset();
	list[0] = (struct admin_socket){.path = (char *)"/run/x", .fd = any_fd()};
	list[1] = (struct admin_socket){
	        .path = (char *)"tcp:127.0.0.1:1", .page = true, .fd = sock_listen(&any, 5, false)};
	list[2] = (struct admin_socket){
	        .path = (char *)"tcp:127.0.0.1:2", .page = true, .fd = sock_listen(&any, 5, false)};
	sockets = (struct admin_sockets){.list = list, .n = 3};
	page = (struct page_child){.workers = &workers,
	                           .sockets = &sockets,
	                           .config_path = "/config",
	                           .events = &page_events,
	                           .arg = &page,
	                           .child.control.fd = -1};
	page_child_init(&page);
	client_fd = -1;
	clients = tcp_info_wanted = 0;
	return 0;
}

static int teardown(void **state)
{
	if (page.child.control.fd >= 0)
		child_stop_hearing(&page.child);
	lastwords_close(&page.child.words);
	again_cancel(&page.child.again);
	free(page.points);
	if (page.history)
		munmap(page.history, sizeof(struct history));
	for (size_t i = 0; i < 3; i++)
		close(list[i].fd);
	fake_process_reset();
	fake_workers_end();
	fixture_end();
	return 0;
}

static void start(void)
{
	page_child_start(&page);
	assert_int_equal(page.child.pid, FAKE_PID);
	turn();
}

/* ---- birth ---- */

static void test_it_has_its_descriptors_and_can_change_nothing(void **state)
{
	fork_really = true;
	page_child_start(&page);
	assert_int_equal(WEXITSTATUS(await(page.child.pid)), 7);
	assert_true(born->right);
	assert_false(born->again);
	assert_int_equal(found->n_fds, 3);
	assert_true(has_found(list[1].fd) && has_found(list[2].fd));
	assert_false(born->writes_something);
	assert_true(found->no_new_privs);
	assert_false(found->privileged);
	assert_int_equal(found->death_signal, SIGKILL);
	assert_string_equal(found->title, "tcpproxy: admin");
}

static void test_the_next_one_knows_that_it_is_not_the_first(void **state)
{
	fork_really = true;
	page_child_start(&page);
	page_child_died(&page, await(page.child.pid));
	assert_int_equal(logged("the admin process has ended and is replaced"), 1);
	pass(RESPAWN_MS);
	await(page.child.pid);
	assert_true(born->again);
}

static void test_where_there_is_nothing_to_serve_there_is_none(void **state)
{
	sockets.n = 1;
	page_child_start(&page);
	assert_int_equal(forks, 0);
	sockets.n = 3;
	phase = PHASE_STOPPING;
	page_child_start(&page);
	assert_int_equal(forks, 0);
	assert_false(again_is_pending(&page.child.again));
}

static void test_one_that_cannot_be_started_comes_later(void **state)
{
	fork_error = EAGAIN;
	page_child_start(&page);
	assert_int_equal(page.child.pid, 0);
	assert_int_equal(logged("the admin process cannot be started"), 1);
	fork_error = 0;
	pass(RESPAWN_MS);
	assert_int_equal(page.child.pid, FAKE_PID + 1);
}

/* ---- what it says ---- */

static void say_to_us(const void *data, size_t len, const int *fds, size_t n_fds)
{
	assert_int_equal(sock_send_message(its_end, data, len, fds, n_fds), 0);
	turn();
}

static void say_line(uint32_t lost, const char *text)
{
	struct said m = {.wire = {.type = WIRE_LINE, .n = lost}, .line.level = LOG_LEVEL_WARNING};
	size_t len = strlen(text);

	memcpy(m.line.text, text, len);
	say_to_us(&m, SAYING_HEAD + len, NULL, 0);
}

static void test_its_lines_are_logged(void **state)
{
	start();
	say_line(0, "one");
	say_line(4, "two");
	assert_int_equal(written("warning one"), 1);
	assert_int_equal(written("warning two"), 1);
	assert_int_equal(logged("admin: 4 log lines are lost"), 1);
	assert_int_equal(atomic_load(&workers.world->totals.lines_lost), 4);
}

static void test_somebody_looks_at_what_tcp_says(void **state)
{
	const struct wire w = {.type = WIRE_WANT_TCP_INFO};
	int fd = any_fd();
	unsigned fds;

	start();
	fds = fds_open();
	say_to_us(&w, sizeof(w), NULL, 0);
	say_to_us(&w, sizeof(w), &fd, 1);
	assert_int_equal(tcp_info_wanted, 2);
	assert_int_equal(fds_open(), fds);
	close(fd);
}

static const struct wire command = {.type = WIRE_COMMAND,
                                    .client = {.family = AF_INET, .port = 99, .ip = {10, 0, 0, 1}}};

static void test_a_client_may_steer_where_there_is_a_token(void **state)
{
	int fd = any_fd();

	list[2].token = (char *)"/token";
	start();
	say_to_us(&command, sizeof(command), &fd, 1);
	assert_true(client_fd >= 0);
	assert_int_not_equal(client_fd, fd);
	assert_memory_equal(&client_from, &command.client, sizeof(client_from));
	close(client_fd);
	say_to_us(&command, sizeof(command), NULL, 0); /* nobody is there */
	assert_int_equal(clients, 1);
	close(fd);
}

static void test_without_one_nobody_may(void **state)
{
	int fd = any_fd();
	unsigned fds;

	start();
	fds = fds_open();
	say_to_us(&command, sizeof(command), &fd, 1);
	assert_int_equal(clients, 0);
	assert_int_equal(fds_open(), fds);
	close(fd);
}

static void test_what_it_never_says_is_passed_over(void **state)
{
	int list_of_two[2] = {any_fd(), any_fd()};
	unsigned fds;

	list[2].token = (char *)"/token";
	start();
	fds = fds_open();
	for (uint32_t type = 0; type < 64; type++)
		if (type != WIRE_COMMAND && type != WIRE_WANT_TCP_INFO && type != WIRE_LINE)
			say_to_us(&(struct wire){.type = type, .n = 1}, sizeof(struct wire), list_of_two, type % 3);
	say_to_us(&(struct wire){.type = WIRE_LINE, .n = 1}, sizeof(struct wire), NULL, 0); /* without a text */
	assert_int_equal(fds_open(), fds);
	assert_int_equal(clients, 0);
	assert_int_equal(written(""), 0);
	assert_int_equal(logged(""), 0);
	assert_true(page.child.control.fd >= 0);
	close(list_of_two[0]);
	close(list_of_two[1]);
}

static void test_one_that_says_too_little_is_not_heard_any_more(void **state)
{
	int fd = any_fd(), control_fd;
	unsigned fds;

	list[2].token = (char *)"/token";
	start();
	fds = fds_open();
	control_fd = page.child.control.fd;
	say_to_us(&command, sizeof(command) - 1, &fd, 1);
	assert_int_equal(page.child.control.fd, -1);
	assert_false(fd_is_open(control_fd));
	assert_int_equal(fds_open(), fds - 1);
	assert_int_equal(clients, 0);
	close(fd);
}

/* ---- a reload ---- */

static void test_a_reload_that_leaves_its_addresses_tells_it_the_rules(void **state)
{
	start();
	rules.generation++;
	page_child_reload(&page);
	assert_string_equal(read_all(its_end), "RULES+1");
	assert_int_equal(forks, 1);
}

static void test_one_that_serves_other_addresses_is_another(void **state)
{
	int control_fd;

	start();
	control_fd = page.child.control.fd;
	sockets.n = 2;
	page_child_reload(&page);
	assert_false(fd_is_open(control_fd) && page.child.control.fd != control_fd);
	assert_int_equal(forks, 2);
	assert_int_equal(page.child.pid, FAKE_PID + 1);
	assert_int_equal(kills, 0); /* the one before finishes what it has begun */
	list[1].token = (char *)"/token";
	page_child_reload(&page);
	assert_int_equal(forks, 3);
	page_child_reload(&page);
	assert_int_equal(forks, 3);
	assert_string_equal(read_all(its_end), "RULES+1");
}

static void test_one_that_is_not_wanted_any_more_is_let_go(void **state)
{
	start();
	sockets.n = 1;
	page_child_reload(&page);
	assert_int_equal(page.child.pid, 0);
	assert_int_equal(page.child.control.fd, -1);
	assert_int_equal(forks, 1);
	assert_int_equal(kills, 0);
}

/* ---- its end ---- */

static void test_what_it_said_before_its_end_is_logged_and_it_is_replaced(void **state)
{
	struct said m = {.wire.type = WIRE_LINE, .line.text = "x"};

	start();
	assert_int_equal(sock_send_message(its_end, &m, SAYING_HEAD + 1, NULL, 0), 0);
	page_child_died(&page, 11);
	assert_int_equal(written("error x"), 1);
	assert_int_equal(logged("the admin process was killed by signal 11 and is replaced"), 1);
	assert_int_equal(page.child.control.fd, -1);
	pass(RESPAWN_MS - 1);
	assert_int_equal(forks, 1);
	pass(1);
	assert_int_equal(forks, 2);
}

/* To connect must fail then. */
static void test_without_its_library_it_does_not_come_again(void **state)
{
	start();
	page_child_died(&page, PAGE_NO_LIBRARY << 8);
	pass(10 * RESPAWN_MS);
	assert_int_equal(forks, 1);
	assert_int_equal(logged(""), 0);
	assert_false(sock_is_listening(list[1].fd));
	assert_false(sock_is_listening(list[2].fd));
	page_child_reload(&page); /* it may have been installed meanwhile */
	assert_int_equal(forks, 2);
	assert_true(sock_is_listening(list[1].fd));
	assert_true(sock_is_listening(list[2].fd));
}

static void test_when_all_stops_it_is_not_replaced(void **state)
{
	start();
	phase = PHASE_STOPPING;
	page_child_died(&page, 9);
	pass(10 * RESPAWN_MS);
	assert_int_equal(forks, 1);
	assert_int_equal(logged(""), 0);
}

static void test_it_is_ended_at_once(void **state)
{
	page_child_stop(&page);
	assert_int_equal(kills, 0); /* there is none */
	start();
	page_child_stop(&page);
	assert_int_equal(kills, 1);
	assert_int_equal(last_killed, FAKE_PID);
	assert_int_equal(last_signal, SIGKILL);
	assert_int_equal(page.child.pid, 0);
	assert_int_equal(page.child.control.fd, -1);
	page_child_stop(&page);
	assert_int_equal(kills, 1);
}

static void test_one_that_is_ended_does_not_come_again(void **state)
{
	start();
	page_child_died(&page, 9);
	page_child_stop(&page);
	pass(10 * RESPAWN_MS);
	assert_int_equal(forks, 1);
	assert_int_equal(kills, 0);
}

/* Errors that came before it are shown. */
static void test_what_it_shows_of_the_past_outlives_it(void **state)
{
	struct history *before;

	start();
	before = page.history;
	assert_non_null(before);
	page_child_died(&page, 9);
	pass(RESPAWN_MS);
	assert_ptr_equal(page.history, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_has_its_descriptors_and_can_change_nothing),
	        TEST(the_next_one_knows_that_it_is_not_the_first),
	        TEST(where_there_is_nothing_to_serve_there_is_none),
	        TEST(one_that_cannot_be_started_comes_later),
	        TEST(its_lines_are_logged),
	        TEST(somebody_looks_at_what_tcp_says),
	        TEST(a_client_may_steer_where_there_is_a_token),
	        TEST(without_one_nobody_may),
	        TEST(what_it_never_says_is_passed_over),
	        TEST(one_that_says_too_little_is_not_heard_any_more),
	        TEST(a_reload_that_leaves_its_addresses_tells_it_the_rules),
	        TEST(one_that_serves_other_addresses_is_another),
	        TEST(one_that_is_not_wanted_any_more_is_let_go),
	        TEST(what_it_said_before_its_end_is_logged_and_it_is_replaced),
	        TEST(without_its_library_it_does_not_come_again),
	        TEST(when_all_stops_it_is_not_replaced),
	        TEST(it_is_ended_at_once),
	        TEST(one_that_is_ended_does_not_come_again),
	        TEST(what_it_shows_of_the_past_outlives_it),
	};

	proc_title_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
