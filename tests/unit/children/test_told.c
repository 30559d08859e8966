/* What trios are told of a configuration: the difference to what they know, whenever they read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "os/sock.h"
#include "children/told.h"
#include "children/workers.h"

#define WORKERS 2

static struct loop loop;
static struct rules rules;
static struct workers workers;
static struct worker list[WORKERS];
static int theirs[WORKERS]; /* the workers' ends */
static int64_t now_ms = 1000000;
static char missing[64];
static int done;
static struct buf text; /* what dispatch() returns */

int64_t __wrap_clock_mono_ms(void);

int64_t __wrap_clock_mono_ms(void)
{
	return now_ms;
}

static void heard(void *arg, uint32_t events)
{
	struct worker *w = arg;

	if (events & EPOLLOUT)
		outbox_flush(&w->child.outbox);
}

static void emptied(void *arg)
{
	told_update(arg);
}

/* A listening socket that only has a number. */
static void serve(uint32_t id)
{
	rules.listeners.list = realloc(rules.listeners.list, (rules.listeners.n + 1) * sizeof(*rules.listeners.list));
	rules.listeners.list[rules.listeners.n++] = (struct socket_entry){.id = id, .fd = rules.fd};
}

static void serve_no_more(uint32_t id)
{
	size_t n = 0;

	for (size_t i = 0; i < rules.listeners.n; i++)
		if (rules.listeners.list[i].id != id)
			rules.listeners.list[n++] = rules.listeners.list[i];
	rules.listeners.n = n;
}

static int setup(void **state)
{
	memset(list, 0, sizeof(list));
	memset(&rules, 0, sizeof(rules));
	workers = (struct workers){.loop = &loop, .rules = &rules, .list = list, .n = WORKERS, .told_number = 1};
	done = 0;
	*missing = '\0';
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	rules.fd = memfd_create("rules", MFD_CLOEXEC);
	rules.generation = 1;
	for (uint32_t i = 0; i < WORKERS; i++) {
		int pair[2];

		assert_int_equal(sock_message_pair(pair), 0);
		theirs[i] = pair[1];
		list[i] = (struct worker){.workers = &workers, .number = i, .adopted = true};
		outbox_init(&list[i].child.outbox, &loop, &list[i].child.control, emptied, &list[i]);
		assert_int_equal(watch_add(&loop, &list[i].child.control, pair[0], EPOLLIN, heard, &list[i]), 0);
		told_begin(&list[i], 1, NULL);
	}
	return 0;
}

static int teardown(void **state)
{
	for (uint32_t i = 0; i < WORKERS; i++) {
		int fd = list[i].child.control.fd;

		watch_remove(&loop, &list[i].child.control);
		close(fd);
		close(theirs[i]);
		outbox_clear(&list[i].child.outbox);
		told_end(&list[i]);
	}
	told_check(&workers);
	free(rules.listeners.list);
	close(rules.fd);
	loop_release(&loop);
	buf_release(&text);
	return 0;
}

static void add_message(const struct wire *w)
{
	static const struct {
		uint32_t type;
		char letter;
	} letters[] = {{WIRE_RULES, 'R'}, {WIRE_LISTEN, 'L'}, {WIRE_UNLISTEN, 'U'}, {WIRE_SYNC, 'S'}, {WIRE_KILL, 'K'}};

	if (text.len)
		buf_addc(&text, ' ');
	for (size_t i = 0; i < ARRAY_LEN(letters); i++)
		if (letters[i].type == w->type)
			buf_addc(&text, letters[i].letter);
	for (uint32_t i = 0; i < w->n; i++)
		buf_addf(&text, "%s%u", i ? "," : "", w->ids[i]);
	if (w->type == WIRE_RULES || w->type == WIRE_SYNC)
		buf_addf(&text, "%u", (unsigned)w->generation);
}

/* What the worker reads until there is nothing more, "R2 L5,6 U1 S3"; it answers. */
static const char *dispatch(uint32_t worker)
{
	buf_clear(&text);
	buf_adds(&text, "");
	for (;;) {
		int fds[SOCK_MAX_FDS], rc;
		size_t n_fds = SOCK_MAX_FDS;
		struct wire w;

		rc = sock_recv_message(theirs[worker], &w, sizeof(w), fds, &n_fds);
		if (rc == -EAGAIN && outbox_is_empty(&list[worker].child.outbox))
			return text.len ? text.s : "";
		if (rc == -EAGAIN) {
			assert_int_equal(loop_turn(&loop, 0), 0);
			continue;
		}
		assert_int_equal(rc, sizeof(w));
		assert_int_equal(n_fds, w.type == WIRE_LISTEN ? w.n : w.type == WIRE_RULES);
		while (n_fds > 0)
			close(fds[--n_fds]);
		add_message(&w);
		if (w.type == WIRE_SYNC)
			told_obeyed(&list[worker], w.generation);
	}
}

static void over(void *arg, const char *who)
{
	done++;
	snprintf(missing, sizeof(missing), "%s", who ? who : "");
}

static void reload(void)
{
	rules.generation++;
	told_update_all(&workers);
}

static void test_a_new_one_is_told_all(void **state)
{
	serve(3);
	serve(1);
	told_update(&list[0]);
	assert_string_equal(dispatch(0), "L1,3 S1");
	told_update(&list[0]);
	assert_string_equal(dispatch(0), "");
}

static void test_one_that_was_taken_over_knows_some(void **state)
{
	static struct socket_entry known[] = {{.id = 1}, {.id = 2}};

	serve(2);
	serve(4);
	told_begin(&list[0], 0, &(struct sockets){.list = known, .n = 2});
	told_update(&list[0]);
	assert_string_equal(dispatch(0), "R1 L4 U1 S1");
}

static void test_rules_come_first_and_what_is_gone_last(void **state)
{
	serve(1);
	serve(2);
	told_update(&list[0]);
	dispatch(0);
	serve_no_more(1);
	serve(3);
	reload();
	assert_string_equal(dispatch(0), "R2 L3 U1 S2");
}

/* Whatever else waits for it. */
static void test_one_that_does_not_read_is_told_the_latest(void **state)
{
	serve(1);
	told_update(&list[0]);
	dispatch(0);
	while (outbox_is_empty(&list[0].child.outbox))
		worker_send(&list[0], &(struct wire){.type = WIRE_KILL}, NULL, 0);
	for (uint32_t i = 2; i < 100; i++) {
		serve_no_more(i - 1);
		serve(i);
		reload();
	}
	assert_non_null(strstr(dispatch(0), "K R99 L99 U1 S99"));
}

static void test_many_go_in_parts(void **state)
{
	const uint32_t many = 40 * SOCK_MAX_FDS + 7;
	uint32_t parts = 0;
	int little = 1; /* the least that the kernel gives */

	assert_int_equal(setsockopt(list[0].child.control.fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
	for (uint32_t i = 1; i <= many; i++)
		serve(i);
	told_update(&list[0]);
	assert_false(outbox_is_empty(&list[0].child.outbox));
	assert_true(list[0].child.outbox.n == 1); /* no more waits than one */
	for (const char *at = dispatch(0); (at = strchr(at, 'L')); at++)
		parts++;
	assert_true(parts > 1);
	assert_int_equal(list[0].told.n, many);
	assert_int_equal(list[0].told.obeyed, 1);
	rules.listeners.n = 0;
	reload();
	dispatch(0);
	assert_int_equal(list[0].told.n, 0);
}

static void test_it_is_over_when_all_have_obeyed(void **state)
{
	reload();
	told_wait(&workers, over, NULL);
	dispatch(0);
	assert_int_equal(done, 0);
	dispatch(1);
	assert_int_equal(done, 1);
	assert_string_equal(missing, "");
}

static void test_who_does_not_answer_is_named(void **state)
{
	reload();
	told_wait(&workers, over, NULL);
	dispatch(0);
	now_ms += 1999;
	assert_int_equal(loop_turn(&loop, 0), 0);
	assert_int_equal(done, 0);
	now_ms += 1;
	assert_int_equal(loop_turn(&loop, 0), 0);
	assert_int_equal(done, 1);
	assert_string_equal(missing, "worker 1");
	assert_true(list[1].told.late);
	dispatch(1);
	assert_false(list[1].told.late);
}

static void test_nobody_waits_for_one_that_is_no_more(void **state)
{
	int fd = list[1].child.control.fd;

	reload();
	told_wait(&workers, over, NULL);
	dispatch(0);
	watch_remove(&loop, &list[1].child.control);
	close(fd);
	told_check(&workers);
	assert_int_equal(done, 1);
	assert_string_equal(missing, "");
}

/* It may say any number. */
static void test_what_it_was_not_told_it_has_not_obeyed(void **state)
{
	reload();
	told_wait(&workers, over, NULL);
	dispatch(0);
	told_obeyed(&list[1], 7);
	told_obeyed(&list[1], UINT64_MAX);
	assert_int_equal(done, 0);
	dispatch(1);
	assert_int_equal(done, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_new_one_is_told_all),
	        TEST(one_that_was_taken_over_knows_some),
	        TEST(rules_come_first_and_what_is_gone_last),
	        TEST(one_that_does_not_read_is_told_the_latest),
	        TEST(many_go_in_parts),
	        TEST(it_is_over_when_all_have_obeyed),
	        TEST(who_does_not_answer_is_named),
	        TEST(nobody_waits_for_one_that_is_no_more),
	        TEST(what_it_was_not_told_it_has_not_obeyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
