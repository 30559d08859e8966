/*
 * said.h - what a client has said first, as far as its section depended on it.
 *
 * For any process: nothing is stored, and what stands in the trio may be wrong, or be changed meanwhile.
 */
#ifndef TAKEOVER_SAID_H
#define TAKEOVER_SAID_H

#include "base/proxy_header.h"
#include "takeover/table.h"

/* The bytes themselves, at most 255: returns how many; 0: it has said none. ret: room for a NUL more. */
size_t said_sni_bytes(const struct trio *t, uint32_t row, const struct row_cold *cold, char ret[256]);
/* As text: itself, or "0x" and hexadecimal digits, if it has bytes that do not stand in a record as they are. ret: room for
 * PROXY_VALUE_TEXT_MAX. Returns the length; 0: there is none. */
size_t said_sni(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret);
size_t said_alpn(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret);
#define SAID_WORD_MAX 16
size_t said_protocol(const struct row_cold *cold, char ret[SAID_WORD_MAX]);

#endif
