#include "proxy/eject.h"

#include <errno.h>

static uint32_t count_ejected(const struct world *w, const struct pool *p, int64_t now_ms)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n; i++)
		n += p->targets[i] < TARGETS_MAX && ejection_is_on(&w->ejections[p->targets[i]], now_ms);
	return n;
}

/* How many of a pool may be ejected at a time; the only server never is. */
static uint32_t allowed(const struct section *s, const struct pool *p)
{
	return p->n > 1 ? (uint32_t)((uint64_t)p->n * s->eject.share / 100) : 0;
}

bool eject_failed(struct world *w, const struct section *s, const struct pool *p, uint32_t i, bool early,
                  int64_t now_ms)
{
	uint32_t target = i < p->n ? p->targets[i] : TARGET_NONE, most = allowed(s, p);
	struct ejected what;

	if (target >= TARGETS_MAX || !ejection_failed(&w->ejections[target], s->eject.after, now_ms) ||
	    count_ejected(w, p, now_ms) >= most ||
	    !ejection_begin(&w->ejections[target], &s->eject, early, now_ms, &what))
		return false;
	/* Counted once more when it is done: of two workers that eject the last that may be both step back, but never both go on. */
	if (count_ejected(w, p, now_ms) <= most)
		return true;
	ejection_withdraw(&w->ejections[target], &what);
	return false;
}

bool eject_is_servers(int error)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL: /* no port is left, or the source address is gone */
	case EADDRINUSE:
	case EACCES:
	case EPERM:
	case ENODEV:
	case ENONET:
		return false;
	default:
		return true;
	}
}
