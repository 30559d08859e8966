/* "tcpproxy: files": what is asked, and what is listed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../child.h"
#include "base/mem.h"
#include "files/files.h"
#include "os/landlock.h"
#include "os/sock.h"

static char top[] = "/tmp/test-files-XXXXXX";

static const char *in_top(const char *name)
{
	static char paths[4][256];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static void make(const char *name, const char *text)
{
	int fd = open(in_top(name), O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static int setup(void **state)
{
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	assert_int_equal(mkdir(in_top("private"), 0700), 0);
	assert_int_equal(mkdir(in_top("private/sub"), 0700), 0);
	make("private/a.conf", "a");
	make("private/b.conf", "b");
	make("private/.c.conf", "c");
	make("private/other", "other");
	make("private/sub/d.conf", "d");
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

/* ---- the wire ---- */

static struct files_wish wish;

static uint32_t understood(const void *message, size_t len)
{
	files_wire_read(message, len, &wish);
	return wish.version;
}

static void questions_of_both_versions_are_understood(void **state)
{
	struct files_question q = {.version = FILES_VERSION, .verb = FILES_LIST, .serial = 7, .path = "/x"};
	struct files_question_1 old = {.version = FILES_VERSION_1, .verb = FILES_APPEND, .path = "/y"};
	struct files_answer a;

	assert_int_equal(understood(&q, offsetof(struct files_question, path) + 3), FILES_VERSION);
	assert_int_equal(wish.verb, FILES_LIST);
	assert_string_equal(wish.path, "/x");
	assert_int_equal(files_wire_answer(&wish, -ELOOP, "why", &a), sizeof(a));
	assert_int_equal(a.serial, 7);
	assert_int_equal(a.result, -ELOOP);
	assert_string_equal(a.why, "why");

	assert_int_equal(understood(&old, sizeof(old)), FILES_VERSION_1);
	assert_int_equal(wish.verb, FILES_APPEND);
	assert_string_equal(wish.path, "/y");
	assert_int_equal(files_wire_answer(&wish, 0, NULL, &a), sizeof(int32_t));
}

static void anything_else_is_answered_as_the_first_version_did(void **state)
{
	struct files_question q = {.version = 99, .verb = FILES_READ, .path = "/x"};
	struct files_question_1 old = {.version = FILES_VERSION_1, .verb = FILES_LIST};
	struct files_answer a;

	assert_int_equal(understood(&q, sizeof(q)), 0);
	assert_int_equal(files_wire_answer(&wish, 0, NULL, &a), sizeof(int32_t));
	assert_int_equal(a.result, -EPROTO);
	assert_int_equal(understood(&q, 2), 0);
	q.version = FILES_VERSION;
	q.verb = FILES_COMMIT + 1;
	assert_int_equal(understood(&q, sizeof(q)), 0);
	q.verb = FILES_READ;
	assert_int_equal(understood(&q, offsetof(struct files_question, path)), 0);
	assert_int_equal(understood(&q, offsetof(struct files_question, path) + 2), 0); /* its NUL is missing */
	memset(q.path, 'x', sizeof(q.path));
	assert_int_equal(understood(&q, sizeof(q)), 0);
	assert_int_equal(understood(&old, sizeof(old)), 0); /* a verb of later */
	old.verb = FILES_READ;
	assert_int_equal(understood(&old, sizeof(old) - 1), 0);
	memset(old.path, 'x', sizeof(old.path));
	assert_int_equal(understood(&old, sizeof(old)), 0);
}

/* ---- the list ---- */

static void only_what_is_listed_is_found(void **state)
{
	struct files_list l = {.n = 0};
	const char *name;

	files_list_add(&l, FILES_READ, in_top("private/other"));
	files_list_add(&l, FILES_APPEND, in_top("private/log"));
	files_list_add(&l, FILES_APPEND, in_top("missing/log"));
	files_list_add_pattern(&l, in_top("*/*.conf"));
	assert_non_null(files_list_find(&l, FILES_READ, in_top("private/other"), &name));
	assert_string_equal(name, "other");
	assert_non_null(files_list_find(&l, FILES_APPEND, in_top("private/log"), &name));
	assert_null(files_list_find(&l, FILES_APPEND, in_top("private/other"), &name));
	assert_null(files_list_find(&l, FILES_READ, in_top("private/log"), &name));
	assert_null(files_list_find(&l, FILES_REMOVE, in_top("private/other"), &name));
	assert_null(files_list_find(&l, FILES_APPEND, in_top("missing/log"), &name));
	/* what can be listed can be read */
	assert_non_null(files_list_find(&l, FILES_READ, in_top("private/new.conf"), &name));
	assert_string_equal(name, "new.conf");
	assert_null(files_list_find(&l, FILES_READ, in_top("private/.hidden.conf"), &name));
	assert_null(files_list_find(&l, FILES_READ, in_top("private/sub/d.conf"), &name));
	assert_null(files_list_find(&l, FILES_READ, in_top("private/../private/x.conf"), &name));
	assert_null(files_list_find(&l, FILES_APPEND, in_top("private/new.conf"), &name));
	assert_null(files_list_find(&l, FILES_READ, "x.conf", &name));
	assert_null(files_list_find(&l, FILES_READ, "", &name));
	files_list_release(&l);
}

/* ---- the process ---- */

static struct files f;

static void start_helper(void)
{
	struct identity id = {.uid = 65534, .gid = 65534, .user = "nobody"};
	struct files_list l = {.n = 0};

	files_list_add(&l, FILES_READ, in_top("private/other"));
	files_list_add(&l, FILES_APPEND, in_top("private/log"));
	files_list_add(&l, FILES_REMOVE, in_top("private/socket"));
	files_list_add(&l, FILES_PID, in_top("private/pid"));
	files_list_add_pattern(&l, in_top("private/*.conf"));
	f = (struct files){.fd = -1, .root_was = true};
	EXPECT(files_start(&f, &id, &l));
	EXPECT(user_become(&id, NULL, 0) == 0);
	files_list_release(&l);
}

static bool says(int fd, const char *text)
{
	char found[32] = "";
	bool same = fd >= 0 && read(fd, found, sizeof(found) - 1) == (ssize_t)strlen(text) && strcmp(found, text) == 0;

	close(fd);
	return same;
}

static void uses_helper(void)
{
	const char *why;
	char **paths;
	int fd;

	start_helper();
	EXPECT(says(files_open_read(&f, in_top("private/other")), "other"));
	EXPECT(says(files_open_read(&f, in_top("private/a.conf")), "a"));
	EXPECT(files_open_read(&f, in_top("private/secret")) == -ENOKEY);
	EXPECT(files_open_read(&f, "/etc/shadow") == -ENOKEY);
	EXPECT(!files_read(&f, in_top("private/secret"), &why));
	EXPECT(strstr(why, "private/secret can be read after the next restart"));
	paths = files_glob(&f, in_top("private/*.conf"));
	EXPECT(paths && strcmp(paths[0], in_top("private/a.conf")) == 0);
	EXPECT(strcmp(paths[1], in_top("private/b.conf")) == 0 && !paths[2]);
	EXPECT(!files_glob(&f, in_top("private/*")));
	fd = files_open_log(&f, in_top("private/log"));
	EXPECT(fd >= 0 && write(fd, "line\n", 5) == 5 && close(fd) == 0);
	EXPECT(files_unlink(&f, in_top("private/other")) == -ENOKEY);
	EXPECT(files_unlink(&f, in_top("private/socket")) == -ENOENT);
	EXPECT(files_write_pid(&f, in_top("private/pid"), false) == 0);
	EXPECT(files_open_log(&f, in_top("private/pid")) == -ENOKEY);
	fd = files_another(&f);
	EXPECT(fd >= 0 && fd != f.fd);
	files_stop(&f);
	f = (struct files){.fd = fd, .root_was = true};
	EXPECT(says(files_open_read(&f, in_top("private/other")), "other"));
	EXPECT(!files_is_old(&f));
}

static void the_helper_does_what_is_listed(void **state)
{
	struct stat st;
	char pid[16] = "";
	int fd;

	if (geteuid() != 0 || !landlock_available())
		skip();
	in_child(uses_helper);
	assert_int_equal(stat(in_top("private/log"), &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	fd = open(in_top("private/pid"), O_RDONLY);
	assert_true(read(fd, pid, sizeof(pid) - 1) > 1);
	assert_true(atoi(pid) > 1 && pid[strlen(pid) - 1] == '\n');
	close(fd);
}

/* It wants none, and keeps none: whoever reads from the pipe comes to its end. */
static void sends_descriptors(void)
{
	static const struct files_question q = {.version = FILES_VERSION, .verb = FILES_READ, .path = "/x"};
	struct pollfd p = {.events = POLLIN};
	int ends[2];
	char byte;

	start_helper();
	for (size_t n = 1; n < 6; n++) {
		EXPECT(pipe(ends) == 0);
		EXPECT(sock_send_message(f.fd, &q, sizeof(q), (int[]){ends[1], ends[1], ends[1], ends[1], ends[1]},
		                         n) == 0);
		close(ends[1]);
		p.fd = ends[0];
		EXPECT(poll(&p, 1, 5000) == 1 && read(ends[0], &byte, 1) == 0);
		close(ends[0]);
	}
}

static void the_helper_keeps_no_descriptor(void **state)
{
	if (geteuid() != 0 || !landlock_available())
		skip();
	in_child(sends_descriptors);
}

/* An answer that comes too late, with a descriptor: it is nobody's. */
static void asks_the_slow(void)
{
	struct files_question q;
	struct files_answer a;
	int pair[2], null = open("/dev/null", O_RDONLY), before, len;
	size_t n_fds = 0;

	EXPECT(sock_message_pair(pair) == 0);
	EXPECT(user_become(&(struct identity){.uid = 65534, .gid = 65534}, NULL, 0) == 0);
	f = (struct files){.fd = pair[0], .root_was = true};
	EXPECT(files_open_read(&f, in_top("private/other")) == -ETIMEDOUT);
	EXPECT(files_open_read(&f, in_top("private/other")) == -ETIMEDOUT); /* at once, and not asked */
	len = sock_recv_message(pair[1], &q, sizeof(q), NULL, &n_fds);
	EXPECT(len > 0);
	EXPECT(sock_recv_message(pair[1], &q, sizeof(q), NULL, NULL) == -EAGAIN);
	a = (struct files_answer){.version = q.version, .serial = q.serial};
	EXPECT(sock_send_message(pair[1], &a, sizeof(a), &null, 1) == 0);
	before = dup(0);
	close(before);
	/* it has come, and is dropped; the next question is another's */
	EXPECT(files_open_read(&f, in_top("private/other")) == -ETIMEDOUT);
	EXPECT(dup(0) == before); /* the descriptor was closed */
	len = sock_recv_message(pair[1], &q, sizeof(q), NULL, NULL);
	EXPECT(len > 0 && q.serial == a.serial + 1);
}

static void a_late_answer_is_nobody_s(void **state)
{
	if (geteuid() != 0)
		skip();
	in_child(asks_the_slow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(questions_of_both_versions_are_understood),
	        cmocka_unit_test(anything_else_is_answered_as_the_first_version_did),
	        cmocka_unit_test(only_what_is_listed_is_found),
	        cmocka_unit_test(the_helper_does_what_is_listed),
	        cmocka_unit_test(the_helper_keeps_no_descriptor),
	        cmocka_unit_test(a_late_answer_is_nobody_s),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
