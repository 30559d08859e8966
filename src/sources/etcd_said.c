#include "sources/etcd_said.h"

#include <jansson.h>
#include <string.h>

#include "base/text.h"
#include "sources/base64.h"
#include "sources/json.h"

/* A 64 bit number is a text in what the gateway sends; one that is 0 is left out. */
static bool read_number(const json_t *of, const char *name, uint64_t *ret)
{
	const json_t *v = json_object_get(of, name);

	*ret = 0;
	if (!v)
		return true;
	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		*ret = (uint64_t)json_integer_value(v);
		return true;
	}
	return json_is_string(v) && text_parse_uint(json_string_value(v), UINT64_MAX, ret);
}

static bool read_bytes(const json_t *of, const char *name, struct buf *ret)
{
	const json_t *v = json_object_get(of, name);

	buf_clear(ret);
	buf_adds(ret, "");
	return !v || (json_is_string(v) && base64_decode(json_string_value(v), json_string_length(v), ret));
}

static bool flag(const json_t *of, const char *name)
{
	return json_is_true(json_object_get(of, name));
}

/* ---- complaints ---- */

/* {"error":"words"}, or {"error":{"message":"words"}}; NULL: it complains of nothing. */
static const char *complaint(const json_t *root)
{
	const json_t *error = json_object_get(root, "error");

	if (!error)
		return NULL;
	if (json_is_object(error))
		error = json_object_get(error, "message");
	return json_is_string(error) && json_string_length(error) ? json_string_value(error) : "an error without words";
}

void etcd_read_complaint(const char *text, size_t len, long status, struct buf *why)
{
	json_t *root = json_loadb(text ? text : "", len, 0, NULL);
	const char *words = complaint(root);

	buf_clear(why);
	if (words)
		buf_addf(why, "it says: %.*s", JSON_SHOWN, words);
	else
		buf_addf(why, "it answers with HTTP %ld", status);
	json_decref(root);
}

static json_t *read_answer(const char *text, size_t len, struct buf *why)
{
	json_t *root = json_read(text, len, why);
	const char *words = complaint(root);

	if (!words)
		return root;
	buf_addf(why, "it says: %.*s", JSON_SHOWN, words);
	json_decref(root);
	return NULL;
}

/* ---- a range ---- */

/* The value is the line; if there is none, it is the last part of the key. */
static void add_pair(const struct buf *key, const struct buf *value, struct lines *lines)
{
	const char *last = memrchr(key->s, '/', key->len);

	if (value->len)
		lines_add(lines, value->s, value->len, key->s);
	else if (last)
		lines_add(lines, last + 1, key->len - (size_t)(last + 1 - key->s), key->s);
	else
		lines_add(lines, key->s, key->len, key->s);
}

static bool read_pair(const json_t *kv, struct buf *key, struct buf *value, uint64_t *revision)
{
	return json_is_object(kv) && read_bytes(kv, "key", key) && key->len && read_bytes(kv, "value", value) &&
	       read_number(kv, "mod_revision", revision);
}

static bool read_pairs(const json_t *kvs, struct etcd_range *ret, struct lines *lines)
{
	struct buf key = BUF_INIT, value = BUF_INIT;
	bool ok = true;

	ret->sent = json_array_size(kvs);
	for (size_t i = 0; i < ret->sent && ok; i++) {
		uint64_t revision;

		ok = read_pair(json_array_get(kvs, i), &key, &value, &revision);
		if (ok && revision > ret->newest)
			ret->newest = revision;
		if (ok && lines)
			add_pair(&key, &value, lines);
	}
	buf_release(&key);
	buf_release(&value);
	return ok;
}

bool etcd_read_range(const char *text, size_t len, struct etcd_range *ret, struct lines *lines, struct buf *why)
{
	json_t *root = read_answer(text, len, why);
	const json_t *header = json_object_get(root, "header"), *kvs = json_object_get(root, "kvs");
	bool ok;

	*ret = (struct etcd_range){0};
	if (!root)
		return false;
	ok = read_number(header, "revision", &ret->revision) && ret->revision > 0 &&
	     read_number(header, "cluster_id", &ret->cluster) && read_number(root, "count", &ret->count) &&
	     (!kvs || json_is_array(kvs)) && read_pairs(kvs, ret, lines) && ret->count >= ret->sent &&
	     (ret->sent > 0 || ret->count == 0);
	json_decref(root);
	if (!ok)
		buf_adds(why, "its answer is not that of etcd to a range");
	return ok;
}

/* ---- a watch ---- */

bool etcd_read_event(const char *text, size_t len, struct etcd_event *ret, struct buf *why)
{
	json_t *root = read_answer(text, len, why);
	const json_t *result = json_object_get(root, "result"), *events = json_object_get(result, "events");
	uint64_t compacted;
	bool ok;

	*ret = (struct etcd_event){0};
	if (!root)
		return false;
	ok = json_is_object(result) && read_number(json_object_get(result, "header"), "revision", &ret->revision) &&
	     read_number(result, "compact_revision", &compacted) && (!events || json_is_array(events));
	if (ok) {
		const char *reason = json_string_value(json_object_get(result, "cancel_reason"));

		ret->created = flag(result, "created");
		ret->canceled = flag(result, "canceled");
		ret->compacted = compacted > 0;
		ret->changed = json_array_size(events) > 0;
		if (reason && *reason)
			buf_addf(why, "it says: %.*s", JSON_SHOWN, reason);
	} else {
		buf_adds(why, "its answer is not that of etcd to a watch");
	}
	json_decref(root);
	return ok;
}

/* ---- who we are ---- */

bool etcd_read_token(const char *text, size_t len, struct buf *token, struct buf *why)
{
	json_t *root = read_answer(text, len, why);
	const char *said = json_string_value(json_object_get(root, "token"));
	bool ok = said && *said && said[strcspn(said, "\r\n")] == '\0';

	if (ok) {
		buf_clear(token);
		buf_adds(token, said);
	} else if (root) {
		buf_adds(why, "its answer is not that of etcd to who asks who they are: there is no token");
	}
	json_decref(root);
	return ok;
}

/* ---- what it is asked ---- */

/* The first key behind all that begin with the prefix: its last byte that can grow grows, what follows goes. */
static void range_end(const char *prefix, struct buf *out)
{
	size_t n = strlen(prefix);
	struct buf end = BUF_INIT;

	while (n && (unsigned char)prefix[n - 1] == 0xff)
		n--;
	buf_add(&end, prefix, n);
	if (n)
		end.s[n - 1]++;
	else
		buf_addc(&end, '\0'); /* to the end of all */
	base64_encode(end.s, end.len, out);
	buf_release(&end);
}

void etcd_range_of(const char *prefix, struct buf *out)
{
	buf_adds(out, "\"key\":\"");
	base64_encode(prefix, strlen(prefix), out);
	buf_adds(out, "\",\"range_end\":\"");
	range_end(prefix, out);
	buf_adds(out, "\"");
}

char *etcd_login_body(const char *name, const char *password)
{
	json_t *body = json_pack("{s:s,s:s}", "name", name, "password", password);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	return text;
}
