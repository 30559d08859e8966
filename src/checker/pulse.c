#include "checker/pulse.h"

#define SPREAD_PERCENT 10

bool pulse_hears(struct pulse *p, const struct pulse_rule *r, bool yes)
{
	uint8_t says = yes ? PULSE_UP : PULSE_DOWN, wanted = yes ? r->rise : r->fall;

	if (p->state == says) {
		p->row = 0;
		return false;
	}
	if (p->state != PULSE_UNKNOWN && ++p->row < wanted)
		return false;
	p->state = says;
	p->row = 0;
	return true;
}

static uint32_t usual_ms(const struct pulse *p, const struct pulse_rule *r)
{
	if (p->row > 0)
		return r->fast_ms;
	return p->state == PULSE_DOWN ? r->slow_ms : r->every_ms;
}

uint32_t pulse_pause_ms(const struct pulse *p, const struct pulse_rule *r, uint32_t random)
{
	uint32_t usual = usual_ms(p, r), spread = usual / 100 * SPREAD_PERCENT;

	return usual - spread + (uint32_t)((uint64_t)random * (2 * spread + 1) >> 32);
}

uint32_t pulse_first_ms(const struct pulse_rule *r, uint64_t key)
{
	return (uint32_t)(key % (r->every_ms ? r->every_ms : 1));
}
