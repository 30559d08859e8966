#include "sources/json.h"

json_t *json_read(const char *text, size_t len, struct buf *why)
{
	json_error_t error;
	json_t *root = json_loadb(text ? text : "", len, JSON_REJECT_DUPLICATES, &error);

	buf_clear(why);
	if (!root)
		buf_addf(why, "its answer is no JSON: %s, at byte %d", error.text, error.position);
	return root;
}
