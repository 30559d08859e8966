#include "base/mem.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"

static bool serves;

/* A sink needs no memory for a line so short; should one want some all the same, it is not asked again. */
static void tell(size_t n)
{
	static bool told;

	if (told)
		return;
	told = true;
	if (serves)
		log_error("out of memory (%zu bytes wanted): process %d ends itself (SIGABRT)", n, (int)getpid());
	else
		log_error("out of memory (%zu bytes wanted)", n);
}

static _Noreturn void out_of_memory(size_t n)
{
	tell(n);
	if (serves)
		abort();
	exit(2);
}

void mem_serve(void)
{
	serves = true;
}

void *mem_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (!p)
		out_of_memory(n);
	return p;
}

void *mem_resize(void *p, size_t count, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(count, size, &n))
		out_of_memory(SIZE_MAX);
	p = realloc(p, n ? n : 1);
	if (!p)
		out_of_memory(n);
	return p;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *copy = mem_alloc(len + 1);

	memcpy(copy, s, len);
	return copy;
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (len < 0)
		out_of_memory(0);
	return s;
}
