#include "files/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void take(struct files_wish *w, uint32_t version, uint32_t verb, uint32_t last_verb, const char *path,
                 size_t room)
{
	size_t len = strnlen(path, room);

	if (verb > last_verb || len == room || len >= sizeof(w->path))
		return;
	w->version = version;
	w->verb = (enum files_verb)verb;
	memcpy(w->path, path, len + 1);
}

void files_wire_read(const void *message, size_t len, struct files_wish *ret)
{
	static struct files_question q;
	static struct files_question_1 old;

	*ret = (struct files_wish){.version = 0};
	if (len < sizeof(q.version) || len > sizeof(q))
		return;
	memcpy(&q, message, len);
	if (q.version == FILES_VERSION && len > offsetof(struct files_question, path)) {
		ret->serial = q.serial;
		take(ret, q.version, q.verb, FILES_COMMIT, q.path, len - offsetof(struct files_question, path));
	} else if (q.version == FILES_VERSION_1 && len == sizeof(old)) {
		memcpy(&old, message, len);
		take(ret, old.version, old.verb, FILES_REMOVE, old.path, sizeof(old.path));
	}
}

size_t files_wire_answer(const struct files_wish *w, int result, const char *why, struct files_answer *ret)
{
	*ret = (struct files_answer){
	        .result = w->version ? result : -EPROTO, .version = w->version, .serial = w->serial};
	if (w->version != FILES_VERSION)
		return sizeof(ret->result);
	snprintf(ret->why, sizeof(ret->why), "%s", why ? why : "");
	return sizeof(*ret);
}
