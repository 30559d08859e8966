/* Which links are followed, and what is opened at their ends. As root, in a sticky directory: that of all tests. */
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
#include <sys/stat.h>
#include <unistd.h>
#include "os/safepath.h"

#define NOBODY 65534

static char top[] = "/tmp/test-safepath-XXXXXX";

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
	FILE *f = fopen(in_top(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/*   roots/        root's                  file, to_file -> file, up -> ../other/file, far -> TOP/other/file, out -> ../theirs/file
 *   other/        root's                  file
 *   theirs/       the service user's      file, link -> ../other/file (root's), sub/ (root's)
 *   shared/       anybody's, sticky       link -> ../other/file (root's), theirs -> ../other/file
 */
static int setup(void **state)
{
	if (geteuid() != 0)
		return 0;
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	for (const char *const *d = (const char *const[]){"roots", "other", "theirs", "shared", "theirs/sub", NULL}; *d;
	     d++)
		assert_int_equal(mkdir(in_top(*d), 0755), 0);
	make("roots/file", "roots");
	make("other/file", "other");
	make("theirs/file", "theirs");
	make("theirs/sub/file", "sub");
	assert_int_equal(symlink("file", in_top("roots/to_file")), 0);
	assert_int_equal(symlink("../other/file", in_top("roots/up")), 0);
	assert_int_equal(symlink(in_top("other/file"), in_top("roots/far")), 0);
	assert_int_equal(symlink("../theirs/file", in_top("roots/out")), 0);
	assert_int_equal(symlink("missing", in_top("roots/dangling")), 0);
	assert_int_equal(symlink("loop", in_top("roots/loop")), 0);
	assert_int_equal(symlink("../other/file", in_top("theirs/link")), 0);
	assert_int_equal(symlink("../other", in_top("theirs/folder")), 0);
	assert_int_equal(symlink("../other/file", in_top("shared/link")), 0);
	assert_int_equal(symlink("../other/file", in_top("shared/theirs")), 0);
	assert_int_equal(symlink("file", in_top("roots/given")), 0);
	assert_int_equal(mkfifo(in_top("roots/fifo"), 0600), 0);
	assert_int_equal(mknod(in_top("roots/device"), S_IFCHR | 0666, 0x103), 0);
	assert_int_equal(link(in_top("other/file"), in_top("theirs/hard")), 0);
	assert_int_equal(link(in_top("roots/file"), in_top("roots/hard")), 0);
	assert_int_equal(lchown(in_top("shared/theirs"), NOBODY, NOBODY), 0);
	assert_int_equal(lchown(in_top("roots/given"), NOBODY, NOBODY), 0);
	assert_int_equal(chmod(in_top("shared"), 01777), 0);
	assert_int_equal(chown(in_top("theirs"), NOBODY, NOBODY), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	if (geteuid() != 0)
		return 0;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

/* What a path leads to, read; or the error. */
static int reads(const char *name, const char *text)
{
	struct safepath folder, at;
	char found[16] = "";
	int fd, rc = safepath_directory(in_top(name), &folder);

	if (rc < 0)
		return rc;
	rc = safepath_follow(folder.dir, folder.name, &at);
	safepath_release(&folder);
	if (rc < 0)
		return rc;
	fd = safepath_open(&at, O_RDONLY);
	safepath_release(&at);
	if (fd < 0)
		return fd;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	if (text) {
		assert_int_equal(read(fd, found, sizeof(found) - 1), (ssize_t)strlen(text));
		assert_string_equal(found, text);
	}
	close(fd);
	return 0;
}

#define AS_ROOT()           \
	if (geteuid() != 0) \
	skip()

static void links_of_root_s_are_followed(void **state)
{
	AS_ROOT();
	assert_int_equal(reads("roots/file", "roots"), 0);
	assert_int_equal(reads("roots/to_file", "roots"), 0);
	assert_int_equal(reads("roots/up", "other"), 0);
	assert_int_equal(reads("roots/far", "other"), 0);
	assert_int_equal(reads("shared/link", "other"), 0);
	assert_int_equal(reads("theirs/file", "theirs"), 0); /* no link at all */
	assert_int_equal(reads("theirs/sub/file", "sub"), 0);
}

static void others_are_not(void **state)
{
	AS_ROOT();
	assert_int_equal(reads("theirs/link", NULL), -ELOOP);
	assert_int_equal(reads("theirs/folder/file", NULL), -ELOOP);
	assert_int_equal(reads("shared/theirs", NULL), -ELOOP);
	assert_int_equal(reads("roots/given", NULL), -ELOOP);
	assert_int_equal(reads("roots/loop", NULL), -ELOOP);
	/* root's link, but whoever may write the directory decides what is there */
	assert_int_equal(reads("roots/out", NULL), -ELOOP);
}

static void only_files_are_opened(void **state)
{
	AS_ROOT();
	assert_int_equal(reads("roots/fifo", NULL), 0);
	assert_int_equal(reads("roots/device", NULL), -ENODEV);
	assert_int_equal(reads("roots", NULL), -EISDIR);
	assert_int_equal(reads("roots/nothing", NULL), -ENOENT);
	assert_int_equal(reads("roots/file/below", NULL), -ENOTDIR);
	assert_int_equal(reads("theirs/hard", NULL), -EMLINK);
	assert_int_equal(reads("roots/hard", "roots"), 0);
}

/* What is not there yet is made where the link leads. */
static void a_file_is_made_behind_a_link(void **state)
{
	struct safepath folder, at;
	int fd;

	AS_ROOT();
	assert_int_equal(safepath_directory(in_top("roots/dangling"), &folder), 0);
	assert_int_equal(safepath_follow(folder.dir, folder.name, &at), 0);
	assert_string_equal(at.name, "missing");
	assert_int_equal(safepath_open(&at, O_WRONLY), -ENOENT);
	fd = safepath_create(&at, O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(safepath_create(&at, O_WRONLY, 0600), -EEXIST);
	assert_int_equal(access(in_top("roots/missing"), F_OK), 0);
	close(fd);
	safepath_release(&at);
	safepath_release(&folder);
}

static void a_file_is_written_anew(void **state)
{
	struct stat st;
	int fd;

	AS_ROOT();
	make("roots/old", "something");
	fd = safepath_open_new(in_top("roots/old"), 0600);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	assert_int_equal(safepath_open_new(in_top("theirs/link"), 0600), -ELOOP);
	assert_int_equal(reads("other/file", "other"), 0);
	fd = safepath_open_new("/dev/null", 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void long_names_are_refused(void **state)
{
	char path[PATH_MAX + 100];
	struct safepath at;

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(safepath_directory(path, &at), -ENAMETOOLONG);
	path[NAME_MAX + 5] = '\0';
	assert_true(safepath_directory(path, &at) < 0);
	assert_true(safepath_plain_directory(path, &at) < 0);
	assert_true(safepath_directory("/", &at) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(links_of_root_s_are_followed), cmocka_unit_test(others_are_not),
	        cmocka_unit_test(only_files_are_opened),        cmocka_unit_test(a_file_is_made_behind_a_link),
	        cmocka_unit_test(a_file_is_written_anew),       cmocka_unit_test(long_names_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
