/*
 * const.h - a part of something is const if the whole is.
 *
 * For functions that find a part, as strchr() does: what they return may be written, but a macro of
 * the same name takes that back from a caller that holds the whole as const.
 */
#ifndef BASE_CONST_H
#define BASE_CONST_H

/* `part`, a pointer into what `whole` points at; to const, if `whole` is one to const. */
#define CONST_AS(whole, part) \
	_Generic(0 ? (whole) : (void *)1, const void * : (const __typeof__(*(part)) *)(part), default : (part))

#endif
