/*
 * refusing.h - which listening sockets may refuse (on-down refuse), and what is done about those that do and may not, or not any more.
 * That they refuse is the checker's doing (checker/ports.h).
 */
#ifndef CHILDREN_REFUSING_H
#define CHILDREN_REFUSING_H

#include "children/rules.h"

/* A section wants it. */
bool refusing_is_wanted(const struct config *c);
/* All that this socket serves wants it, and it can. */
bool refusing_may(const struct rules *r, const struct socket_entry *e);
/* Those that do not listen do so again, but not those that may refuse, unless `all`: nobody is there to decide. Returns how many
 * cannot yet, which is said unless this is `again` for them. *listen: some do now that did not. */
size_t refusing_end(const struct rules *r, struct world *w, bool all, bool again, bool *listen);
/* To the log, for a new configuration: what "on-down refuse" means where it does not mean what it says. */
void refusing_tell(const struct rules *r);

#endif
