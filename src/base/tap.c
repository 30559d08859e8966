#include "base/tap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/pcapng.h"
#include "base/record.h"
#include "base/ring.h"

#define PER_LINE   16
#define DRAIN_STOP (8u << 20) /* bytes of output: then the caller writes them */

struct tap_view {
	struct pcapng *pcapng; /* NULL: text */
};

struct tap_view *tap_view_text(void)
{
	return mem_alloc(sizeof(struct tap_view));
}

struct tap_view *tap_view_pcapng(const char *program)
{
	struct tap_view *v = tap_view_text();

	v->pcapng = pcapng_new(program);
	return v;
}

void tap_view_free(struct tap_view *v)
{
	if (!v)
		return;
	pcapng_free(v->pcapng);
	free(v);
}

void tap_view_begin(struct tap_view *v, struct buf *out)
{
	if (v->pcapng)
		pcapng_begin(v->pcapng, out);
}

/* ---- text and hex ---- */

static void hex_line(const unsigned char *data, size_t at, size_t n, struct buf *out)
{
	buf_addf(out, "%06zx ", at);
	for (size_t i = 0; i < PER_LINE; i++) {
		if (i == PER_LINE / 2)
			buf_addc(out, ' ');
		if (i < n)
			buf_addf(out, " %02x", data[i]);
		else
			buf_adds(out, "   ");
	}
	buf_adds(out, "  ");
	for (size_t i = 0; i < n; i++)
		buf_addc(out, data[i] >= ' ' && data[i] < 0x7f ? (char)data[i] : '.');
	buf_addc(out, '\n');
}

static void text_record(const struct tap_record *r, const char *data, struct buf *out)
{
	char time[CLOCK_TEXT_MAX], client[ADDR_TEXT_MAX], server[ADDR_TEXT_MAX];

	buf_addf(out, "%s id=%" PRIu64 " %s %s %s", clock_format(r->wall_us, time), r->id,
	         addr_format_port(&r->client, client), r->kind == TAP_DATA_DOWN ? "<" : ">",
	         addr_format_port(r->server.family == AF_UNSPEC ? &r->local : &r->server, server));
	if (r->kind == TAP_OPEN)
		buf_adds(out, r->whole ? " open\n" : " from now on\n");
	else if (r->kind == TAP_END)
		buf_addf(out, " end=%s\n", end_name((enum end)r->end));
	else
		buf_addf(out, " %u bytes at %" PRIu64 "\n", r->len, r->offset);
	for (size_t at = 0; at < r->len; at += PER_LINE)
		hex_line((const unsigned char *)data + at, at, r->len - at < PER_LINE ? r->len - at : PER_LINE, out);
}

void tap_view_record(struct tap_view *v, const struct tap_record *r, const char *data, struct buf *out)
{
	if (v->pcapng)
		pcapng_record(v->pcapng, r, data, out);
	else
		text_record(r, data, out);
}

/* ---- from the rings ---- */

/* The oldest record of this ring; anything else is dropped. */
static bool oldest(struct ring *ring, struct tap_record *ret, const char **data)
{
	const void *message;
	uint32_t type;
	size_t len;

	while (ring_peek(ring, TAP_RING, &type, &message, &len)) {
		if (len >= sizeof(*ret)) {
			memcpy(ret, message, sizeof(*ret));
			*data = (const char *)message + sizeof(*ret);
			if (ret->magic == TAP_MAGIC && ret->len == len - sizeof(*ret))
				return true;
		}
		ring_drop(ring, TAP_RING);
	}
	return false;
}

void tap_drain(struct ring **rings, size_t n, struct tap_view *v, int64_t until_us, uint64_t *lost, struct buf *out)
{
	while (out->len < DRAIN_STOP) {
		struct tap_record first = {0}, r;
		const char *data = NULL, *d;
		size_t from = n;

		for (size_t i = 0; i < n; i++)
			if (oldest(rings[i], &r, &d) && (from == n || r.wall_us < first.wall_us)) {
				first = r;
				data = d;
				from = i;
			}
		if (from == n || first.wall_us > until_us)
			break;
		tap_view_record(v, &first, data, out);
		ring_drop(rings[from], TAP_RING);
	}
	for (size_t i = 0; i < n; i++)
		*lost += ring_take_lost(rings[i]);
}
