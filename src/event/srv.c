#include "event/srv.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define HEADER_LEN    12
#define QUESTION_REST 4  /* type, class */
#define RECORD_REST   10 /* type, class, TTL, length */
#define SRV_NUMBERS   6  /* priority, weight, port */
#define LONGEST_TTL_S INT32_MAX

/* Where we are in an answer. */
struct reader {
	const uint8_t *start, *at, *end;
};

static uint16_t number(const uint8_t *s)
{
	return (uint16_t)(s[0] << 8 | s[1]);
}

static size_t left(const struct reader *r)
{
	return (size_t)(r->end - r->at);
}

/* The name that stands here, which the caller frees with ares_free_string(); NULL: there is none. */
static char *read_name(struct reader *r)
{
	char *name = NULL;
	long len = 0;

	if (r->at >= r->end || ares_expand_name(r->at, r->start, (int)(r->end - r->start), &name, &len) != ARES_SUCCESS)
		return NULL;
	if (len < 0 || (size_t)len > left(r)) {
		ares_free_string(name);
		return NULL;
	}
	r->at += len;
	return name;
}

static bool skip_name(struct reader *r)
{
	char *name = read_name(r);

	ares_free_string(name);
	return name != NULL;
}

static bool skip_questions(struct reader *r, unsigned n)
{
	while (n-- > 0) {
		if (!skip_name(r) || left(r) < QUESTION_REST)
			return false;
		r->at += QUESTION_REST;
	}
	return true;
}

/* Names go into logs and into a configuration. */
static bool take_host(const char *name, char ret[SRV_HOST_SIZE])
{
	size_t len = strlen(name);

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len >= SRV_HOST_SIZE || *name == '-' || *name == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c >= 0x80 || (!isalnum(c) && !strchr("._-", c)))
			return false;
		ret[i] = (char)tolower(c);
	}
	memset(ret + len, 0, SRV_HOST_SIZE - len);
	return true;
}

/* The data of a record, of which `data` stands at the beginning. False: it leads nowhere. */
static bool read_data(const struct reader *data, struct srv_record *ret, bool *ret_none)
{
	struct reader r = *data;
	char *target;
	bool ok;

	if (left(&r) <= SRV_NUMBERS)
		return false;
	ret->priority = number(r.at);
	ret->weight = number(r.at + 2);
	ret->port = number(r.at + 4);
	r.at += SRV_NUMBERS;
	target = read_name(&r);
	if (!target)
		return false;
	*ret_none |= strcmp(target, "") == 0 || strcmp(target, ".") == 0;
	ok = take_host(target, ret->host) && ret->port > 0;
	ares_free_string(target);
	return ok;
}

static int compare_records(const void *pa, const void *pb)
{
	const struct srv_record *a = pa, *b = pb;
	int d = strcmp(a->host, b->host);

	if (d == 0)
		d = a->port - b->port;
	return d ? d : a->priority - b->priority;
}

/* The same server twice is one, of the better priority. */
static size_t each_once(struct srv_record *list, size_t n)
{
	size_t kept = 0;

	if (n > 0)
		qsort(list, n, sizeof(*list), compare_records);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || list[i].port != list[kept - 1].port || strcmp(list[i].host, list[kept - 1].host) != 0)
			list[kept++] = list[i];
	return kept;
}

/* One record of the answer. False: it is cut. */
static bool read_record(struct reader *r, struct srv_record *ret, bool *ret_is_srv, uint32_t *ret_ttl_s, bool *ret_none)
{
	const uint8_t *head;
	struct reader data;
	size_t len;

	if (!skip_name(r) || left(r) < RECORD_REST)
		return false;
	head = r->at;
	len = number(head + 8);
	r->at += RECORD_REST;
	if (left(r) < len)
		return false;
	data = (struct reader){.start = r->start, .at = r->at, .end = r->end};
	r->at += len;
	*ret_is_srv = false;
	if (number(head) != ns_t_srv || number(head + 2) != ns_c_in)
		return true; /* an alias */
	data.end = r->at;
	*ret_is_srv = read_data(&data, ret, ret_none);
	*ret_ttl_s = (uint32_t)number(head + 4) << 16 | number(head + 6);
	return true;
}

struct srv_record *srv_read(const uint8_t *answer, size_t len, size_t *ret_n, uint32_t *ret_ttl_s, bool *ret_none)
{
	struct reader r = {answer, answer + HEADER_LEN, answer + len};
	struct srv_record *list;
	size_t n = 0, room = 0;
	unsigned records;

	*ret_ttl_s = LONGEST_TTL_S;
	*ret_none = false;
	if (len < HEADER_LEN || len > NS_MAXMSG || !skip_questions(&r, number(answer + 4)))
		return NULL;
	records = number(answer + 6);
	list = mem_alloc(sizeof(*list));
	for (unsigned i = 0; i < records && n < SRV_RECORDS_MAX; i++) {
		uint32_t ttl_s = *ret_ttl_s;
		bool is_srv;

		if (n == room)
			list = mem_resize(list, room = room ? room * 2 : 8, sizeof(*list));
		if (!read_record(&r, &list[n], &is_srv, &ttl_s, ret_none))
			break;
		n += is_srv;
		if (ttl_s < *ret_ttl_s)
			*ret_ttl_s = ttl_s;
	}
	*ret_n = each_once(list, n);
	return list;
}
