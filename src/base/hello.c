#include "base/hello.h"

#include <ctype.h>
#include <string.h>

enum {
	RECORD_HANDSHAKE = 22,
	RECORD_MAX = 16384,
	RECORD_HEAD = 5,
	CLIENT_HELLO = 1,
	EXTENSION_NAME = 0,
	EXTENSION_ALPN = 16
};

/* In order of their depth: what room() and count_off() say of a field follows from its place here. */
enum field {
	/* the message */
	MESSAGE_TYPE,
	MESSAGE_LENGTH,
	/* in it */
	VERSION,
	RANDOM,
	SESSION_LENGTH,
	SESSION,
	SUITES_LENGTH,
	SUITES,
	METHODS_LENGTH,
	METHODS,
	EXTENSIONS_LENGTH,
	/* among the extensions */
	EXTENSION_TYPE,
	EXTENSION_LENGTH,
	/* in one */
	EXTENSION_DATA,
	NAMES_LENGTH,
	PROTOCOLS_LENGTH,
	/* in its list */
	NAME_TYPE,
	NAME_LENGTH,
	NAME,
	PROTOCOL_LENGTH,
	PROTOCOL,
};

/* Version, random, three lengths, one suite, one method. */
#define LEAST_HELLO (2 + 32 + 1 + 2 + 2 + 1 + 1)

static void wrong(struct hello_reader *r, enum hello_why why)
{
	r->state = HELLO_WRONG;
	r->why = (uint8_t)why;
}

/* What is left of the thing that the field is in. */
static uint32_t room(const struct hello_reader *r, enum field field)
{
	return field >= NAME_TYPE        ? r->list
	       : field >= EXTENSION_DATA ? r->extension
	       : field >= EXTENSION_TYPE ? r->extensions
	       : field >= VERSION        ? r->hello
	                                 : HELLO_MAX;
}

static void count_off(struct hello_reader *r, uint32_t n)
{
	if (r->field >= NAME_TYPE)
		r->list -= n;
	if (r->field >= EXTENSION_DATA)
		r->extension -= n;
	if (r->field >= EXTENSION_TYPE)
		r->extensions -= n;
	if (r->field >= VERSION)
		r->hello -= n;
}

static void field_done(struct hello_reader *r);

static void begin(struct hello_reader *r, enum field field, uint32_t len)
{
	if (len > room(r, field)) {
		wrong(r, HELLO_BROKEN);
		return;
	}
	r->field = (uint8_t)field;
	r->left = len;
	r->number = 0;
	if (len == 0)
		field_done(r);
}

/* ---- what follows a field ---- */

static void next_extension(struct hello_reader *r)
{
	if (r->extensions == 0)
		r->state = HELLO_WHOLE;
	else
		begin(r, EXTENSION_TYPE, 2);
}

static void begin_extension(struct hello_reader *r)
{
	r->extension = r->number;
	if (r->number > r->extensions || (r->type == EXTENSION_ALPN && r->alpn_said)) {
		wrong(r, HELLO_BROKEN);
	} else if (r->type == EXTENSION_NAME && r->names_said) {
		wrong(r, HELLO_NAME);
	} else if (r->type == EXTENSION_NAME) {
		r->names_said = true;
		begin(r, NAMES_LENGTH, 2);
	} else if (r->type == EXTENSION_ALPN) {
		r->alpn_said = true;
		begin(r, PROTOCOLS_LENGTH, 2);
	} else {
		begin(r, EXTENSION_DATA, r->number);
	}
}

/* It fills its extension. */
static void begin_list(struct hello_reader *r, enum field first)
{
	r->list = r->number;
	if (r->number == 0 || r->number != r->extension)
		wrong(r, HELLO_BROKEN);
	else
		begin(r, first, 1);
}

static void next_of_list(struct hello_reader *r, enum field first)
{
	if (r->list > 0)
		begin(r, first, 1);
	else
		next_extension(r);
}

/* The first one counts. */
static bool is_wanted(const struct hello_reader *r)
{
	return r->name_type == 0 && r->n_name == 0;
}

static void begin_name(struct hello_reader *r)
{
	if (is_wanted(r) && (r->number == 0 || r->number > HELLO_NAME_MAX))
		wrong(r, HELLO_NAME);
	else
		begin(r, NAME, r->number);
}

/* Letters of no alphabet but ours, as the name of a host has them, or an address; nothing that means something to a shell, in a path or
 * in a line of a log. */
static bool is_safe(const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = name[i];

		if (!isascii(c) || (!isalnum((unsigned char)c) && c != '-' && c != '_' && c != '.' && c != ':'))
			return false;
		if (c == '.' && (i == 0 || name[i - 1] == '.'))
			return false;
	}
	return true;
}

static void name_done(struct hello_reader *r)
{
	if (is_wanted(r)) {
		r->n_name = (uint8_t)r->number;
		if (!is_safe(r->name, r->number)) {
			wrong(r, HELLO_NAME);
			return;
		}
	}
	next_of_list(r, NAME_TYPE);
}

static void begin_protocol(struct hello_reader *r)
{
	bool fits = r->n_alpn + 1 + r->number <= sizeof(r->alpn);

	if (r->number == 0) {
		wrong(r, HELLO_BROKEN);
		return;
	}
	r->item = r->n_alpn;
	r->grease = r->number == 2;
	if (fits)
		r->alpn[r->n_alpn++] = (uint8_t)r->number;
	begin(r, PROTOCOL, r->number);
}

static void protocol_done(struct hello_reader *r)
{
	if (r->grease && r->n_alpn > r->item && r->alpn[r->item + 1] == r->alpn[r->item + 2])
		r->n_alpn = r->item;
	next_of_list(r, PROTOCOL_LENGTH);
}

static void extensions_done(struct hello_reader *r)
{
	r->extensions = r->number;
	if (r->number != r->hello)
		wrong(r, HELLO_BROKEN);
	else
		next_extension(r);
}

static void message_begins(struct hello_reader *r)
{
	r->hello = r->number;
	if (r->number > HELLO_MAX)
		wrong(r, HELLO_SIZE);
	else if (r->number < LEAST_HELLO)
		wrong(r, HELLO_BROKEN);
	else
		begin(r, VERSION, 2);
}

static void begin_if(struct hello_reader *r, bool right, enum field field, uint32_t len)
{
	if (right)
		begin(r, field, len);
	else
		wrong(r, HELLO_BROKEN);
}

static void field_done(struct hello_reader *r)
{
	switch ((enum field)r->field) {
	case MESSAGE_TYPE:
		begin_if(r, r->number == CLIENT_HELLO, MESSAGE_LENGTH, 3);
		break;
	case MESSAGE_LENGTH:
		message_begins(r);
		break;
	case VERSION:
		begin(r, RANDOM, 32);
		break;
	case RANDOM:
		begin(r, SESSION_LENGTH, 1);
		break;
	case SESSION_LENGTH:
		begin_if(r, r->number <= 32, SESSION, r->number);
		break;
	case SESSION:
		begin(r, SUITES_LENGTH, 2);
		break;
	case SUITES_LENGTH:
		begin_if(r, r->number >= 2 && r->number % 2 == 0, SUITES, r->number);
		break;
	case SUITES:
		begin(r, METHODS_LENGTH, 1);
		break;
	case METHODS_LENGTH:
		begin_if(r, r->number > 0, METHODS, r->number);
		break;
	case METHODS:
		if (r->hello == 0) /* as before there were extensions */
			r->state = HELLO_WHOLE;
		else
			begin(r, EXTENSIONS_LENGTH, 2);
		break;
	case EXTENSIONS_LENGTH:
		extensions_done(r);
		break;
	case EXTENSION_TYPE:
		r->type = (uint16_t)r->number;
		begin(r, EXTENSION_LENGTH, 2);
		break;
	case EXTENSION_LENGTH:
		begin_extension(r);
		break;
	case EXTENSION_DATA:
		next_extension(r);
		break;
	case NAMES_LENGTH:
		begin_list(r, NAME_TYPE);
		break;
	case PROTOCOLS_LENGTH:
		begin_list(r, PROTOCOL_LENGTH);
		break;
	case NAME_TYPE:
		r->name_type = (uint8_t)r->number;
		begin(r, NAME_LENGTH, 2);
		break;
	case NAME_LENGTH:
		begin_name(r);
		break;
	case NAME:
		name_done(r);
		break;
	case PROTOCOL_LENGTH:
		begin_protocol(r);
		break;
	case PROTOCOL:
		protocol_done(r);
		break;
	}
}

/* ---- bytes ---- */

/* The length of a value that is kept, as far as it has come. */
static void keep_name(struct hello_reader *r, const uint8_t *bytes, uint32_t n)
{
	if (!is_wanted(r))
		return;
	memcpy(r->name + r->number, bytes, n);
	r->number += n;
}

static void keep_protocol(struct hello_reader *r, const uint8_t *bytes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		r->grease &= (bytes[i] & 15) == 10;
	if (r->n_alpn == r->item) /* there was no room */
		return;
	memcpy(r->alpn + r->n_alpn, bytes, n);
	r->n_alpn = (uint16_t)(r->n_alpn + n);
}

static bool is_number(enum field f)
{
	return f != VERSION && f != RANDOM && f != SESSION && f != SUITES && f != METHODS && f != EXTENSION_DATA;
}

static void take_field(struct hello_reader *r, const uint8_t *bytes, uint32_t n)
{
	if (r->field == NAME)
		keep_name(r, bytes, n);
	else if (r->field == PROTOCOL)
		keep_protocol(r, bytes, n);
	else if (is_number((enum field)r->field))
		for (uint32_t i = 0; i < n; i++)
			r->number = r->number << 8 | bytes[i];
	count_off(r, n);
	r->left -= n;
	if (r->left == 0)
		field_done(r);
}

static void head_done(struct hello_reader *r)
{
	r->record = (uint32_t)r->head[3] << 8 | r->head[4];
	r->n_head = 0;
	if (r->record == 0 || r->record > RECORD_MAX)
		wrong(r, HELLO_BROKEN);
	else if (r->seen == RECORD_HEAD)
		begin(r, MESSAGE_TYPE, 1);
}

/* SSL 2.0: the rest of it has nothing for us. */
static void take_old(struct hello_reader *r)
{
	const uint8_t *h = r->head;

	if ((r->n_head > 2 && h[2] != CLIENT_HELLO) || (r->n_head > 3 && h[3] != 3 && h[3] != 0) ||
	    (r->n_head > 4 && (h[3] == 3 ? h[4] > 4 : h[4] != 2)))
		r->state = HELLO_NONE;
	else if (r->n_head == 5)
		r->state = HELLO_WHOLE;
}

static void take_head(struct hello_reader *r, uint8_t byte)
{
	bool first = r->seen < RECORD_HEAD;

	r->head[r->n_head++] = byte;
	r->seen++;
	if (first && r->head[0] & 0x80)
		take_old(r);
	else if (r->head[0] != RECORD_HANDSHAKE || (r->n_head > 1 && r->head[1] != 3) ||
	         (r->n_head > 2 && r->head[2] > 4)) {
		if (first)
			r->state = HELLO_NONE;
		else
			wrong(r, HELLO_BROKEN);
	} else if (r->n_head == RECORD_HEAD) {
		head_done(r);
	}
}

void hello_read(struct hello_reader *r, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	while (n > 0 && r->state == HELLO_MORE) {
		uint32_t take = r->left < r->record ? r->left : r->record;

		if (r->seen >= HELLO_RECORDS) {
			wrong(r, HELLO_SIZE);
			return;
		}
		if (r->record == 0) {
			take_head(r, *at++);
			n--;
			continue;
		}
		if (take > n)
			take = (uint32_t)n;
		r->record -= take;
		r->seen += take;
		take_field(r, at, take);
		at += take;
		n -= take;
	}
}

/* Of the message itself. */
static uint32_t message_wanted(const struct hello_reader *r)
{
	if (r->seen < RECORD_HEAD || r->field == MESSAGE_TYPE)
		return 4 + LEAST_HELLO;
	return r->field == MESSAGE_LENGTH ? r->left + LEAST_HELLO : r->hello;
}

uint32_t hello_wanted(const struct hello_reader *r)
{
	uint32_t wanted = message_wanted(r);

	if (r->state != HELLO_MORE)
		return 0;
	if (r->seen == 0 || (r->seen < RECORD_HEAD && r->head[0] & 0x80))
		return (uint32_t)(RECORD_HEAD - r->n_head);
	return r->record >= wanted ? wanted : wanted + RECORD_HEAD - r->n_head;
}

/* ---- protocols ---- */

bool hello_offers(const uint8_t *alpn, size_t n, const char *protocol)
{
	size_t len = strlen(protocol);

	for (size_t at = 0; at < n && at + 1 + alpn[at] <= n; at += 1u + alpn[at])
		if (alpn[at] == len && memcmp(alpn + at + 1, protocol, len) == 0)
			return true;
	return false;
}

size_t hello_join(const uint8_t *alpn, size_t n, char *ret, size_t max)
{
	size_t len = 0;

	for (size_t at = 0; at < n && at + 1 + alpn[at] <= n; at += 1u + alpn[at]) {
		if (len + (len > 0) + alpn[at] > max)
			break;
		if (len > 0)
			ret[len++] = ',';
		memcpy(ret + len, alpn + at + 1, alpn[at]);
		len += alpn[at];
	}
	return len;
}
