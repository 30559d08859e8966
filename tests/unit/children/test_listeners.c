/* Listening sockets: those that are passed, all of a configuration or none, and ports that were given up a moment ago. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "children/listeners.h"
#include "os/refuse.h"
#include "os/sock.h"

#define LEFT_MS 10000

static const struct addr loopback = {.family = AF_INET, .ip = {127, 0, 0, 1}};
static uint16_t ports[3]; /* free ones */
static struct config *config;
static struct sockets none, now, next;
static struct buf why;

static uint16_t port_of(int fd)
{
	struct addr a;

	assert_int_equal(sock_local(fd, &a), 0);
	return a.port;
}

static int setup(void **state)
{
	int fds[3];

	fixture_begin_without_loop();
	for (int i = 0; i < 3; i++) {
		fds[i] = sock_listen(&loopback, 5, false);
		ports[i] = port_of(fds[i]);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	none = now = next = (struct sockets){0};
	config = NULL;
	return 0;
}

static int teardown(void **state)
{
	sockets_close(&next, &now);
	sockets_close(&now, NULL);
	config_free(config);
	buf_release(&why);
	fixture_end_without_loop();
	return 0;
}

/* These ports of the loopback interface are to be served: "8000 8001". */
static void configure(const char *list)
{
	struct config_errors errors = {NULL, 0};
	char text[200];

	snprintf(text, sizeof(text), "port %s\ninterface 127.0.0.1\nserver 127.0.0.1:9\n", list);
	config_free(config);
	config = config_parse("/test", text, &(struct config_ops){0}, &errors);
	assert_non_null(config);
}

static void serve(int n)
{
	char list[64] = "";

	for (int i = 0; i < n; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), " %u", ports[i]);
	configure(list);
}

static bool open_all(void)
{
	return sockets_open(&now, config, NULL, 0, NULL, &next, &why);
}

static void take(void)
{
	sockets_close(&now, &next);
	now = next;
	next = (struct sockets){0};
}

/* ---- a configuration ---- */

static void test_all_of_a_configuration_listen(void **state)
{
	serve(2);
	assert_true(open_all());
	assert_int_equal(next.n, 2);
	assert_int_equal(why.len, 0);
	for (size_t i = 0; i < 2; i++) {
		assert_true(sock_is_listening(next.list[i].fd));
		assert_int_equal(port_of(next.list[i].fd), next.list[i].addr.port);
	}
	assert_int_not_equal(next.list[0].id, next.list[1].id);
	assert_int_equal(next.last_id, 2);
}

static void test_what_was_open_stays_as_it_is(void **state)
{
	int fd;

	serve(1);
	assert_true(open_all());
	take();
	fd = now.list[0].fd;
	serve(3);
	assert_true(open_all());
	assert_int_equal(next.n, 3);
	assert_true(sockets_has(&next, now.list[0].id));
	take();
	assert_true(fd_is_open(fd));
	serve(1);
	assert_true(open_all());
	take();
	assert_int_equal(now.n, 1);
	assert_int_equal(now.list[0].fd, fd);
	assert_int_equal(now.list[0].id, 1);
}

/* A worker may still know it. */
static void test_no_number_is_given_twice(void **state)
{
	for (uint32_t round = 0; round < 3; round++) {
		serve(1);
		assert_true(open_all());
		assert_int_equal(next.list[0].id, round + 1);
		take();
		next = (struct sockets){.last_id = now.last_id}; /* none of them */
		take();
	}
}

static void test_if_one_cannot_be_had_none_is_opened(void **state)
{
	struct addr a = loopback;
	char text[100];
	unsigned fds;
	int taken;

	serve(1);
	assert_true(open_all());
	take();
	a.port = ports[1];
	taken = sock_listen(&a, 5, false);
	fds = fds_open();
	serve(3);
	assert_false(open_all());
	assert_int_equal(fds_open(), fds);
	assert_int_equal(next.n, 0);
	assert_true(sock_is_listening(now.list[0].fd));
	snprintf(text, sizeof(text),
	         "port %u: cannot listen on 127.0.0.1:%u: Address already in use (see who has it: ss -ltnp", ports[1],
	         ports[1]);
	assert_non_null(strstr(why.s, text));
	assert_ptr_equal(strchr(why.s, '\n'), why.s + why.len - 1); /* of the others nothing is said */
	close(taken);
}

static void test_more_than_there_are_descriptors_for_are_refused(void **state)
{
	struct rlimit before, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	configure("10000-10032");
	assert_false(open_all());
	assert_non_null(strstr(why.s, "33 sockets would have to listen, and a process may open 64 descriptors here"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* ---- given up ---- */

/* Workers have it still, and nobody can know when they close it. */
static void test_a_port_that_was_given_up_can_be_had_again(void **state)
{
	struct sockets kept = {0};
	int workers_copy;

	serve(1);
	assert_true(open_all());
	take();
	workers_copy = dup(now.list[0].fd);
	kept.last_id = now.last_id;
	sockets_leave(&now, &kept);
	sockets_close(&now, &kept);
	now = kept;
	now_ms += LEFT_MS - 1;
	assert_true(open_all());
	assert_int_equal(next.n, 1);
	sockets_close(&next, NULL);
	now_ms += 1;
	assert_false(open_all());
	assert_non_null(strstr(why.s, "Address already in use"));
	close(workers_copy);
}

static void test_what_is_kept_is_not_given_up(void **state)
{
	struct addr a = loopback;

	serve(1);
	assert_true(open_all());
	take();
	sockets_leave(&now, &now);
	a.port = ports[0];
	assert_int_equal(sock_listen(&a, 5, true), -EADDRINUSE);
}

/* ---- passed by somebody else ---- */

static void test_of_those_that_are_passed_the_ones_that_listen_are_taken(void **state)
{
	int good = sock_listen(&loopback, 5, false), plain = sock_new_tcp(AF_INET), other = any_fd();
	int first = 100;

	assert_int_equal(dup2(plain, first), first);
	assert_int_equal(dup2(good, first + 1), first + 1);
	assert_int_equal(dup2(other, first + 2), first + 2);
	sockets_adopt(&now, config, first, 4, ""); /* and one that is not open at all */
	assert_int_equal(now.n, 1);
	assert_int_equal(now.list[0].fd, first + 1);
	assert_int_equal(now.list[0].id, 1 | SOCKET_FOREIGN);
	assert_int_equal(now.last_id, 1);
	assert_false(socket_is_ours(&now.list[0]));
	assert_int_equal(now.list[0].addr.port, port_of(good));
	assert_false(fd_is_open(first) || fd_is_open(first + 2));
	close(good);
	close(plain);
	close(other);
}

static int dup_of(int fd)
{
	return dup(fd);
}

static void test_one_that_workers_know_keeps_its_number(void **state)
{
	int good = sock_listen(&loopback, 5, false);
	unsigned fds = fds_open();

	sockets_adopt_one(&now, dup_of(good), 9, 0);
	sockets_adopt_one(&now, dup_of(good), 9, 0);              /* again */
	sockets_adopt_one(&now, dup_of(good), 0, 0);              /* no number */
	sockets_adopt_one(&now, dup_of(good), UINT32_MAX / 2, 0); /* too near to the last one */
	sockets_adopt_one(&now, any_fd(), 11, 0);                 /* no socket */
	sockets_adopt_one(&now, sock_new_tcp(AF_INET), 12, 0);    /* it does not listen */
	assert_int_equal(fds_open(), fds + 1);
	assert_int_equal(now.n, 1);
	assert_int_equal(now.last_id, 9);
	sockets_adopt_one(&now, dup_of(good), 4, 0);
	assert_int_equal(now.n, 2);
	assert_int_equal(now.last_id, 9);
	assert_true(sockets_has(&now, 4));
	assert_false(sockets_has(&now, 5));
	close(good);
}

/* A port that refuses must not go to somebody who does not know that. */
static void test_one_that_refuses_listens_again(void **state)
{
	int good = sock_listen(&loopback, 5, false), fd, client = sock_new_tcp(AF_INET);
	struct addr a, theirs = loopback;

	assert_int_equal(sock_local(good, &a), 0);
	close(good);
	good = sock_listen(&a, 5, false); /* a number of its own */
	assert_true(good >= 0);
	assert_int_equal(refuse_begin(good), 0);
	sockets_adopt_one(&now, dup_of(good), 9 | SOCKET_FOREIGN, 0);
	assert_int_equal(now.n, 1);
	assert_true(sock_is_listening(good));
	assert_false(socket_is_ours(&now.list[0]));
	assert_int_equal(now.last_id, 9);
	sockets_adopt_one(&now, dup_of(good), 10, 0);
	assert_true(socket_is_ours(&now.list[1]));
	assert_int_equal(now.last_id, 10);
	/* but a connection is none, whatever a trio says */
	fd = sock_listen(&theirs, 5, false);
	assert_int_equal(sock_local(fd, &theirs), 0);
	sock_connect(client, &theirs);
	sockets_adopt_one(&now, dup_of(client), 11, 0);
	assert_int_equal(now.n, 2);
	close(fd);
	close(client);
	close(good);
}

/* ---- places that are no ports of this host ---- */

static void configure_text(const char *text)
{
	struct config_errors errors = {NULL, 0};

	config_free(config);
	config = config_parse("/test", text, &(struct config_ops){0}, &errors);
	assert_non_null(config);
}

/* Two sockets as systemd passes them, from 100 on. */
static void pass_two(int one, int other)
{
	assert_int_equal(dup2(one, 100), 100);
	assert_int_equal(dup2(other, 101), 101);
	close(one);
	close(other);
}

static size_t at_place(const struct sockets *s, uint32_t place)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->list[i].addr.scope == place;
	return n;
}

static void test_what_is_passed_finds_its_port_by_its_name(void **state)
{
	configure_text("port fd:web\nserver a:1\nport fd:mail\nserver b:1\n");
	pass_two(sock_listen(&loopback, 5, false), sock_listen(&loopback, 5, false));
	sockets_adopt(&now, config, 100, 2, "mail:web");
	assert_int_equal(now.list[0].addr.scope, config->services[1].place);
	assert_int_equal(now.list[1].addr.scope, config->services[0].place);
	assert_true(open_all());
	assert_int_equal(next.n, 2);
}

static void test_one_of_no_such_name_is_none(void **state)
{
	configure_text("port fd:web\nserver a:1\n");
	pass_two(sock_listen(&loopback, 5, false), sock_listen(&loopback, 5, false));
	sockets_adopt(&now, config, 100, 2, "mail:");
	assert_false(open_all());
	assert_non_null(strstr(why.s, "no socket of that name was passed"));
	assert_int_equal(next.n, 0);
}

static void test_the_rest_is_for_the_port_without_a_name(void **state)
{
	configure_text("port fd:\nserver a:1\nport fd:web\nserver b:1\n");
	pass_two(sock_listen(&loopback, 5, false), sock_listen(&loopback, 5, false));
	sockets_adopt(&now, config, 100, 2, "web");
	assert_true(open_all());
	assert_int_equal(at_place(&next, config->services[0].place), 1);
	assert_int_equal(at_place(&next, config->services[1].place), 1);
	/* and again, at a reload */
	take();
	assert_true(open_all());
	assert_int_equal(next.n, 2);
}

/* After a restart both the workers and systemd have it. */
static void test_one_that_is_passed_twice_is_one(void **state)
{
	int fd = sock_listen(&loopback, 5, false);

	configure_text("port fd:web\nserver a:1\n");
	sockets_adopt_one(&now, dup_of(fd), 7 | SOCKET_FOREIGN, config->services[0].place);
	pass_two(dup_of(fd), any_fd());
	sockets_adopt(&now, config, 100, 2, "web:web");
	assert_int_equal(now.n, 1);
	assert_true(open_all());
	assert_int_equal(next.n, 1);
	assert_int_equal(next.list[0].id, 7 | SOCKET_FOREIGN);
	close(fd);
}

/* Whoever says so: a place is none of an interface, and a Unix socket has one. */
static void test_a_place_that_is_none(void **state)
{
	char name[64];
	int fd = sock_listen(&loopback, 5, false), local;

	snprintf(name, sizeof(name), "@test_listeners.%d", (int)getpid());
	local = sock_listen_unix(name, 0600, 5);
	sockets_adopt_one(&now, dup_of(fd), 1, 7);
	assert_int_equal(now.list[0].addr.scope, 0);
	sockets_adopt_one(&now, dup_of(fd), 2, UINT32_MAX);
	assert_int_equal(now.list[1].addr.scope, 0);
	sockets_adopt_one(&now, dup_of(local), 3, 0);
	assert_int_equal(now.n, 2);
	sockets_adopt_one(&now, dup_of(local), 3, ADDR_PLACE | 8);
	assert_int_equal(now.n, 3);
	close(fd);
	close(local);
}

static char removed[256];

static void note_removed(void *arg, const char *path)
{
	strcat(removed, path);
	unlink(path);
}

static void test_the_files_of_those_that_go_are_removed(void **state)
{
	char directory[] = "/tmp/test_listeners.XXXXXX", text[200], path[80];

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/a", directory);
	snprintf(text, sizeof(text), "port unix:%s\nserver a:1\nport unix:%s/b\nserver b:1\n", path, directory);
	configure_text(text);
	assert_true(open_all());
	take();
	snprintf(text, sizeof(text), "port unix:%s/b\nserver b:1\n", directory);
	configure_text(text);
	assert_true(open_all());
	*removed = '\0';
	sockets_unlink(&now, &next, note_removed, NULL);
	assert_string_equal(removed, path);
	take();
	sockets_unlink(&now, NULL, note_removed, NULL);
	assert_int_equal(rmdir(directory), 0);
}

/* ---- who listens where ---- */

static void test_a_wildcard_listens_at_each_address_of_its_family(void **state)
{
	struct socket_entry list[] = {{.addr = {.family = AF_INET, .port = 80}},
	                              {.addr = {.family = AF_INET, .port = 81, .ip = {127, 0, 0, 1}}}};
	const struct sockets s = {.list = list, .n = 2};
	struct addr a = loopback;

	a.port = 80;
	assert_true(sockets_listen_at(&s, &a));
	a.port = 81;
	assert_true(sockets_listen_at(&s, &a));
	a.ip[3] = 2;
	assert_false(sockets_listen_at(&s, &a));
	a.port = 82;
	assert_false(sockets_listen_at(&s, &a));
	a = (struct addr){.family = AF_INET6, .port = 80, .ip[15] = 1};
	assert_false(sockets_listen_at(&s, &a));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(all_of_a_configuration_listen),
	        TEST(what_was_open_stays_as_it_is),
	        TEST(no_number_is_given_twice),
	        TEST(if_one_cannot_be_had_none_is_opened),
	        TEST(more_than_there_are_descriptors_for_are_refused),
	        TEST(a_port_that_was_given_up_can_be_had_again),
	        TEST(what_is_kept_is_not_given_up),
	        TEST(of_those_that_are_passed_the_ones_that_listen_are_taken),
	        TEST(one_that_workers_know_keeps_its_number),
	        TEST(one_that_refuses_listens_again),
	        TEST(what_is_passed_finds_its_port_by_its_name),
	        TEST(one_of_no_such_name_is_none),
	        TEST(the_rest_is_for_the_port_without_a_name),
	        TEST(one_that_is_passed_twice_is_one),
	        TEST(a_place_that_is_none),
	        TEST(the_files_of_those_that_go_are_removed),
	        TEST(a_wildcard_listens_at_each_address_of_its_family),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
