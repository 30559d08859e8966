#include "ipc/kept.h"

#include <string.h>
#include "base/mem.h"

bool kept_write(struct kept *k, const char *text, size_t len)
{
	unsigned next = (atomic_load(&k->which) + 1) % 2;

	if (len > KEPT_MAX)
		return false;
	memcpy(k->halves[next].text, text ? text : "", len);
	k->halves[next].len = (uint32_t)len;
	atomic_store(&k->which, next);
	return true;
}

char *kept_read(const struct kept *k)
{
	unsigned now = atomic_load(&k->which) % 2;
	uint32_t len = k->halves[now].len;
	char *text;

	if (len > KEPT_MAX)
		len = 0;
	text = mem_alloc((size_t)len + 1);
	memcpy(text, k->halves[now].text, len);
	text[len] = '\0';
	return text;
}
