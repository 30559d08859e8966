#include "takeover/announced.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/proxy_header.h"
#include "takeover/handover.h"

_Static_assert(ANNOUNCED_PICK <= HANDOVER_TLVS, "they are handed over");

ssize_t announced_tlv(const struct trio *t, uint32_t row, const struct row_cold *cold, uint8_t type, void *ret,
                      size_t max)
{
	const uint8_t *tlvs = trio_tlvs(t, row), *value;
	size_t len;

	value = proxy_find_tlv(tlvs, cold->n_tlvs < TRIO_TLVS ? cold->n_tlvs : TRIO_TLVS, type, &len);
	if (!value)
		return -1;
	if (len > max)
		len = max;
	memcpy(ret, value, len);
	return (ssize_t)len;
}

static size_t tlv_text(const struct trio *t, uint32_t row, const struct row_cold *cold, uint8_t type, char *ret)
{
	uint8_t value[ANNOUNCED_BYTES];
	ssize_t len = cold->n_tlvs ? announced_tlv(t, row, cold, type, value, sizeof(value)) : -1;

	return len > 0 ? proxy_value_text(value, (size_t)len, ret) : 0;
}

void announced_own_id(const struct row_cold *cold, char ret[ANNOUNCED_OWN_ID])
{
	snprintf(ret, ANNOUNCED_OWN_ID, "%016" PRIx64 "%016" PRIx64, cold->uid_start, cold->id);
}

size_t announced_uid(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret)
{
	size_t len = tlv_text(t, row, cold, PROXY_TYPE_UNIQUE_ID, ret);

	if (len > 0 || !cold->uid_start)
		return len;
	announced_own_id(cold, ret);
	return ANNOUNCED_OWN_ID - 1;
}

size_t announced_authority(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret)
{
	return tlv_text(t, row, cold, PROXY_TYPE_AUTHORITY, ret);
}

static size_t pick(const struct trio *t, uint32_t row, const struct row_cold *cold, uint8_t type, size_t max,
                   uint8_t *ret)
{
	ssize_t len = announced_tlv(t, row, cold, type, ret + 3, max);

	if (len <= 0)
		return 0;
	ret[0] = type;
	ret[1] = (uint8_t)(len >> 8);
	ret[2] = (uint8_t)len;
	return 3 + (size_t)len;
}

size_t announced_pick(const struct trio *t, uint32_t row, const struct row_cold *cold, uint8_t *ret)
{
	size_t n = 0;

	if (cold->n_tlvs == 0)
		return 0;
	n += pick(t, row, cold, PROXY_TYPE_UNIQUE_ID, 128, ret);
	n += pick(t, row, cold, PROXY_TYPE_AUTHORITY, ANNOUNCED_BYTES, ret + n);
	return n;
}
