/*
 * kinds.h - the kinds of checks that know a protocol (kinds.def).
 */
#ifndef CHECKER_KINDS_H
#define CHECKER_KINDS_H

#include "checker/script.h"

/* Appends the steps of this kind ("smtp"). The texts of words stay the caller's. False: there is no such kind. */
bool kind_script(const char *name, const struct script_words *words, struct script *ret);

#endif
