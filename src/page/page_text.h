/* page_text.h - the page as it is sent, made of web/ and the charts by tools/pack-page.py. */
#ifndef PAGE_PAGE_TEXT_H
#define PAGE_PAGE_TEXT_H

#include <stddef.h>

extern const char page_text[];
extern const size_t page_text_len;
extern const char page_policy[]; /* its Content-Security-Policy: what is in it, and this host's data */

#endif
