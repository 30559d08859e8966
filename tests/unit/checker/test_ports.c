/* Which sockets refuse, by the pools behind them, and what a checker does that follows one which was killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "checker/ports.h"
#include "os/refuse.h"
#include "os/sock.h"

static struct world *world;
static struct config *config;
static struct pools *pools;
static struct ports *ports;
static struct addr at;
static int fd; /* the supervisor's */
static bool another_checker;
static unsigned resumed;
static char said[4096];

static bool may_act(void *arg)
{
	return !another_checker;
}

static void note_resumed(void *arg)
{
	resumed++;
}

static void note_line(void *arg, enum log_level level, const char *line)
{
	size_t len = strlen(said);

	snprintf(said + len, sizeof(said) - len, "%s\n", line);
}

static struct ports *new_ports(void)
{
	return ports_new(&(struct ports_ops){.may_act = may_act, .resumed = note_resumed}, world);
}

static int listener(const char *ip)
{
	int s;

	do {
		if (addr_parse(ip, &at))
			s = sock_listen(&at, 4, false);
		sock_local(s, &at);
		close(s);
		s = sock_listen(&at, 4, false);
	} while (s == -EADDRINUSE);
	return s;
}

static int setup(void **state)
{
	world = world_new_private();
	config = NULL;
	pools = NULL;
	ports = new_ports();
	fd = listener("127.0.0.1");
	another_checker = false;
	resumed = 0;
	said[0] = '\0';
	log_set_sink(note_line, NULL);
	return fd < 0;
}

static int teardown(void **state)
{
	ports_free(ports);
	pools_free(pools);
	config_free(config);
	munmap(world, sizeof(*world));
	return close(fd);
}

/* %u: the port. */
static void rules(const char *text)
{
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};
	struct config *c;
	struct pools *before = pools;
	char whole[512];

	snprintf(whole, sizeof(whole), "port %u\n%s", at.port, text);
	c = config_parse("", whole, &nothing, &errors);
	if (!c)
		fail_msg("%s", errors.list[0].message);
	world_take(world, c);
	pools = pools_new(c, world);
	ports_use(ports, pools, NULL, 0);
	pools_free(before);
	config_free(config);
	config = c;
}

static void give(void)
{
	ports_begin(ports);
	ports_add(ports, 7, 0, dup(fd));
	ports_end(ports);
	ports_look(ports, 1000);
}

/* What tcpproxyctl says of the only server of this key. */
static void steer(const char *key, enum admin_state state)
{
	for (uint32_t i = 0; i < atomic_load(&world->targets.n); i++)
		if (strcmp(world->targets.list[i].key, key) == 0)
			atomic_store(&world->targets.list[i].admin_state, state);
	ports_look(ports, 1000);
}

static void set_health(enum health_state state)
{
	atomic_store(&world->checker.beat_ms, 1000);
	health_begin(&world->health[0], atomic_load(&world->seats.list[0].asks));
	health_set(&world->health[0], state, 1000);
	ports_look(ports, 1000);
}

static int reuse(void)
{
	int on = -1;
	socklen_t len = sizeof(on);

	getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &len);
	return on;
}

static void by_what_a_check_has_found(void **state)
{
	rules("server h:1\ncheck tcp\non-down refuse\n");
	give();
	assert_true(sock_is_listening(fd)); /* nothing is known yet */
	set_health(HEALTH_DOWN);
	assert_false(sock_is_listening(fd));
	assert_int_equal(world->refusing[0], 1);
	assert_int_equal(resumed, 0);
	set_health(HEALTH_UP);
	assert_true(sock_is_listening(fd));
	assert_int_equal(world->refusing[0], 0);
	assert_int_equal(resumed, 1);
	ports_look(ports, 1000);
	assert_int_equal(resumed, 1);
	assert_non_null(strstr(said, "no server is usable: it refuses clients now at 127.0.0.1:"));
	assert_non_null(strstr(said, "it accepts clients again"));
}

static void not_by_what_is_old(void **state)
{
	rules("server h:1\ncheck tcp\non-down refuse\n");
	give();
	set_health(HEALTH_DOWN);
	assert_false(sock_is_listening(fd));
	ports_look(ports, 1000 + HEALTH_STALE_MS + 1);
	assert_true(sock_is_listening(fd));
}

static void by_what_the_administrator_says(void **state)
{
	rules("server h:1\nserver h:2\non-down refuse\n");
	give();
	steer("h:1", ADMIN_STATE_DISABLED);
	assert_true(sock_is_listening(fd));
	steer("h:2", ADMIN_STATE_DRAINING);
	assert_false(sock_is_listening(fd));
	steer("h:1", ADMIN_STATE_BY_FILE);
	assert_true(sock_is_listening(fd));
}

static void not_where_another_section_would_not(void **state)
{
	int wide;

	close(fd);
	fd = wide = listener("0.0.0.0");
	rules("server h:1 disabled\non-down refuse\ninterface 10.0.0.1\nserver h:2 disabled\non-down reset\n");
	give();
	assert_true(sock_is_listening(fd));
	rules("server h:1 disabled\non-down refuse\ninterface 10.0.0.1\nserver h:2\n");
	ports_look(ports, 1000);
	assert_true(sock_is_listening(fd));
	steer("h:2", ADMIN_STATE_DISABLED);
	assert_false(sock_is_listening(fd));
	/* one of the other family is not reached here */
	rules("server h:1 disabled\non-down refuse\ninterface ::1\nserver h:3\n");
	ports_look(ports, 1000);
	assert_false(sock_is_listening(fd));
}

static void whoever_comes_next_goes_on(void **state)
{
	const int on = 1;

	rules("server h:1 disabled\non-down refuse\n");
	give();
	assert_false(sock_is_listening(fd));
	/* killed between any two steps: it refuses, and could be taken; or does neither */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	ports_drop(ports);
	said[0] = '\0';
	give();
	assert_false(sock_is_listening(fd));
	assert_int_equal(reuse(), 0);
	assert_string_equal(said, ""); /* for nobody has seen a change */
	ports_drop(ports);
	refuse_end(fd, 4);
	give();
	assert_false(sock_is_listening(fd));
	ports_drop(ports);
	steer("h:1", ADMIN_STATE_ENABLED);
	assert_false(sock_is_listening(fd));
	give();
	assert_true(sock_is_listening(fd));
	assert_int_equal(reuse(), 1);
}

static void what_another_process_does_is_undone(void **state)
{
	rules("server h:1 disabled\non-down refuse\n");
	give();
	refuse_end(fd, 4);
	ports_look(ports, 1000);
	assert_false(sock_is_listening(fd));
	steer("h:1", ADMIN_STATE_ENABLED);
	refuse_begin(fd);
	ports_look(ports, 1000);
	assert_true(sock_is_listening(fd));
	/* but not by one whose place is taken */
	refuse_begin(fd);
	another_checker = true;
	ports_look(ports, 1000);
	ports_give_back(ports);
	assert_false(sock_is_listening(fd));
}

static void a_list_replaces_the_one_before(void **state)
{
	struct addr first = at;
	int other = listener("127.0.0.1");
	struct addr second = at;

	at = first;
	rules("server h:1 disabled\non-down refuse\n");
	ports_begin(ports);
	ports_add(ports, 7, 0, dup(fd));
	ports_add(ports, 8, 0, dup(other)); /* at a port that the rules do not know */
	ports_end(ports);
	ports_look(ports, 1000);
	assert_false(sock_is_listening(fd));
	assert_true(sock_is_listening(other));
	ports_begin(ports);
	ports_add(ports, 8, 0, dup(other));
	ports_add(ports, 9, 0, -1); /* no socket */
	ports_look(ports, 1000);
	assert_false(sock_is_listening(fd)); /* the list is not whole yet */
	ports_end(ports);
	assert_true(sock_is_listening(fd));
	ports_look(ports, 1000);
	assert_int_equal(world->refusing[0], 0);
	assert_true(first.port != second.port);
	close(other);
}

static void given_back_or_dropped(void **state)
{
	rules("server h:1 disabled\non-down refuse\n");
	give();
	ports_give_back(ports);
	assert_true(sock_is_listening(fd));
	give();
	assert_false(sock_is_listening(fd));
	ports_drop(ports);
	assert_false(sock_is_listening(fd));
	/* nobody but us has it now: it is free once we close it */
	refuse_end(fd, 4);
}

static void a_port_that_is_taken_is_tried_again(void **state)
{
	int taker;

	rules("server h:1 disabled\non-down refuse\n");
	give();
	sock_share_port(fd, true);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	taker = sock_listen(&at, 4, false);
	assert_true(taker >= 0);
	sock_share_port(fd, false);
	said[0] = '\0';
	steer("h:1", ADMIN_STATE_ENABLED);
	ports_look(ports, 1000);
	assert_false(sock_is_listening(fd));
	assert_int_equal(resumed, 0);
	assert_non_null(strstr(said, "cannot listen again: Address already in use"));
	assert_null(strstr(strstr(said, "cannot") + 1, "cannot")); /* once */
	close(taker);
	ports_look(ports, 1000);
	assert_true(sock_is_listening(fd));
	assert_non_null(strstr(said, "listens again"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(by_what_a_check_has_found),           TEST(not_by_what_is_old),
	        TEST(by_what_the_administrator_says),      TEST(not_where_another_section_would_not),
	        TEST(whoever_comes_next_goes_on),          TEST(what_another_process_does_is_undone),
	        TEST(a_list_replaces_the_one_before),      TEST(given_back_or_dropped),
	        TEST(a_port_that_is_taken_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
