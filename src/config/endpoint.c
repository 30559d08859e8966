#include "config/endpoint.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

bool all_digits(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

const char *endpoint_split(const char *text, char **ret_host, char **ret_port)
{
	const char *end, *host = text;

	*ret_host = *ret_port = NULL;
	if (*text == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (!end)
			return "the bracket is not closed: write [ADDRESS]:PORT";
		text = end + 1;
		if (*text && *text != ':')
			return "only :PORT may follow the bracket";
	} else {
		end = strchrnul(host, ':');
		text = end;
		if (*end && strchr(end + 1, ':'))
			return "an IPv6 address needs brackets: write [ADDRESS]:PORT";
	}
	if (end == host)
		return "the host is missing: write HOST:PORT";
	if (*text == ':' && !text[1])
		return "the port is missing behind the colon";
	*ret_host = mem_strndup(host, (size_t)(end - host));
	if (*text == ':')
		*ret_port = mem_strdup(text + 1);
	return NULL;
}

bool port_parse(const struct config_ops *world, const char *text, uint16_t *ret)
{
	uint64_t n;

	if (text_parse_uint(text, 65535, &n) && n > 0) {
		*ret = (uint16_t)n;
		return true;
	}
	if (!*text || all_digits(text) || !world || !world->service_port)
		return false;
	n = world->service_port(world->arg, text);
	if (!n)
		return false;
	*ret = (uint16_t)n;
	return true;
}

const char *host_check(const char *name)
{
	size_t label = 0;

	if (strlen(name) > 253)
		return "a host name has at most 253 characters";
	if (!name[strspn(name, "0123456789.")])
		return all_digits(name) ? "a host name is not all digits" : "this is no IPv4 address";
	for (const char *s = name; *s; s++) {
		if (*s == '.') {
			if (!label)
				return "a part of this host name is empty";
			label = 0;
			continue;
		}
		if (!isascii(*s) || (!isalnum((unsigned char)*s) && *s != '-' && *s != '_'))
			return "a host name has letters, digits, '-', '_' and points only";
		if (++label > 63)
			return "a part of a host name has at most 63 characters";
	}
	return NULL;
}
