/*
 * progress.h - whether this process gets anything done: a client was accepted, something was read or written. A loop that
 * is woken again and again and gets nothing done spins (event/spin.h).
 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

extern unsigned long progress_made;

static inline void progress(void)
{
	progress_made++;
}

#endif
