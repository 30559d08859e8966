#include "base/proxy_header.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"

static const char signature_1[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const char signature_2[] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

enum { LOCAL, PROXY };              /* the lower half of the 13th byte */
enum { UNSPEC, INET, INET6, UNIX }; /* the upper half of the 14th */
enum { NO_KIND, STREAM, DATAGRAM }; /* the lower half of it */

#define TLV_HEAD  3
#define CRC_BYTES 4

/* ---- CRC32c (RFC 3720, appendix B.4), four bits at a time ---- */

static uint32_t crc_byte(uint32_t crc, uint8_t byte)
{
	static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	                                   0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	                                   0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

	crc ^= byte;
	crc = crc >> 4 ^ table[crc & 15];
	return crc >> 4 ^ table[crc & 15];
}

static uint16_t get16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

/* ---- reading ---- */

const char *proxy_why_text(enum proxy_why why)
{
	static const char *const texts[] = {"syntax", "version", "crc", "tlv", "datagram"};

	return texts[why];
}

static void wrong(struct proxy_reader *r, enum proxy_why why)
{
	r->state = PROXY_WRONG;
	r->why = (uint8_t)why;
}

/* Version 1: "PROXY TCP4 192.0.2.1 198.51.100.7 4711 25" and CR LF. */

/* Cuts the next word off, up to one blank; NULL: there is none. */
static char *next_word(char **line)
{
	char *word = *line, *end = word ? strchr(word, ' ') : NULL;

	if (!word || !*word)
		return NULL;
	if (end)
		*end++ = '\0';
	*line = end;
	return word;
}

/* As it is usually spelt: no zeros before it, nothing left out. */
static bool is_usual(const char *text, const struct addr *a, bool six)
{
	return strspn(text, six ? "0123456789abcdefABCDEF:." : "0123456789.") == strlen(text) &&
	       (six ? strchr(text, ':') != NULL : a->family == AF_INET);
}

static bool read_ip(const char *word, bool six, struct addr *ret)
{
	return word && addr_parse(word, ret) && is_usual(word, ret, six);
}

static bool read_port(const char *word, struct addr *ret)
{
	uint64_t port;

	if (!word || (word[0] == '0' && word[1]) || !text_parse_uint(word, UINT16_MAX, &port))
		return false;
	ret->port = (uint16_t)port;
	return true;
}

static bool read_line(struct proxy_reader *r, char *line)
{
	char *kind = next_word(&line);
	bool six = kind && strcmp(kind, "TCP6") == 0;

	if (kind && strcmp(kind, "UNKNOWN") == 0) {
		r->own = true; /* whatever follows */
		return true;
	}
	if (!kind || (!six && strcmp(kind, "TCP4") != 0))
		return false;
	return read_ip(next_word(&line), six, &r->from) && read_ip(next_word(&line), six, &r->to) &&
	       read_port(next_word(&line), &r->from) && read_port(next_word(&line), &r->to) && !line;
}

/* A byte of a line. */
static void take_1(struct proxy_reader *r, uint8_t byte)
{
	bool end = byte == '\n';

	r->head[r->n_head++] = byte;
	if (byte == '\0' || (!end && r->n_head == PROXY_V1_MAX) || (end && r->head[r->n_head - 2] != '\r')) {
		wrong(r, PROXY_SYNTAX);
		return;
	}
	if (!end)
		return;
	r->head[r->n_head - 2] = '\0';
	if (read_line(r, (char *)r->head + sizeof(signature_1)))
		r->state = PROXY_WHOLE;
	else
		wrong(r, PROXY_SYNTAX);
}

/* Version 2. */

static size_t address_bytes(uint8_t family)
{
	return family == INET ? 12 : family == INET6 ? 36 : family == UNIX ? 216 : 0;
}

/* The fixed part is there. */
static void take_head(struct proxy_reader *r)
{
	uint8_t command = r->head[12] & 15, family = r->head[13] >> 4, kind = r->head[13] & 15;
	bool known;

	r->left = get16(r->head + 14);
	known = family <= UNIX && kind <= DATAGRAM && address_bytes(family) <= r->left;
	r->own = command == LOCAL || (family != INET && family != INET6) || kind == NO_KIND;
	r->opaque = command == LOCAL && !known;
	if (r->head[12] >> 4 != 2)
		wrong(r, PROXY_VERSION);
	else if (command > PROXY || (command == PROXY && !known))
		wrong(r, PROXY_SYNTAX);
	else if (command == PROXY && kind == DATAGRAM)
		wrong(r, PROXY_DATAGRAM);
}

static void ip_of(struct addr *ret, uint8_t family, const uint8_t *ip, const uint8_t *port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (family == INET6 && memcmp(ip, mapped, sizeof(mapped)) == 0) {
		family = INET;
		ip += sizeof(mapped);
	}
	*ret = (struct addr){.family = family == INET ? AF_INET : AF_INET6, .port = get16(port)};
	memcpy(ret->ip, ip, family == INET ? 4 : 16);
}

/* The addresses are there, those of IP behind the fixed part. */
static void take_addresses(struct proxy_reader *r)
{
	uint8_t family = r->head[13] >> 4;
	size_t ip = family == INET ? 4 : 16;
	const uint8_t *at = r->head + PROXY_V2_HEAD;

	if (r->own)
		return;
	ip_of(&r->from, family, at, at + 2 * ip);
	ip_of(&r->to, family, at + ip, at + 2 * ip + 2);
}

/* Type and length of a TLV are there, behind the fixed part. */
static void take_tlv_head(struct proxy_reader *r)
{
	const uint8_t *tlv = r->head + PROXY_V2_HEAD;

	r->n_head = PROXY_V2_HEAD;
	r->tlv_left = get16(tlv + 1);
	if (r->tlv_left > r->left) {
		wrong(r, PROXY_TLV);
		return;
	}
	if (tlv[0] == PROXY_TYPE_CRC32C) {
		if (r->tlv_left != CRC_BYTES || r->crc_there)
			wrong(r, PROXY_CRC);
		r->crc_there = true;
		r->tlv_kept = false;
		return;
	}
	r->tlv_kept = false;
	if (tlv[0] == PROXY_TYPE_NOOP)
		return;
	r->tlv_kept = !r->tlvs_left_out && r->n_tlvs + TLV_HEAD + r->tlv_left <= PROXY_TLVS_MAX;
	if (r->tlv_kept) {
		memcpy(r->tlvs + r->n_tlvs, tlv, TLV_HEAD);
		r->n_tlvs += TLV_HEAD;
	} else {
		r->tlvs_left_out = true;
	}
}

/* Which part a byte of version 2 belongs to is told by how many there were: the fixed part, addresses, TLVs. */
static void take_2(struct proxy_reader *r, uint8_t byte)
{
	size_t addresses;
	bool of_crc = r->tlv_left > 0 && r->head[PROXY_V2_HEAD] == PROXY_TYPE_CRC32C;

	r->crc = crc_byte(r->crc, of_crc ? 0 : byte);
	if (r->length <= PROXY_V2_HEAD) {
		r->head[r->n_head++] = byte;
		if (r->length == PROXY_V2_HEAD)
			take_head(r);
		return;
	}
	r->left--;
	if (r->opaque)
		return;
	addresses = address_bytes(r->head[13] >> 4);
	if (r->length <= PROXY_V2_HEAD + addresses) {
		if (addresses <= sizeof(r->head) - PROXY_V2_HEAD)
			r->head[r->n_head++] = byte;
		if (r->length == PROXY_V2_HEAD + addresses) {
			take_addresses(r);
			r->n_head = PROXY_V2_HEAD;
		}
		return;
	}
	if (r->tlv_left > 0) {
		r->tlv_left--;
		if (of_crc)
			r->crc_said = r->crc_said << 8 | byte;
		else if (r->tlv_kept)
			r->tlvs[r->n_tlvs++] = byte;
		return;
	}
	r->head[r->n_head++] = byte;
	if (r->n_head == PROXY_V2_HEAD + TLV_HEAD)
		take_tlv_head(r);
}

/* The last byte of version 2 has come. */
static void finish_2(struct proxy_reader *r)
{
	if (r->n_head > PROXY_V2_HEAD)
		wrong(r, PROXY_TLV); /* of UNSPEC, too: what follows are TLVs */
	else if (r->crc_there && (r->crc ^ UINT32_MAX) != r->crc_said)
		wrong(r, PROXY_CRC);
	else
		r->state = PROXY_WHOLE;
}

/* Which version it may be. */
static void take_signature(struct proxy_reader *r, uint8_t byte)
{
	size_t i = r->length - 1;

	if (i == 0)
		r->version = byte == 'P' ? 1 : 2;
	if (byte != (uint8_t)(r->version == 1 ? signature_1[i] : signature_2[i])) {
		r->state = PROXY_NONE;
		return;
	}
	r->head[r->n_head++] = byte;
	r->crc = crc_byte(i == 0 ? UINT32_MAX : r->crc, byte);
}

size_t proxy_read(struct proxy_reader *r, const void *bytes, size_t n)
{
	const uint8_t *b = bytes;
	size_t i = 0;

	while (i < n && r->state == PROXY_MORE) {
		size_t signature = r->version == 1 ? sizeof(signature_1) : sizeof(signature_2);

		r->length++;
		if (r->length <= signature)
			take_signature(r, b[i]);
		else if (r->version == 1)
			take_1(r, b[i]);
		else
			take_2(r, b[i]);
		if (r->state == PROXY_MORE && r->version == 2 && r->length >= PROXY_V2_HEAD && r->left == 0)
			finish_2(r);
		i++;
	}
	return i;
}

uint32_t proxy_wanted(const struct proxy_reader *r)
{
	if (r->state != PROXY_MORE)
		return 0;
	if (r->version == 2)
		return r->length < PROXY_V2_HEAD ? PROXY_V2_HEAD - r->length : r->left;
	return 1;
}

bool proxy_next_tlv(const uint8_t *tlvs, size_t n, size_t *at, uint8_t *type, const uint8_t **value, size_t *len)
{
	if (n - *at < TLV_HEAD)
		return false;
	*len = get16(tlvs + *at + 1);
	if (*len > n - *at - TLV_HEAD)
		return false;
	*type = tlvs[*at];
	*value = tlvs + *at + TLV_HEAD;
	*at += TLV_HEAD + *len;
	return true;
}

const uint8_t *proxy_find_tlv(const uint8_t *tlvs, size_t n, uint8_t type, size_t *len)
{
	const uint8_t *value;
	size_t at = 0;
	uint8_t found;

	while (proxy_next_tlv(tlvs, n, &at, &found, &value, len))
		if (found == type)
			return value;
	return NULL;
}

static bool is_plain(const uint8_t *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (value[i] < 0x21 || value[i] > 0x7e || strchr("\"=\\", value[i]))
			return false;
	return true;
}

size_t proxy_value_text(const uint8_t *value, size_t len, char *ret)
{
	if (len > PROXY_VALUE_MAX)
		len = PROXY_VALUE_MAX;
	if (is_plain(value, len)) {
		memcpy(ret, value, len);
		ret[len] = '\0';
		return len;
	}
	strcpy(ret, "0x");
	for (size_t i = 0; i < len; i++)
		sprintf(ret + 2 + 2 * i, "%02x", value[i]);
	return 2 + 2 * len;
}

const uint8_t *proxy_tlv(const struct proxy_reader *r, uint8_t type, size_t *len)
{
	return proxy_find_tlv(r->tlvs, r->n_tlvs <= PROXY_TLVS_MAX ? r->n_tlvs : PROXY_TLVS_MAX, type, len);
}

/* ---- writing ---- */

static bool is_ip(const struct addr *a)
{
	return a->family == AF_INET || a->family == AF_INET6;
}

/* As IPv6, if both are not IPv4. */
static void put_ip(const struct addr *a, bool four, uint8_t ret[16])
{
	memset(ret, 0, 16);
	if (a->family == AF_INET && !four) {
		ret[10] = ret[11] = 0xff;
		memcpy(ret + 12, a->ip, 4);
	} else {
		memcpy(ret, a->ip, four ? 4 : 16);
	}
}

void proxy_put_v1(struct buf *b, const struct addr *from, const struct addr *to)
{
	bool four = from->family == AF_INET && to->family == AF_INET;
	char text[2][INET6_ADDRSTRLEN];
	uint8_t ip[2][16];

	if (!is_ip(from) || !is_ip(to)) {
		buf_adds(b, "PROXY UNKNOWN\r\n");
		return;
	}
	put_ip(from, four, ip[0]);
	put_ip(to, four, ip[1]);
	for (int i = 0; i < 2; i++)
		inet_ntop(four ? AF_INET : AF_INET6, ip[i], text[i], sizeof(text[i]));
	buf_addf(b, "PROXY %s %s %s %u %u\r\n", four ? "TCP4" : "TCP6", text[0], text[1], from->port, to->port);
}

static void add16(struct buf *b, uint16_t n)
{
	const uint8_t bytes[] = {(uint8_t)(n >> 8), (uint8_t)n};

	buf_add(b, bytes, sizeof(bytes));
}

void proxy_begin_v2(struct buf *b, const struct addr *from, const struct addr *to)
{
	bool known = from && is_ip(from) && is_ip(to), four = known && from->family == AF_INET && to->family == AF_INET;
	uint8_t ip[16];

	buf_add(b, signature_2, sizeof(signature_2));
	buf_addc(b, (char)(2 << 4 | (from ? PROXY : LOCAL)));
	buf_addc(b, (char)(known ? (four ? INET : INET6) << 4 | STREAM : UNSPEC));
	add16(b, 0); /* the length: proxy_end_v2() */
	if (!known)
		return;
	put_ip(from, four, ip);
	buf_add(b, ip, four ? 4 : 16);
	put_ip(to, four, ip);
	buf_add(b, ip, four ? 4 : 16);
	add16(b, from->port);
	add16(b, to->port);
}

void proxy_add_tlv(struct buf *b, uint8_t type, const void *value, size_t len)
{
	if (b->len + TLV_HEAD + len + TLV_HEAD + CRC_BYTES > PROXY_V2_MAX) /* there is room for a checksum */
		return;
	buf_addc(b, (char)type);
	add16(b, (uint16_t)len);
	buf_add(b, value, len);
}

void proxy_end_v2(struct buf *b, bool crc)
{
	static const uint8_t zeros[CRC_BYTES];
	uint32_t sum = UINT32_MAX;
	size_t length;

	if (crc) {
		buf_addc(b, PROXY_TYPE_CRC32C);
		add16(b, CRC_BYTES);
		buf_add(b, zeros, CRC_BYTES);
	}
	length = b->len - PROXY_V2_HEAD;
	b->s[14] = (char)(length >> 8);
	b->s[15] = (char)length;
	if (!crc)
		return;
	for (size_t i = 0; i < b->len; i++)
		sum = crc_byte(sum, (uint8_t)b->s[i]);
	sum ^= UINT32_MAX;
	for (size_t i = 0; i < CRC_BYTES; i++)
		b->s[b->len - CRC_BYTES + i] = (char)(sum >> (24 - 8 * i));
}
