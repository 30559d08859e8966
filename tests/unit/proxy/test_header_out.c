/* What a server hears first: a function of its row, said once, whatever its socket takes of it, and whoever goes on with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/proxy_header.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/header_out.h"

static struct trio *trio;
static struct step_env env;
static struct row *row;
static struct row_cold *cold;
static int listener, peer;

static struct addr address(const char *ip, uint16_t port)
{
	struct addr a;

	assert_true(addr_parse(ip, &a));
	a.port = port;
	return a;
}

/* A server that reads nothing, and has little room. */
static void connect_server(void)
{
	struct addr at = address("127.0.0.1", 0);
	int small = 4096, rc;

	listener = sock_listen(&at, 1, false);
	assert_true(listener >= 0);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	assert_int_equal(sock_local(listener, &at), 0);
	row->fd[SERVER] = sock_new_tcp(AF_INET);
	setsockopt(row->fd[SERVER], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	rc = sock_connect(row->fd[SERVER], &at);
	assert_true(rc == 0 || rc == -EINPROGRESS);
	do
		peer = sock_accept(listener, NULL);
	while (peer == -EAGAIN);
	assert_true(peer >= 0);
}

static int setup(void **state)
{
	trio = trio_new_private(4);
	env = (struct step_env){.trio = trio, .pool = {.most = 0}};
	row = trio_row(trio, 1);
	cold = trio_cold(trio, 1);
	row->state = ROW_CONNECTING;
	for (int i = 0; i < 3; i++)
		row->fd[i] = -1;
	for (int i = 0; i < 2; i++)
		row->flow[i].pipe_read = row->flow[i].pipe_write = -1;
	cold->client = address("192.0.2.7", 4711);
	cold->local = address("198.51.100.1", 25);
	cold->id = 17;
	connect_server();
	return 0;
}

static int teardown(void **state)
{
	pipepool_discard(&row->flow[CLIENT].pipe_read, &row->flow[CLIENT].pipe_write);
	close(row->fd[SERVER]);
	close(peer);
	close(listener);
	trio_unmap(trio);
	return 0;
}

static struct buf made(const struct send_proxy *how)
{
	struct buf b = BUF_INIT;

	header_make(trio, 1, cold, how, &b);
	return b;
}

/* All that the server gets until it is `len` bytes, with what is parked. */
static void assert_heard(const struct buf *wanted)
{
	char *heard = mem_alloc(wanted->len + 1);
	size_t n = 0;

	for (int tries = 0; n < wanted->len && tries < 100000; tries++) {
		ssize_t got = sock_recv(peer, heard + n, wanted->len + 1 - n, 0);

		if (got > 0)
			n += (size_t)got;
		if (row->flow[CLIENT].pipe_read >= 0)
			pipe_splice(row->flow[CLIENT].pipe_read, row->fd[SERVER], 4096);
	}
	assert_int_equal(n, wanted->len);
	assert_memory_equal(heard, wanted->s, n);
	assert_int_equal(sock_recv(peer, heard, 1, 0), -EAGAIN);
	free(heard);
}

/* 16 of its own and 4000 bytes of theirs: more than the socket takes. */
static struct send_proxy large(void)
{
	static char text[1025];
	static struct send_tlv tlvs[16];
	uint8_t *theirs = trio_tlvs(trio, 1);

	memset(text, 'x', sizeof(text) - 1);
	for (size_t i = 0; i < 16; i++)
		tlvs[i] = (struct send_tlv){.type = (uint8_t)(0xe0 + i), .text = text};
	theirs[0] = 0xf0;
	theirs[1] = 4000 >> 8;
	theirs[2] = (uint8_t)4000;
	cold->n_tlvs = 4003;
	return (struct send_proxy){.version = 2, .words = SEND_PASS | SEND_CRC, .tlvs = tlvs, .n_tlvs = 16};
}

static void it_is_sent_at_once(void **state)
{
	const struct send_proxy how = {.version = 2, .words = SEND_UNIQUE_ID};
	struct buf b;

	assert_int_equal(header_send(&env, row, cold, &how, 0x1234, false), 0);
	assert_int_equal(cold->uid_start, 0x1234);
	b = made(&how);
	assert_int_equal(cold->base[CLIENT], b.len);
	assert_int_equal(row->flow[CLIENT].pipe_read, -1);
	assert_heard(&b);
	buf_release(&b);
}

/* A successor finds that it was begun, or all done. */
static void what_went_is_not_said_again(void **state)
{
	struct send_proxy how = large();
	struct buf b = made(&how);

	cold->preamble = 40;
	for (int times = 0; times < 3; times++) {
		assert_int_equal(header_send(&env, row, cold, &how, 1, false), 0);
		assert_true(pipe_filled(row->flow[CLIENT].pipe_read) > 0);
		assert_true(cold->base[CLIENT] == b.len - 40);
	}
	assert_heard(&b);
	buf_release(&b);
}

static void other_rules_after_a_part_of_it(void **state)
{
	struct send_proxy how = large(), other = {.version = 1};

	assert_int_equal(header_send(&env, row, cold, &how, 1, false), 0);
	assert_int_equal(header_send(&env, row, cold, &other, 1, false), -ESTALE);
	assert_int_equal(header_send(&env, row, cold, NULL, 1, false), -ESTALE);
	assert_int_equal(cold->base[CLIENT], 0);
	assert_int_equal(row->flow[CLIENT].pipe_read, -1);
}

static void a_server_that_is_gone(void **state)
{
	const struct send_proxy how = {.version = 1};

	sock_reset_on_close(peer);
	close(peer);
	peer = dup(listener);
	while (header_send(&env, row, cold, &how, 1, false) == 0)
		; /* its reset is on its way */
	header_forget(row, cold);
	assert_int_equal(cold->greeting, 0);
}

/* Its socket counts no bytes: all of it waits in front of the client's. */
static void over_a_unix_socket_it_is_parked(void **state)
{
	const struct send_proxy how = {.version = 1};
	struct buf b;

	row->flags |= ROWFLAG_SERVER_UNIX;
	for (int times = 0; times < 2; times++) {
		assert_int_equal(header_send(&env, row, cold, &how, 1, false), 0);
		b = made(&how);
		assert_int_equal(pipe_filled(row->flow[CLIENT].pipe_read), b.len);
		buf_release(&b);
	}
}

/* TLVs in memory that a worker has spoilt lead nowhere. */
static void spoilt_tlvs(void **state)
{
	const struct send_proxy how = {.version = 2,
	                               .words = SEND_PASS | SEND_AUTHORITY | SEND_ALPN | SEND_UNIQUE_ID | SEND_CRC};
	uint8_t *tlvs = trio_tlvs(trio, 1);

	cold->uid_start = 1;
	cold->n_tlvs = UINT16_MAX;
	srandom(1);
	for (int times = 0; times < 2000; times++) {
		struct buf b;

		for (size_t i = 0; i < TRIO_TLVS; i++)
			tlvs[i] = (uint8_t)(random() % 8 ? random() % 6 : random());
		b = made(&how);
		assert_in_range(b.len, PROXY_V2_HEAD, PROXY_V2_MAX);
		buf_release(&b);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_is_sent_at_once),
	        TEST(what_went_is_not_said_again),
	        TEST(other_rules_after_a_part_of_it),
	        TEST(a_server_that_is_gone),
	        TEST(over_a_unix_socket_it_is_parked),
	        TEST(spoilt_tlvs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
