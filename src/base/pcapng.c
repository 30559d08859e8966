#include "base/pcapng.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/record.h"

#define BUCKETS      1024
#define PIECE        32768 /* bytes of a stream in one packet */
#define LINKTYPE_RAW 101   /* packets begin with the IP header */
#define SNAPLEN      65535

enum { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_PACKET = 6 };
enum { OPTION_END = 0, OPTION_COMMENT = 1, OPTION_USERAPPL = 4 };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* A connection whose records have begun. */
struct stream {
	struct stream *next;
	uint64_t id;
	uint64_t base[2]; /* offset of the first byte that can be seen */
	uint32_t seq[2];  /* of the next byte of each direction */
};

struct pcapng {
	char *program;
	struct stream *buckets[BUCKETS];
	char packet[PIECE + 128];
};

struct pcapng *pcapng_new(const char *program)
{
	struct pcapng *p = mem_alloc(sizeof(*p));

	p->program = mem_strdup(program);
	return p;
}

static void forget(struct pcapng *p, uint64_t id)
{
	struct stream **at = &p->buckets[id % BUCKETS];

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	if (*at) {
		struct stream *gone = *at;

		*at = gone->next;
		free(gone);
	}
}

void pcapng_free(struct pcapng *p)
{
	if (!p)
		return;
	for (int i = 0; i < BUCKETS; i++)
		while (p->buckets[i])
			forget(p, p->buckets[i]->id);
	free(p->program);
	free(p);
}

static struct stream *find(struct pcapng *p, const struct tap_record *r)
{
	struct stream *s = p->buckets[r->id % BUCKETS];

	while (s && s->id != r->id)
		s = s->next;
	if (s)
		return s;
	s = mem_alloc(sizeof(*s));
	*s = (struct stream){.next = p->buckets[r->id % BUCKETS], .id = r->id, .seq = {1, 1}};
	if (r->kind == TAP_OPEN) {
		s->base[0] = r->offset;
		s->base[1] = r->offset_down;
	} else if (r->kind != TAP_END) { /* its beginning was lost */
		s->base[r->kind == TAP_DATA_DOWN] = r->offset;
	}
	p->buckets[r->id % BUCKETS] = s;
	return s;
}

/* ---- blocks ---- */

static void add16(struct buf *out, uint16_t n)
{
	buf_add(out, &n, sizeof(n));
}

static void add32(struct buf *out, uint32_t n)
{
	buf_add(out, &n, sizeof(n));
}

static void pad(struct buf *out, size_t len)
{
	buf_add(out, "\0\0\0", (4 - len % 4) % 4);
}

static void add_option(struct buf *out, uint16_t code, const char *text)
{
	size_t len = strlen(text);

	add16(out, code);
	add16(out, (uint16_t)len);
	buf_add(out, text, len);
	pad(out, len);
}

/* Opens a block; its length is filled in when it is closed. */
static size_t open_block(struct buf *out, uint32_t type)
{
	size_t at = out->len;

	add32(out, type);
	add32(out, 0);
	return at;
}

static void close_block(struct buf *out, size_t at)
{
	uint32_t len = (uint32_t)(out->len - at + 4);

	memcpy(out->s + at + 4, &len, sizeof(len));
	add32(out, len);
}

void pcapng_begin(struct pcapng *p, struct buf *out)
{
	size_t at = open_block(out, BLOCK_SECTION);

	add32(out, 0x1a2b3c4d); /* says the byte order */
	add16(out, 1);
	add16(out, 0);
	add32(out, UINT32_MAX); /* the section's length: not known */
	add32(out, UINT32_MAX);
	add_option(out, OPTION_USERAPPL, p->program);
	add32(out, OPTION_END);
	close_block(out, at);
	at = open_block(out, BLOCK_INTERFACE);
	add16(out, LINKTYPE_RAW);
	add16(out, 0);
	add32(out, SNAPLEN);
	close_block(out, at);
}

static void add_packet(struct buf *out, int64_t wall_us, const void *packet, uint32_t len, const char *comment)
{
	size_t at = open_block(out, BLOCK_PACKET);

	add32(out, 0);
	add32(out, (uint32_t)((uint64_t)wall_us >> 32));
	add32(out, (uint32_t)(uint64_t)wall_us);
	add32(out, len);
	add32(out, len);
	buf_add(out, packet, len);
	pad(out, len);
	if (comment) {
		add_option(out, OPTION_COMMENT, comment);
		add32(out, OPTION_END);
	}
	close_block(out, at);
}

/* ---- packets ---- */

static uint32_t sum_bytes(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (len % 2)
		sum += (uint32_t)p[len - 1] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void put16(uint8_t *at, uint16_t n)
{
	n = htons(n);
	memcpy(at, &n, sizeof(n));
}

static void put32(uint8_t *at, uint32_t n)
{
	n = htonl(n);
	memcpy(at, &n, sizeof(n));
}

/* Returns the length of the IP header; addresses are those of the client's side, as the client has
 * them. */
static size_t ip_header(uint8_t *h, const struct addr *from, const struct addr *to, size_t payload)
{
	uint16_t sum;

	if (from->family == AF_INET6 || to->family == AF_INET6) {
		memset(h, 0, 40);
		h[0] = 0x60;
		put16(h + 4, (uint16_t)payload);
		h[6] = IPPROTO_TCP;
		h[7] = 64;
		memcpy(h + 8, from->ip, 16);
		memcpy(h + 24, to->ip, 16);
		return 40;
	}
	memset(h, 0, 20);
	h[0] = 0x45;
	put16(h + 2, (uint16_t)(20 + payload));
	h[6] = 0x40; /* not to be fragmented */
	h[8] = 64;
	h[9] = IPPROTO_TCP;
	memcpy(h + 12, from->ip, 4);
	memcpy(h + 16, to->ip, 4);
	sum = fold(sum_bytes(0, h, 20));
	memcpy(h + 10, &sum, 2);
	return 20;
}

static void tcp_header(uint8_t *h, const struct addr *from, const struct addr *to, uint32_t seq, uint32_t ack,
                       uint8_t flags)
{
	memset(h, 0, 20);
	put16(h, from->port);
	put16(h + 2, to->port);
	put32(h + 4, seq);
	put32(h + 8, flags & ACK ? ack : 0);
	h[12] = 5 << 4;
	h[13] = flags;
	put16(h + 14, 65535);
}

static void tcp_sum(uint8_t *ip, size_t ip_len, size_t tcp_len)
{
	bool v6 = ip_len == 40;
	uint32_t sum = sum_bytes(IPPROTO_TCP + (uint32_t)tcp_len, ip + (v6 ? 8 : 12), v6 ? 32 : 8);
	uint16_t check = fold(sum_bytes(sum, ip + ip_len, tcp_len));

	memcpy(ip + ip_len + 16, &check, 2);
}

/* side: 0 from the client. */
static void emit(struct pcapng *p, struct stream *s, const struct tap_record *r, int side, uint8_t flags,
                 const char *data, size_t len, const char *comment, struct buf *out)
{
	const struct addr *from = side ? &r->local : &r->client, *to = side ? &r->client : &r->local;
	uint8_t *packet = (uint8_t *)p->packet;
	size_t ip_len = ip_header(packet, from, to, 20 + len);

	tcp_header(packet + ip_len, from, to, s->seq[side] - (flags & SYN ? 1 : 0), s->seq[!side], flags);
	memcpy(packet + ip_len + 20, data, len);
	tcp_sum(packet, ip_len, 20 + len);
	add_packet(out, r->wall_us, packet, (uint32_t)(ip_len + 20 + len), comment);
	s->seq[side] += (uint32_t)len + (flags & FIN ? 1 : 0);
}

static void show_open(struct pcapng *p, struct stream *s, const struct tap_record *r, struct buf *out)
{
	char comment[64 + ADDR_TEXT_MAX], server[ADDR_TEXT_MAX];

	snprintf(comment, sizeof(comment), "tcpproxy connection %" PRIu64 " to server %s", r->id,
	         addr_format_port(&r->server, server));
	if (r->whole) {
		emit(p, s, r, 0, SYN, "", 0, comment, out);
		emit(p, s, r, 1, SYN | ACK, "", 0, NULL, out);
	}
	emit(p, s, r, 0, ACK, "", 0, r->whole ? NULL : comment, out);
}

static void show_data(struct pcapng *p, struct stream *s, const struct tap_record *r, const char *data, struct buf *out)
{
	int side = r->kind == TAP_DATA_DOWN;

	s->seq[side] = (uint32_t)(1 + r->offset - s->base[side]); /* what was lost shows as a gap */
	for (size_t at = 0; at < r->len; at += PIECE)
		emit(p, s, r, side, PSH | ACK, data + at, r->len - at < PIECE ? r->len - at : PIECE, NULL, out);
}

static void show_end(struct pcapng *p, struct stream *s, const struct tap_record *r, struct buf *out)
{
	switch ((enum end)r->end) {
	case END_CLIENT_FIN:
	case END_SERVER_FIN: {
		int first = r->end == END_SERVER_FIN;

		emit(p, s, r, first, FIN | ACK, "", 0, NULL, out);
		emit(p, s, r, !first, FIN | ACK, "", 0, NULL, out);
		emit(p, s, r, first, ACK, "", 0, NULL, out);
		break;
	}
	case END_CLIENT_RESET:
		emit(p, s, r, 0, RST | ACK, "", 0, NULL, out);
		break;
	default:
		emit(p, s, r, 1, RST | ACK, "", 0, end_name((enum end)r->end), out);
		break;
	}
}

void pcapng_record(struct pcapng *p, const struct tap_record *r, const char *data, struct buf *out)
{
	struct stream *s = find(p, r);

	switch ((enum tap_kind)r->kind) {
	case TAP_OPEN:
		show_open(p, s, r, out);
		break;
	case TAP_DATA_UP:
	case TAP_DATA_DOWN:
		show_data(p, s, r, data, out);
		break;
	case TAP_END:
		show_end(p, s, r, out);
		forget(p, r->id);
		break;
	}
}
