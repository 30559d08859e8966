/* http.c - one request, and the status of its answer (RFC 9112, sections 3 and 4). */
#include <ctype.h>
#include <string.h>
#include "checker/protocols.h"

#define STATUS_END 12 /* of "HTTP/1.1 200" */

void say_http(const struct script_words *words, struct buf *say)
{
	buf_addf(say, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tcpproxy\r\nConnection: close\r\n\r\n",
	         words->path ? words->path : "/", words->host ? words->host : "localhost");
}

static bool is_status_line(const char *line)
{
	return memcmp(line, "HTTP/1.", 7) == 0 && isdigit((unsigned char)line[7]) && line[8] == ' ' &&
	       isdigit((unsigned char)line[9]) && isdigit((unsigned char)line[10]) && isdigit((unsigned char)line[11]);
}

enum verdict hear_http(const struct script_words *words, struct hearing *h)
{
	unsigned from = words->from ? words->from : 200, to = words->from ? words->to : 399, status;
	const char *end = memchr(h->bytes, '\n', h->n);

	if (!end)
		return VERDICT_MORE;
	if (end - h->bytes < STATUS_END || !is_status_line(h->bytes))
		return script_no(h, "not an HTTP answer:", h->bytes, h->n);
	status = (unsigned)(h->bytes[9] - '0') * 100 + (unsigned)(h->bytes[10] - '0') * 10 +
	         (unsigned)(h->bytes[11] - '0');
	if (status >= from && status <= to)
		return VERDICT_YES;
	buf_addf(h->why, "status %u", status);
	return VERDICT_NO;
}
