/* list_text.h - lists as a program prints them: piece by piece, each ended by a line that is a ".", and nothing else. */
#ifndef SPAWNER_LIST_TEXT_H
#define SPAWNER_LIST_TEXT_H

#include <stdbool.h>
#include "base/buf.h"

/* text: what has come of a list that is not whole yet; a piece is added to it. True: lists have become whole, and the last of them is
 * in *whole now, without its "."; text is what begins behind it. */
bool list_text_add(struct buf *text, const char *piece, size_t len, struct buf *whole);

#endif
