/* Another program takes our place: when that may begin, what is said of it, and that everything is as before where it fails. The programs
 * are this one, executed with the name of a part to play. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "files/wire.h"
#include "os/private.h"
#include "os/sock.h"
#include "restart/upgrade.h"

static struct upgrade upgrade;
static int over, waiting; /* how often; who waits for it, a descriptor */
static bool done;
static char over_text[300];

/* ---- the programs ---- */

/* What it was left, as a text for who waits; then it lets the guard go. */
static int take_over(void)
{
	struct upgrade u = {.children = &children, .files = &files, .network = &network};
	struct inheritance left;

	children_none(&children);
	files.fd = -1;
	inherit_take(&left);
	upgrade_inherit(&u, &left);
	dprintf(left.client, "upgraded %d rolled back %d key %llx files %d guard %d lifeline %d spawner %d admin %zu",
	        u.upgraded, upgrade_was_rolled_back(&u), (unsigned long long)children.workers.key, files.fd >= 0,
	        u.guard.fd >= 0, u.guard.lifeline_fd >= 0, children.spawner.old_fd >= 0, left.admin.n);
	guard_release(&u.guard);
	return left.client >= 0 ? 0 : 97; /* else it was not meant to come so far */
}

static int play(int argc, char **args)
{
	const char *part = args[argc - 1];

	alarm(2 * FIXTURE_PATIENCE_MS / 1000);
	if (strcmp(part, "hang") == 0)
		pause();
	if (strcmp(part, "no") == 0)
		return 1;
	if (argc == 3) { /* --check */
		puts("port 1");
		return fflush(stdout);
	}
	if (strcmp(part, "vanish") == 0)
		unlink(args[0]);
	trial_passed(); /* if it is a rehearsal, that was all */
	return take_over();
}

/* ---- the supervisor ---- */

static bool no_descriptors; /* for the guard */
static struct rlimit nofile;

static void take_end(void *arg, bool is_done, const char *text)
{
	setrlimit(RLIMIT_NOFILE, &nofile);
	over++;
	done = is_done;
	snprintf(over_text, sizeof(over_text), "%s", text);
}

static int client(void *arg)
{
	if (no_descriptors)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, nofile.rlim_max});
	return waiting;
}

static char *argv[] = {(char *)"tcpproxy", NULL, NULL};
static char folder[] = "/tmp/test-upgrade-XXXXXX", binary[64];

static int setup(void **state)
{
	static const struct upgrade_events events = {.over = take_end, .client = client};
	static struct config nothing; /* to check: no checker is stopped, or started again */
	char self[300];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	fixture_setup(state);
	rules.config = &nothing;
	checker_child_init(&children.checker);
	getrlimit(RLIMIT_NOFILE, &nofile);
	assert_true(len > 0);
	self[len] = '\0';
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(binary, sizeof(binary), "%s/tcpproxy", folder);
	assert_int_equal(symlink(self, binary), 0);
	over = 0;
	waiting = -1;
	no_descriptors = false;
	*over_text = '\0';
	upgrade = (struct upgrade){.children = &children,
	                           .files = &files,
	                           .network = &network,
	                           .admin_sockets = &admin_sockets,
	                           .binary = binary,
	                           .argv = argv,
	                           .events = &events,
	                           .guard = {.fd = -1, .lifeline_fd = -1},
	                           .rolling.workers = &children.workers};
	return 0;
}

static int teardown(void **state)
{
	unlink(binary);
	rmdir(folder);
	timer_clear(&loop, &upgrade.rolling.timer);
	assert_false(upgrade.trial.under_way);
	assert_int_equal(upgrade.guard.fd, -1);
	assert_null(getenv("TCPPROXY_UPGRADE"));
	assert_null(getenv("TCPPROXY_ADMIN"));
	assert_null(getenv(PRIVATE_VARIABLE));
	return fixture_teardown(state);
}

static const char *begin(const char *part)
{
	argv[1] = (char *)part;
	return upgrade_begin(&upgrade);
}

static void expect_over(bool is_done, const char *text)
{
	assert_int_equal(over, 1);
	assert_int_equal(done, is_done);
	assert_string_equal(over_text, text);
}

static void test_it_begins_only_while_we_serve(void **state)
{
	for (phase = 0; phase < PHASES; phase++) {
		const char *why;

		if (phase == PHASE_SERVING)
			continue;
		*log_text = '\0';
		why = begin("no");
		assert_non_null(why);
		assert_non_null(strstr(log_text, why));
		assert_false(upgrade.trial.under_way);
	}
	assert_int_equal(over, 0);
}

static void test_one_at_a_time(void **state)
{
	assert_null(begin("no"));
	assert_string_equal(begin("no"), "an upgrade is under way already");
	assert_non_null(strstr(log_text, "upgrade: one is under way already"));
	UNTIL(over);
	UNTIL(!upgrade.trial.under_way);
	assert_int_equal(over, 1);
	assert_null(begin("no")); /* the next */
	UNTIL(!upgrade.trial.under_way);
	assert_int_equal(over, 2);
	children.workers.rolling = true;
	assert_string_equal(begin("no"), "an upgrade is under way already");
	assert_false(upgrade.trial.under_way);
}

static void test_one_that_fails_its_trial(void **state)
{
	char expected[200];

	assert_null(begin("no"));
	UNTIL(!upgrade.trial.under_way);
	snprintf(expected, sizeof(expected),
	         "%s does not accept the running configuration (exit status 1): nothing has changed", binary);
	expect_over(false, expected);
	assert_non_null(strstr(log_text, "upgrade: /tmp/test-upgrade-"));
}

static void test_who_asked_is_told_when_all_ends(void **state)
{
	assert_null(begin("vanish"));
	phase = PHASE_DRAINING;
	UNTIL(!upgrade.trial.under_way);
	assert_int_equal(over, 1);
	assert_false(done);
	assert_non_null(strstr(over_text, ": nothing has changed"));
}

static void test_one_that_is_stopped(void **state)
{
	assert_null(begin("hang"));
	phase = PHASE_STOPPING;
	upgrade_stop(&upgrade);
	UNTIL((fixture_pass(20), !upgrade.trial.under_way));
	assert_int_equal(over, 1);
	assert_false(done);
	assert_non_null(strstr(over_text, "(signal 9): nothing has changed")); /* not for the time that it took */
	upgrade_stop(&upgrade);                                                /* where there is none */
	assert_int_equal(over, 1);
}

static void expect_as_before(void)
{
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		assert_int_equal(atomic_load(&children.workers.list[i].trio->leaving), 0);
	assert_false(fixture_goes_over_exec(children.spawner.child.control.fd));
	assert_false(fixture_goes_over_exec(admin_sockets.list[0].fd));
	assert_int_equal(upgrade.guard.lifeline_fd, -1);
	assert_false(children.workers.rolling);
}

/* Between its trial and its turn. */
static void test_one_that_cannot_be_executed_after_all(void **state)
{
	char expected[200];

	fixture_write_line(0, "said before");
	assert_null(begin("vanish"));
	UNTIL(over);
	snprintf(expected, sizeof(expected), "cannot execute %s: No such file or directory: nothing has changed",
	         binary);
	expect_over(false, expected);
	expect_as_before();
	assert_non_null(strstr(fixture_logged(), "said before"));
	UNTIL(!upgrade.trial.under_way);
}

static void test_one_for_which_there_is_no_guard(void **state)
{
	no_descriptors = true;
	assert_null(begin("yes"));
	UNTIL(over);
	expect_over(false, "Too many open files: nothing has changed");
	expect_as_before();
}

/* ---- it works ---- */

static int answer[2];

static void become(void)
{
	close(answer[0]);
	waiting = answer[1];
	files = (struct files){.fd = answer[1], .version = FILES_VERSION_1}; /* which is asked nothing */
	begin("yes");
	for (;;)
		loop_turn(&loop, 100);
}

static void test_one_that_takes_our_place(void **state)
{
	struct pollfd p;
	char text[300] = "";
	pid_t supervisor;

	assert_int_equal(sock_message_pair(answer), 0);
	supervisor = fixture_fork(become);
	close(answer[1]);
	p = (struct pollfd){.fd = answer[0], .events = POLLIN};
	assert_int_equal(poll(&p, 1, FIXTURE_PATIENCE_MS), 1);
	assert_true(read(answer[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "upgraded 1 rolled back 0 key 1234567890abcdef files 1 guard 1 lifeline 1 spawner 1 "
	                          "admin 1");
	assert_int_equal(fixture_end_of(supervisor), 0); /* the same process */
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		assert_int_equal(atomic_load(&children.workers.list[i].trio->leaving), 1);
	assert_non_null(strstr(log_text, "upgrade: becoming /tmp/test-upgrade-"));
	close(answer[0]);
}

/* ---- in the new program ---- */

static int guards; /* its end */

static void have_guard(void)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	guards = ends[0];
	upgrade.guard.fd = ends[1];
}

static void expect_guard_told(const char *word)
{
	char text[8] = "";

	assert_int_equal(read(guards, text, sizeof(text) - 1), 1);
	assert_string_equal(text, word);
	assert_int_equal(read(guards, text, 1), 0);
	close(guards);
}

static void test_who_is_started_afresh(void **state)
{
	struct inheritance left;

	upgrade.guard = (struct guard){.fd = 0, .lifeline_fd = 0};
	inherit_take(&left);
	upgrade_inherit(&upgrade, &left);
	assert_false(upgrade.upgraded);
	assert_int_equal(upgrade.guard.fd, -1);
	assert_int_equal(upgrade.guard.lifeline_fd, -1);
	assert_int_equal(children.spawner.old_fd, -1);
	upgrade_taken_over(&upgrade);
	assert_false(upgrade_leave_reader(&upgrade));
	assert_int_equal(over, 0);
	assert_string_equal(fixture_read(theirs[0]), "");
}

static void test_once_the_trios_are_ours_they_follow(void **state)
{
	have_guard();
	upgrade_taken_over(&upgrade);
	expect_guard_told("g");
	assert_true(children.workers.rolling);
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		assert_int_equal(over, 0);
		assert_string_equal(fixture_read(theirs[i]), "REEXEC+1");
		atomic_fetch_add(&children.workers.list[i].trio->reexecs, 1);
		fixture_pass(5);
	}
	expect_over(true, "version " TCPPROXY_VERSION " serves, 2 of 2 workers run it");
}

static void test_trios_that_retire_need_not(void **state)
{
	have_guard();
	assert_true(upgrade_leave_reader(&upgrade));
	expect_guard_told("r");
	assert_false(children.workers.rolling);
	assert_string_equal(fixture_read(theirs[0]), "");
	expect_over(true, "version " TCPPROXY_VERSION " serves, 2 of 2 workers run it");
}

static void test_a_guard_that_is_the_supervisor_again(void **state)
{
	struct inheritance left;
	char expected[200];

	setenv("TCPPROXY_UPGRADE", "-1 -2 -1 -1 abc", 1);
	inherit_take(&left);
	upgrade_inherit(&upgrade, &left);
	assert_true(upgrade.upgraded);
	assert_true(upgrade_was_rolled_back(&upgrade));
	assert_true(children.workers.key == 0xabc);
	upgrade_taken_over(&upgrade);
	snprintf(expected, sizeof(expected), "%s ended before it was ready: the old program goes on, as process %d",
	         binary, (int)getpid());
	expect_over(false, expected);
	assert_false(children.workers.rolling);
	assert_string_equal(fixture_read(theirs[0]), "");
	upgrade.guard.fd = -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **args)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_begins_only_while_we_serve),
	        TEST(one_at_a_time),
	        TEST(one_that_fails_its_trial),
	        TEST(who_asked_is_told_when_all_ends),
	        TEST(one_that_is_stopped),
	        TEST(one_that_cannot_be_executed_after_all),
	        TEST(one_for_which_there_is_no_guard),
	        TEST(one_that_takes_our_place),
	        TEST(who_is_started_afresh),
	        TEST(once_the_trios_are_ours_they_follow),
	        TEST(trios_that_retire_need_not),
	        TEST(a_guard_that_is_the_supervisor_again),
	};

	if (argc > 1)
		_exit(play(argc, args));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
