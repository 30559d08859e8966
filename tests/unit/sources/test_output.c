/* Lists that are written into a file. */
#include "fixture.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "sources/output.h"

static char dir[] = "/tmp/test-output-XXXXXX", file[64];
static struct loop loop;
static struct output output;
static unsigned said;

static void count(void *arg, enum log_level level, const char *line)
{
	said++;
}

static void write_text(const char *text)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void assert_file(const char *text)
{
	char has[256] = "";
	FILE *f = fopen(file, "r");

	assert_non_null(f);
	has[fread(has, 1, sizeof(has) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(has, text);
}

static ino_t inode(void)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return st.st_ino;
}

static void put(const char *first, const char *second)
{
	if (first)
		lines_add(&lines, first, strlen(first), "one");
	if (second)
		lines_add(&lines, second, strlen(second), "two");
	lines_finish(&lines);
	output_list(&output, &lines, "source");
	lines_release(&lines);
}

static unsigned files(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void a_list_replaces_the_file(void **state)
{
	ino_t before;

	write_text("old:1\n");
	assert_int_equal(chmod(file, 0640), 0);
	before = inode();
	assert_int_equal(output_begin(&output, &loop, file), 0);
	put("b:1", "a:1");
	assert_file("a:1\nb:1\n");
	assert_int_not_equal(inode(), before);
	put(NULL, NULL);
	assert_file("none\n");
	assert_int_equal(files(), 1);
}

static void what_has_not_changed_is_not_written(void **state)
{
	ino_t before;

	write_text("a:1\n");
	before = inode();
	assert_int_equal(output_begin(&output, &loop, file), 0);
	put("a:1", "a:1");
	assert_int_equal(inode(), before);
}

static void a_list_without_a_server_in_it_changes_nothing(void **state)
{
	write_text("a:1\n");
	assert_int_equal(output_begin(&output, &loop, file), 0);
	said = 0;
	put("/bin/sh", "x y");
	put("/bin/sh", "x y");
	assert_file("a:1\n");
	assert_int_equal(said, 3); /* each line once, and that the list stays */
}

static void what_cannot_be_written_is_said_at_once(void **state)
{
	assert_int_equal(output_begin(&output, &loop, "/nowhere/list"), -ENOENT);
	assert_int_equal(output_begin(&output, &loop, dir), -EISDIR);
	assert_int_equal(output_begin(&output, &loop, "/dev/null"), -EINVAL);
}

static int begin(void **state)
{
	log_set_sink(count, NULL);
	snprintf(file, sizeof(file), "%s/list", mkdtemp(dir));
	return loop_init(&loop, -1, NULL, 8);
}

static int end(void **state)
{
	unlink(file);
	buf_release(&output.present);
	buf_release(&output.wanted);
	buf_release(&output.refused);
	loop_release(&loop);
	return rmdir(dir);
}

static int release_output(void **state)
{
	buf_release(&output.present);
	buf_release(&output.wanted);
	buf_release(&output.refused);
	return release(state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(a_list_replaces_the_file, release_output),
	        cmocka_unit_test_teardown(what_has_not_changed_is_not_written, release_output),
	        cmocka_unit_test_teardown(a_list_without_a_server_in_it_changes_nothing, release_output),
	        cmocka_unit_test_teardown(what_cannot_be_written_is_said_at_once, release_output),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
