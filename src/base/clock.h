/*
 * clock.h - time. Names carry the unit (_ms, _us); monotonic times are only compared with
 * monotonic times, and are the same for all processes of this machine.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_us(void); /* microseconds since 1970 */
int64_t clock_cpu_us(void);  /* time of a processor that this process has taken; a system call */

/* From one time to another, and milliseconds as microseconds: as far as there are numbers for it. For times that strangers have
 * written. */
int64_t clock_span(int64_t from, int64_t to);
int64_t clock_ms_as_us(int64_t ms);

#define CLOCK_TEXT_MAX 40
/* "2026-09-03T14:05:09.123+02:00", local time. buf holds CLOCK_TEXT_MAX bytes. Returns buf. */
const char *clock_format(int64_t wall_us, char *buf);

#endif
