/* fuzz_srv.c - an answer of a name server about a service, from anybody: what comes of it are hosts and ports, each once. */
#include <ctype.h>
#include "event/srv.h"
#include "input.h"

static void check_record(const struct srv_record *r)
{
	size_t len = strnlen(r->host, sizeof(r->host));

	CHECK(r->port > 0 && len > 0 && len < sizeof(r->host));
	CHECK(r->host[0] != '-' && r->host[0] != '.' && r->host[len - 1] != '.');
	for (size_t i = 0; i < len; i++)
		CHECK(islower((unsigned char)r->host[i]) || isdigit((unsigned char)r->host[i]) ||
		      strchr("._-", r->host[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size + 1); /* so that a byte too many is seen */
	struct srv_record *list;
	uint32_t ttl_s;
	size_t n = 0;
	bool none;

	memcpy(exact, data, size);
	list = srv_read(exact, size, &n, &ttl_s, &none);
	for (size_t i = 0; list && i < n; i++) {
		check_record(&list[i]);
		CHECK(i == 0 || strcmp(list[i - 1].host, list[i].host) < 0 ||
		      (strcmp(list[i - 1].host, list[i].host) == 0 && list[i - 1].port < list[i].port));
	}
	CHECK(n <= SRV_RECORDS_MAX);
	free(list);
	free(exact);
	return 0;
}
