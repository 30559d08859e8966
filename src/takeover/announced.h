/*
 * announced.h - what the header of the PROXY protocol that came with a connection says of it, and what we say of it to servers.
 *
 * For any process: nothing is stored, and what stands in the trio may be wrong, or be changed meanwhile.
 */
#ifndef TAKEOVER_ANNOUNCED_H
#define TAKEOVER_ANNOUNCED_H

#include "base/proxy_header.h"
#include "takeover/table.h"

#define ANNOUNCED_BYTES    PROXY_VALUE_MAX
#define ANNOUNCED_TEXT_MAX PROXY_VALUE_TEXT_MAX

/* The value of the first TLV of this type (base/proxy_header.h) is copied to ret, at most max bytes; returns how many, -1: there is
 * none. */
ssize_t announced_tlv(const struct trio *t, uint32_t row, const struct row_cold *cold, uint8_t type, void *ret,
                      size_t max);
/* As text: itself, or "0x" and hexadecimal digits, if it has bytes that do not stand in a record as they are. ret: room for
 * ANNOUNCED_TEXT_MAX. Returns the length; 0: there is none. The unique id is the one that was announced, or that we have sent. */
size_t announced_uid(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret);
size_t announced_authority(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret);
/* The TLVs of both, a long value cut: what a worker needs that takes the connection over. ret: room for ANNOUNCED_PICK. Returns the
 * length. */
#define ANNOUNCED_PICK (3 + 128 + 3 + ANNOUNCED_BYTES)
size_t announced_pick(const struct trio *t, uint32_t row, const struct row_cold *cold, uint8_t *ret);
/* The unique id that is ours: 32 digits and a NUL. cold->uid_start is set. */
#define ANNOUNCED_OWN_ID 33
void announced_own_id(const struct row_cold *cold, char ret[ANNOUNCED_OWN_ID]);

#endif
