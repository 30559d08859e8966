#include "sources/consul_said.h"

#include <jansson.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"
#include "sources/json.h"

#define WEIGHT_MAX 1000 /* of a server; Consul's go further */

static const char *text_of(const json_t *of, const char *name)
{
	const char *s = json_string_value(json_object_get(of, name));

	return s ? s : "";
}

/* Without one all weigh the same. */
static bool read_weight(const json_t *service, json_int_t *ret)
{
	const json_t *weight = json_object_get(json_object_get(service, "Weights"), "Passing");

	*ret = weight ? json_integer_value(weight) : 1;
	if (*ret > WEIGHT_MAX)
		*ret = WEIGHT_MAX;
	return !weight || (json_is_integer(weight) && *ret >= 0);
}

static const char *read_instance(const json_t *entry, struct buf *line)
{
	const json_t *service = json_object_get(entry, "Service"), *port = json_object_get(service, "Port");
	const char *address = text_of(service, "Address");
	json_int_t weight;

	if (!*address)
		address = text_of(json_object_get(entry, "Node"), "Address");
	if (!*address)
		return "neither Service.Address nor Node.Address";
	if (strpbrk(address, " \t\"#")) /* one word, or it could say more than where the server is */
		return "its address is none";
	if (!json_is_integer(port) || json_integer_value(port) < 1 || json_integer_value(port) > 65535)
		return "Service.Port is no port";
	if (!read_weight(service, &weight))
		return "Service.Weights.Passing is no weight";
	buf_addf(line, strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, (int)json_integer_value(port));
	if (weight != 1)
		buf_addf(line, " weight=%d", (int)weight);
	return NULL;
}

static void add_instance(const json_t *entry, size_t number, struct lines *lines)
{
	struct buf line = BUF_INIT, from = BUF_INIT;
	const char *why = read_instance(entry, &line), *id = text_of(json_object_get(entry, "Service"), "ID");

	if (*id)
		buf_adds(&from, id);
	else
		buf_addf(&from, "instance %zu", number + 1);
	if (why)
		lines_refuse(lines, from.s, why);
	else
		lines_add(lines, line.s, line.len, from.s);
	buf_release(&line);
	buf_release(&from);
}

bool consul_read_instances(const char *text, size_t len, struct lines *lines, struct buf *why)
{
	json_t *root = json_read(text, len, why);
	bool ok = json_is_array(root);

	for (size_t i = 0; ok && i < json_array_size(root); i++)
		add_instance(json_array_get(root, i), i, lines);
	if (root && !ok)
		buf_adds(why, "its answer is no list of instances");
	json_decref(root);
	return ok;
}

uint64_t consul_read_index(const char *header)
{
	uint64_t index;

	return header && text_parse_uint(header, UINT64_MAX, &index) ? index : 0;
}

/* It complains in a line of plain text. */
void consul_read_complaint(const char *text, size_t len, long status, struct buf *why)
{
	size_t n = text ? strnlen(text, len < JSON_SHOWN ? len : JSON_SHOWN) : 0;

	buf_clear(why);
	buf_addf(why, "it answers with HTTP %ld", status);
	while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	if (n)
		buf_addf(why, ": %.*s", (int)n, text);
}
