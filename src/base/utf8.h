/*
 * utf8.h - text that came from outside, before it stands in a line of ours.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

#define UTF8_MAX 4 /* bytes of a character */

/* The number of bytes of the character that begins at text, of which len bytes are there; 0: none does. */
size_t utf8_length(const char *text, size_t len);
/* How much of text ends with a whole character; less than len only if the last one is cut. */
size_t utf8_whole(const char *text, size_t len);

/* Makes it one line that moves no cursor: control characters (also those of U+0080 to U+009F, which terminals obey like
 * those with ESC), U+2028 and U+2029 (line and paragraph separators), what turns the direction of writing, and bytes that are
 * no character, become `?`, one for each. In place; returns the new length, which is not larger, and puts no NUL there. */
size_t utf8_clean_line(char *text, size_t len);

/* The same for a text of several lines, whose newlines and tabs stay; it keeps its length: each byte of what is replaced becomes
 * `?`. */
void utf8_tame(char *text, size_t len);

#endif
