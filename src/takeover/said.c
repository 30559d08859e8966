#include "takeover/said.h"

#include <stdio.h>
#include <string.h>
#include "base/sniff.h"

_Static_assert(sizeof(((struct row_said *)0)->sni) == 256 && sizeof(((struct row_said *)0)->alpn) == 256,
               "no length of theirs leads out of them");

size_t said_sni_bytes(const struct trio *t, uint32_t row, const struct row_cold *cold, char ret[256])
{
	uint8_t n = cold->n_sni;

	memcpy(ret, trio_said(t, row)->sni, n);
	ret[n] = '\0';
	return n;
}

static size_t as_text(const char *bytes, uint8_t n, char *ret)
{
	uint8_t value[256];

	memcpy(value, bytes, n);
	return n > 0 ? proxy_value_text(value, n, ret) : 0;
}

size_t said_sni(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret)
{
	return as_text(trio_said(t, row)->sni, cold->n_sni, ret);
}

size_t said_alpn(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret)
{
	return as_text(trio_said(t, row)->alpn, cold->n_alpn, ret);
}

size_t said_protocol(const struct row_cold *cold, char ret[SAID_WORD_MAX])
{
	const char *name = sniff_name(cold->spoken);

	return (size_t)snprintf(ret, SAID_WORD_MAX, "%s", name ? name : "");
}
