/*
 * tap.h - what a worker writes down of a connection that is being watched, in a ring of shared
 * memory (ring.h); and how that is shown: as text and hex, or as pcapng, which Wireshark and tshark
 * read.
 *
 * The reader may be slow or gone: then records are lost, and the gap shows in the offsets.
 */
#ifndef BASE_TAP_H
#define BASE_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"

#define TAP_RING  (16u * 1024 * 1024) /* bytes of a worker's ring for one tap */
#define TAP_DATA  (64u * 1024)        /* bytes of the stream in one record, at most */
#define TAP_MAGIC 0x54415031u

enum tap_kind { TAP_OPEN, TAP_DATA_UP, TAP_DATA_DOWN, TAP_END };

struct tap_record {
	uint32_t magic;
	uint8_t kind;  /* enum tap_kind */
	uint8_t end;   /* TAP_END: enum end */
	uint8_t whole; /* TAP_OPEN: from the first byte on */
	uint8_t pad;
	uint64_t id;
	int64_t wall_us;
	uint64_t offset;                   /* TAP_DATA: of the first byte, in its direction */
	uint64_t offset_down;              /* TAP_OPEN: where the direction from the server stands; `offset`: the
	                         other */
	struct addr client, local, server; /* server: AF_UNSPEC if it is not TCP */
	uint32_t len;                      /* bytes that follow */
	uint32_t pad2;
};

/* A view of a stream of records. Each call appends what is to be written. */
struct tap_view;
struct tap_view *tap_view_text(void);
struct tap_view *tap_view_pcapng(const char *program); /* the name and version of the writing program */
void tap_view_free(struct tap_view *v);                /* takes NULL */
/* What stands in front of everything. */
void tap_view_begin(struct tap_view *v, struct buf *out);
void tap_view_record(struct tap_view *v, const struct tap_record *r, const char *data, struct buf *out);

/* Reads rings until there is nothing more that is not newer than until_us, in the order of time,
 * and shows it; stops after some megabytes, so that a busy writer does not hold the reader. *lost
 * grows by what could not be written there. rings: of TAP_RING. */
struct ring;
void tap_drain(struct ring **rings, size_t n, struct tap_view *v, int64_t until_us, uint64_t *lost, struct buf *out);

#endif
