/*
 * fuzz_said.c - what the spawner and the admin process say, and lines of any process's stderr: before the supervisor, whose log
 * stays one of lines, and who keeps no descriptor that it does not want.
 *
 * The first byte says who speaks; the rest is a list of messages with descriptors, or what is written.
 */
#include "children/page_child.c" /* page_child_control_event() is its own */
#include "children/spawner_child.h"
#include "config/config.h"
#include "ipc/saying.h"
#include "input.h"
#include "os/shm.h"
#include "program/lines.h"

#define TURNS 20

static void page_steers(void *arg, int fd, const struct addr *from)
{
	close(fd);
}

static void page_wants(void *arg)
{
}

static const struct page_events page_events = {.client = page_steers, .wants_tcp_info = page_wants};
static struct loop loop;
static enum phase phase;
static struct workers workers = {.loop = &loop, .phase = &phase};
static struct spawner_child spawner = {.workers = &workers};
static struct admin_sockets sockets;
static struct page_child page = {.workers = &workers, .sockets = &sockets, .events = &page_events};
static int log_fd;

static int open_file(void *arg, const char *path)
{
	return dup(log_fd);
}

/* Any list may be brought: it is one, or why it is none is said. */
static void check_listed(void *arg, const char *line, const char *list)
{
	struct config_errors errors = {NULL, 0};
	char *lines = list_parse("list", list, NULL, &errors), *again;

	CHECK(!strchr(line, '\n') && (lines || errors.n > 0));
	if (lines && *lines) {
		again = list_parse("list", lines, NULL, &errors);
		CHECK(again && strcmp(lines, again) == 0);
		free(again);
	}
	free(lines);
	config_errors_release(&errors);
}

static void begin(void)
{
	static struct log_target target = {.kind = LOG_TO_FILE, .path = "/text"};
	static struct admin_socket steering = {.token = "/token"};

	log_fd = memfd_create("log", MFD_CLOEXEC);
	log_set_sink(check_line, NULL);
	workers.world = world_new_private();
	workers.logger = logger_new(&target, 1, &(struct logger_ops){.open_file = open_file}, NULL);
	sockets = (struct admin_sockets){.list = &steering, .n = 1};
	CHECK(workers.world && workers.logger);
	CHECK(loop_init(&loop, -1, NULL, 16) == 0);
	spawner_child_init(&spawner);
	spawner.listed = check_listed;
	page_child_init(&page);
}

static void check_log(void)
{
	off_t len = lseek(log_fd, 0, SEEK_CUR);
	char *text = mem_alloc((size_t)len + 1);

	CHECK(pread(log_fd, text, (size_t)len, 0) == len);
	CHECK(lseek(log_fd, 0, SEEK_SET) == 0 && ftruncate(log_fd, 0) == 0);
	check_lines(text, (size_t)len);
	free(text);
}

/* A list in a memfd, as the spawner sends one. */
static void send_list(struct input *in, int to)
{
	const struct wire w = {.type = WIRE_LIST};
	char text[1024];
	size_t len = 1 + input_u16(in) % (sizeof(text) - 1);
	int fd;

	input_bytes(in, text, len);
	fd = shm_new_sealed("list", text, len);
	CHECK(fd >= 0);
	sock_send_message(to, &w, sizeof(w), &fd, 1); /* unless it has been given up already */
	close(fd);
}

static void send_one(struct input *in, int to)
{
	struct said m = {.wire.type = WIRE_LINE};
	uint8_t kind = input_u8(in), n_fds = input_u8(in) % 4;
	size_t len;

	if (kind >= 240) {
		send_list(in, to);
		return;
	}
	if (kind < 100) { /* a good one */
		m.wire.type = kind % 2 ? WIRE_LINE : WIRE_STDERR;
		m.wire.n = input_u8(in) % 8 == 7 ? input_u32(in) : 0;
		m.line.level = input_u8(in);
		m.line.wall_us = (int64_t)input_u64(in);
		len = input_u16(in) % sizeof(m.line.text);
		input_bytes(in, m.line.text, len);
		input_send(in, to, &m, SAYING_HEAD + len, n_fds);
		return;
	}
	len = input_u16(in) % (sizeof(m) + 1);
	input_bytes(in, &m, len);
	if (kind < 180)
		m.wire.type = kind % 4 + WIRE_LINE;
	input_send(in, to, &m, len, n_fds);
}

static void turn(int n)
{
	while (n-- > 0)
		CHECK(loop_turn(&loop, 0) == 0);
}

static void hear_spawner(struct input *in)
{
	int pair[2];

	CHECK(sock_message_pair(pair) == 0);
	spawner.child.control.fd = pair[0];
	while (in->left > 0) {
		send_one(in, pair[1]);
		spawner_child_hear(&spawner);
		turn(1);
	}
	stderrs_read(spawner.stderrs); /* it is dead: all that it has sent is at its end */
	turn(TURNS);
	spawner.child.control.fd = -1;
	close(pair[0]);
	close(pair[1]);
}

static void hear_page(struct input *in)
{
	int pair[2];

	CHECK(sock_message_pair(pair) == 0);
	watch_keep(&loop, &page.child.control, pair[0], EPOLLIN, page_child_control_event, &page);
	while (in->left > 0) {
		send_one(in, pair[1]);
		turn(1);
	}
	let_go(&page);
	close(pair[1]);
}

static void over(void *arg)
{
	*(bool *)arg = true;
}

static void hear_program(struct input *in)
{
	struct lines lines;
	bool ended = false;
	int ends[2];

	memset(&lines, 0, sizeof(lines));
	CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	CHECK(lines_start(&lines, &loop, ends[0], LOG_LEVEL_INFO, "fuzz", over, &ended) == 0);
	while (in->left > 0) {
		char piece[4096];
		size_t n = input_u16(in) % sizeof(piece);

		n = n < in->left ? n : in->left;
		input_bytes(in, piece, n);
		CHECK(write(ends[1], piece, n) == (ssize_t)n);
		if (n % 2)
			lines_drain(&lines);
		turn(1);
	}
	close(ends[1]);
	turn(TURNS);
	CHECK(ended && !lines_open(&lines));
	lines_stop(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	int fds;

	if (!workers.logger)
		begin();
	fds = fds_open();
	switch (input_u8(&in) % 3) {
	case 0:
		hear_spawner(&in);
		break;
	case 1:
		hear_page(&in);
		break;
	case 2:
		hear_program(&in);
		break;
	}
	check_log();
	CHECK(fds_open() == fds);
	return 0;
}
