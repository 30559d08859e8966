/* What becomes of a process that finds no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"

static char told[1000];

/* Wait status of a child without memory; what it writes to its stderr goes to `told`. */
static int without_memory(void (*prepare)(void))
{
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		const struct rlimit none = {0, 0};

		dup2(ends[1], STDERR_FILENO);
		setrlimit(RLIMIT_CORE, &none);
		prepare();
		setrlimit(RLIMIT_AS, &none);
		mem_alloc(100 << 20);
		_exit(0);
	}
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = read(ends[0], told, sizeof(told) - 1);
	told[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	return status;
}

static void nothing(void)
{
}

static void before_it_serves_a_start_has_failed(void **state)
{
	int status = without_memory(nothing);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 2);
	assert_string_equal(told, "tcpproxy: out of memory (104857600 bytes wanted)\n");
}

static void later_it_dies_of_a_signal(void **state)
{
	int status = without_memory(mem_serve);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_ptr_equal(strstr(told, "tcpproxy: out of memory (104857600 bytes wanted): process "), told);
}

static void greedy_sink(void *arg, enum log_level level, const char *line)
{
	dprintf(STDERR_FILENO, "to the sink: %s\n", line);
	mem_alloc(100 << 20);
	_exit(0);
}

static void serve_with_a_sink(void)
{
	mem_serve();
	log_set_sink(greedy_sink, NULL);
}

/* It is asked once; what it wants itself is not told. */
static void the_log_is_told(void **state)
{
	int status = without_memory(serve_with_a_sink);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_ptr_equal(strstr(told, "to the sink: out of memory"), told);
	assert_ptr_equal(strchr(told, '\n'), strrchr(told, '\n'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(before_it_serves_a_start_has_failed),
	        cmocka_unit_test(later_it_dies_of_a_signal),
	        cmocka_unit_test(the_log_is_told),
	};

#if defined(__SANITIZE_ADDRESS__)
	return 0; /* a sanitizer has memory of its own, and ends in its own way when there is none */
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
