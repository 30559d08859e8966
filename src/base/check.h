/*
 * check.h - what must be true, kept on in every build. A check that fails is a fault of ours:
 * it says where and aborts, so that the next worker starts from the shared table instead of
 * going on with nonsense.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

_Noreturn void check_failed(const char *cond, const char *file, int line);

#endif
