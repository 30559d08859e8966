#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define US_PER_S 1000000

static int64_t now_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts); /* cannot fail for these clocks */
	return (int64_t)ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

int64_t clock_mono_ms(void)
{
	return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
	return now_us(CLOCK_REALTIME);
}

int64_t clock_cpu_us(void)
{
	return now_us(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t clock_span(int64_t from, int64_t to)
{
	int64_t span;

	return __builtin_sub_overflow(to, from, &span) ? (to > from ? INT64_MAX : INT64_MIN) : span;
}

int64_t clock_ms_as_us(int64_t ms)
{
	int64_t us;

	return __builtin_mul_overflow(ms, 1000, &us) ? (ms > 0 ? INT64_MAX : INT64_MIN) : us;
}

const char *clock_format(int64_t wall_us, char *buf)
{
	int64_t us = wall_us % US_PER_S;
	time_t seconds = (time_t)(wall_us / US_PER_S);
	struct tm tm;
	char text[24];
	unsigned minutes;

	if (us < 0) { /* before 1970: the fraction counts upwards there, too */
		us += US_PER_S;
		seconds--;
	}
	if (!localtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm)) {
		snprintf(buf, CLOCK_TEXT_MAX, "-");
		return buf;
	}
	minutes = (unsigned)labs(tm.tm_gmtoff) / 60;
	snprintf(buf, CLOCK_TEXT_MAX, "%s.%03u%c%02u:%02u", text, (unsigned)us / 1000 % 1000,
	         tm.tm_gmtoff < 0 ? '-' : '+', minutes / 60 % 100, minutes % 60);
	return buf;
}
