/* Files that change are heard of, however they do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/pathwatch.h"

static char folder[] = "/tmp/pathwatch-XXXXXX";
static struct pathwatch paths;

static int enter(void **state)
{
	strcpy(folder, "/tmp/pathwatch-XXXXXX");
	assert_non_null(mkdtemp(folder));
	return chdir(folder);
}

static int leave(void **state)
{
	char *command = mem_printf("rm -rf %s", folder);

	pathwatch_close(&paths);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(system(command), 0);
	free(command);
	return 0;
}

static void write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void watch(const char *name)
{
	char *path = mem_printf("%s/%s", folder, name);

	pathwatch_close(&paths);
	pathwatch_open(&paths);
	pathwatch_add(&paths, path);
	free(path);
}

static void assert_heard(bool heard)
{
	struct pollfd p = {.fd = paths.fd, .events = POLLIN};

	assert_true(!heard || poll(&p, 1, 10000) == 1);
	assert_int_equal(pathwatch_heard(&paths), heard);
}

static void it_is_written(void **state)
{
	write_file("f", "a");
	watch("f");
	assert_true(paths.whole);
	assert_heard(false);
	write_file("f", "b");
	assert_heard(true);
	write_file("other", "b");
	assert_heard(false);
}

static void it_is_renamed_over_made_and_removed(void **state)
{
	watch("f");
	assert_true(paths.whole);
	write_file("f", "a");
	assert_heard(true);
	watch("f");
	write_file("g", "b");
	assert_heard(false);
	assert_int_equal(rename("g", "f"), 0);
	assert_heard(true);
	watch("f");
	assert_int_equal(unlink("f"), 0);
	assert_heard(true);
}

static void a_link_on_the_way_is_swapped(void **state)
{
	assert_int_equal(mkdir("one", 0755) + mkdir("two", 0755), 0);
	write_file("one/f", "a");
	write_file("two/f", "b");
	assert_int_equal(symlink("one", "..data") + symlink("..data/f", "f"), 0);
	watch("f");
	assert_true(paths.whole);
	write_file("one/f", "c");
	assert_heard(true);
	watch("f");
	assert_int_equal(symlink("two", "..new") + rename("..new", "..data"), 0);
	assert_heard(true);
	watch("f");
	write_file("two/f", "c");
	assert_heard(true);
	watch("./one/../f");
	write_file("two/f", "d");
	assert_heard(true);
}

static void its_directory_comes_and_goes(void **state)
{
	watch("d/e/f");
	assert_int_equal(mkdir("d", 0755), 0);
	assert_heard(true);
	watch("d/e/f");
	assert_int_equal(mkdir("d/e", 0755), 0);
	assert_heard(true);
	watch("d/e/f");
	assert_int_equal(rmdir("d/e"), 0);
	assert_heard(true);
}

static void ways_without_an_end(void **state)
{
	char *path = mem_alloc(8000);

	assert_int_equal(symlink("g", "f") + symlink("f", "g"), 0);
	watch("f");
	memset(path, 'a', 7999);
	pathwatch_add(&paths, path);
	assert_false(paths.whole);
	pathwatch_add(&paths, "/");
	pathwatch_add(&paths, "");
	assert_heard(false);
	free(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_is_written),
	        TEST(it_is_renamed_over_made_and_removed),
	        TEST(a_link_on_the_way_is_swapped),
	        TEST(its_directory_comes_and_goes),
	        TEST(ways_without_an_end),
	};

	paths.fd = -1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
