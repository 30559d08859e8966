/*
 * pulse.h - from the answers of checks to a state, and when to ask again. Pure: the counts are a value, which stands in shared memory,
 * so that the death of a checker delays nothing.
 */
#ifndef CHECKER_PULSE_H
#define CHECKER_PULSE_H

#include <stdbool.h>
#include <stdint.h>

enum pulse_state { PULSE_UNKNOWN, PULSE_UP, PULSE_DOWN };

#define PULSE_EVERY_MIN_MS 100

struct pulse_rule {
	uint32_t every_ms, fast_ms, slow_ms; /* while nothing changes; while it is changing; while down */
	uint8_t rise, fall;                  /* so many answers in a row that say otherwise change the state */
};

struct pulse {
	uint8_t state; /* enum pulse_state */
	uint8_t row;   /* answers in a row that say otherwise */
};

/* The first answer counts alone. True: the state has changed. */
bool pulse_hears(struct pulse *p, const struct pulse_rule *r, bool yes);
/* Milliseconds from the beginning of one check to that of the next; within 10 % of the rule, which random (any number) says. */
uint32_t pulse_pause_ms(const struct pulse *p, const struct pulse_rule *r, uint32_t random);
/* Until the first check after a start: spread over the interval, the same for the same key. */
uint32_t pulse_first_ms(const struct pulse_rule *r, uint64_t key);

#endif
