/*
 * input.h - what the targets have in common: bytes of the input one after the other (zeros when there are no more), memory that is
 * written over by them and put right again, and what is checked after each input.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "os/sock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_bytes(struct input *in, void *to, size_t n)
{
	size_t has = n < in->left ? n : in->left;

	memset(to, 0, n);
	if (has)
		memcpy(to, in->at, has);
	in->at += has;
	in->left -= has;
}

#define INPUT_NUMBER(type, name)                  \
	static inline type name(struct input *in) \
	{                                         \
		type n;                           \
		input_bytes(in, &n, sizeof(n));   \
		return n;                         \
	}
INPUT_NUMBER(uint8_t, input_u8)
INPUT_NUMBER(uint16_t, input_u16)
INPUT_NUMBER(uint32_t, input_u32)
INPUT_NUMBER(uint64_t, input_u64)
#undef INPUT_NUMBER

/* ---- memory that somebody has spoilt ---- */

struct spoilt {
	struct spoilt *before;
	void *at;
	size_t n;
	uint8_t bytes[];
};

/* The next n bytes of the input (0: as many as the next one says) go to this place, which is `room` bytes large, behind what
 * the next two bytes say. */
static inline void input_spoil(struct input *in, struct spoilt **list, void *place, size_t room, size_t n)
{
	size_t at = input_u16(in) % room;
	struct spoilt *s;

	if (n == 0)
		n = input_u8(in);
	if (n > room - at)
		n = room - at;
	s = mem_alloc(sizeof(*s) + n);
	*s = (struct spoilt){.before = *list, .at = (char *)place + at, .n = n};
	memcpy(s->bytes, s->at, n);
	*list = s;
	input_bytes(in, s->at, n);
}

static inline void input_repair(struct spoilt **list)
{
	while (*list) {
		struct spoilt *s = *list;

		memcpy(s->at, s->bytes, s->n);
		*list = s->before;
		free(s);
	}
}

/* ---- descriptors that somebody may send ---- */

static inline int input_fd_one_of(int fds[2], int which)
{
	close(fds[!which]);
	return fds[which];
}

static inline int input_fd(struct input *in)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint8_t which = input_u8(in);
	int fds[2] = {-1, -1}, fd = -1;

	switch (which % 12) {
	case 0:
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		break;
	case 1:
	case 2:
		CHECK(pipe2(fds, O_CLOEXEC) == 0 && write(fds[1], "said\n\x1b", 6) == 6);
		fd = input_fd_one_of(fds, which % 12 - 1);
		break;
	case 3:
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
		fd = input_fd_one_of(fds, 0);
		break;
	case 4:
		fd = eventfd(which / 12, EFD_CLOEXEC | (which & 128 ? EFD_NONBLOCK : 0));
		break;
	case 5:
	case 6:
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		CHECK(bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0 &&
		      (which % 12 == 5 || listen(fd, 1) == 0));
		break;
	case 7:
		fd = memfd_create("any", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK(ftruncate(fd, which * 4096) == 0);
		break;
	case 8:
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		break;
	case 9:
		fd = epoll_create1(EPOLL_CLOEXEC);
		break;
	case 10:
		fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		break;
	case 11:
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		CHECK(bind(fd, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)) == 0 &&
		      listen(fd, 1) == 0);
		break;
	}
	CHECK(fd >= 0);
	return fd;
}

/* Sends what there is, with a few of them. */
static inline void input_send(struct input *in, int to, const void *data, size_t len, size_t n_fds)
{
	int fds[8] = {-1};

	for (size_t i = 0; i < n_fds && i < ARRAY_LEN(fds); i++)
		fds[i] = input_fd(in);
	sock_send_message(to, data, len, fds, n_fds < ARRAY_LEN(fds) ? n_fds : ARRAY_LEN(fds));
	for (size_t i = 0; i < n_fds && i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}

/* ---- what must be true ---- */

#define FDS_WATCHED 400

/* How many descriptors are open. */
static inline int fds_open(void)
{
	static struct pollfd p[FDS_WATCHED];
	int n = FDS_WATCHED;

	for (int i = 0; i < FDS_WATCHED; i++)
		p[i] = (struct pollfd){.fd = i};
	CHECK(poll(p, FDS_WATCHED, 0) >= 0);
	for (int i = 0; i < FDS_WATCHED; i++)
		n -= (p[i].revents & POLLNVAL) != 0;
	return n;
}

/* Lines of text: each has its end, and nothing in them moves a cursor. */
static inline void check_lines(const char *text, size_t len)
{
	char *tame = mem_alloc(len + 1);

	if (len)
		memcpy(tame, text, len);
	utf8_tame(tame, len);
	CHECK(len == 0 || (text[len - 1] == '\n' && memcmp(tame, text, len) == 0));
	free(tame);
}

/* A line of the log, which nobody reads here. */
static inline void check_line(void *arg, enum log_level level, const char *line)
{
	char *tame = mem_strdup(line);

	CHECK(level <= LOG_LEVEL_DEBUG && utf8_clean_line(tame, strlen(tame)) == strlen(line));
	CHECK(strcmp(tame, line) == 0);
	free(tame);
}

#endif
