/* Who has which table, mark and priority; who gives them away, and to whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "network/claims.h"

/* Numbers that nobody else on this machine has. */
static struct routes routes_of(uint32_t n)
{
	const uint32_t base = 1000000000u + (uint32_t)getpid() % 100000 * 10;

	return (struct routes){.table = base + n, .mark = base + n, .mask = UINT32_MAX, .priority = base + n};
}

#define LEAVES (-1)

/* A process that has them until it is killed, or gives them away, or ends when it is asked. */
static pid_t holder(const struct routes *r, int supervisor)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct buf why = BUF_INIT;
		struct claims c;

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* with a test that fails */
		if (!claims_take(&c, r, &why))
			_exit(1);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;) {
			struct pollfd p[CLAIMS];

			for (size_t i = 0; i < CLAIMS; i++)
				p[i] = (struct pollfd){.fd = c.fds[i], .events = POLLIN};
			poll(p, CLAIMS, -1);
			for (size_t i = 0; i < CLAIMS; i++)
				if (p[i].revents && (supervisor == LEAVES || claims_answer(c.fds[i], supervisor)))
					_exit(0);
		}
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void what_nobody_has_is_taken(void **state)
{
	const struct routes r = routes_of(0);
	struct buf why = BUF_INIT;
	struct claims c;

	assert_false(claims_table_is_used(r.table));
	assert_true(claims_take(&c, &r, &why));
	assert_true(claims_table_is_used(r.table));
	claims_drop(&c);
	assert_false(claims_table_is_used(r.table));
}

static void what_another_has_is_not(void **state)
{
	struct routes r = routes_of(1), other = routes_of(2);
	struct buf why = BUF_INIT;
	char text[128];
	struct claims c;
	pid_t pid = holder(&r, 4711);

	assert_false(claims_take(&c, &r, &why));
	snprintf(text, sizeof(text), "the routing table %u is used by another tcpproxy, pid 4711", r.table);
	assert_non_null(strstr(why.s, text));
	buf_clear(&why);
	other.priority = r.priority; /* one of them is enough, and none is kept */
	assert_false(claims_take(&c, &other, &why));
	assert_non_null(strstr(why.s, "\"routes priority=N\""));
	assert_false(claims_table_is_used(other.table));
	end(pid);
	buf_clear(&why);
	assert_true(claims_take(&c, &r, &why));
	claims_drop(&c);
	buf_release(&why);
}

static void who_has_lost_its_supervisor_gives_it_away(void **state)
{
	const struct routes r = routes_of(3);
	struct buf why = BUF_INIT;
	struct claims c;
	int status;
	pid_t pid = holder(&r, 0);

	assert_true(claims_take(&c, &r, &why));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	claims_drop(&c);
}

/* Its socket is closed later than all signs of it are gone. */
static void who_is_about_to_end_has_nothing(void **state)
{
	const struct routes r = routes_of(6);
	struct buf why = BUF_INIT;
	struct claims c;
	pid_t pid = holder(&r, LEAVES);

	assert_true(claims_take(&c, &r, &why));
	assert_true(c.fds[0] >= 0 && c.fds[1] >= 0 && c.fds[2] >= 0);
	claims_drop(&c);
	waitpid(pid, NULL, 0);
}

/* It is stopped: nobody waits for ever. */
static void who_does_not_answer_has_it(void **state)
{
	const struct routes r = routes_of(4);
	struct buf why = BUF_INIT;
	struct claims c;
	pid_t pid = holder(&r, 4711);

	kill(pid, SIGSTOP);
	assert_false(claims_take(&c, &r, &why));
	assert_non_null(strstr(why.s, "is used by another tcpproxy"));
	end(pid);
	buf_release(&why);
}

/* Anybody may have taken the name. */
static void a_stranger_is_not_believed(void **state)
{
	const struct routes r = routes_of(5);
	struct buf why = BUF_INIT;
	int ready[2];
	struct claims c;
	char byte;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct sockaddr_un sa = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		int len = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "tcpproxy/table/%u", r.table);

		if (setuid(65534) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
		    bind(fd, (struct sockaddr *)&sa,
		         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0 ||
		    listen(fd, 8) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_true(claims_take(&c, &r, &why));
	assert_int_equal(c.fds[0], -1);
	assert_true(c.fds[1] >= 0 && c.fds[2] >= 0);
	claims_drop(&c);
	end(pid);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_nobody_has_is_taken),
	        cmocka_unit_test(what_another_has_is_not),
	        cmocka_unit_test(who_has_lost_its_supervisor_gives_it_away),
	        cmocka_unit_test(who_is_about_to_end_has_nothing),
	        cmocka_unit_test(who_does_not_answer_has_it),
	        cmocka_unit_test(a_stranger_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
