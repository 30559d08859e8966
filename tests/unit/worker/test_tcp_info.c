#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "worker/tcp_info.h"

static struct loop loop;
static struct trio *trio;
static struct tcp_info_writer info;
static uint64_t answered;

static void make_tcp_pair(int *ret)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(ret[0], (struct sockaddr *)&a, len), 0);
	ret[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(ret[1] >= 0);
	close(listener);
}

static void over(void *arg, uint64_t request)
{
	answered = request;
	loop.stop = true;
}

static uint32_t looked_at(uint32_t row)
{
	static uint64_t request;

	loop.stop = false;
	tcp_info_write(&info, &loop, trio, ++request, over, NULL);
	if (answered != request)
		loop_run(&loop);
	assert_int_equal(answered, request);
	return trio_tcp_info(trio, row)->known;
}

static void what_cannot_have_changed_is_not_asked_again(void **state)
{
	struct row *row = trio_row(trio, 2);
	int pair[2];

	make_tcp_pair(pair);
	*row = (struct row){.state = ROW_RELAY, .serial = 7, .fd = {pair[0], pair[1], -1}, .active_ms = loop.now_ms};
	trio->rows_used = 3;
	assert_int_equal(looked_at(2), 3);
	assert_int_equal(trio_tcp_info(trio, 2)->final_ms, 0); /* more may move in this millisecond */
	row->active_ms -= 10;
	assert_int_equal(looked_at(2), 3);

	row->fd[SERVER] = -1; /* asked again, it would tell nothing of this side */
	assert_int_equal(looked_at(2), 3);
	row->active_ms++;
	assert_int_equal(looked_at(2), 1);
	row->fd[SERVER] = pair[1];
	assert_int_equal(looked_at(2), 1);
	row->flow[CLIENT].flags = FLOW_EOF;
	assert_int_equal(looked_at(2), 3);
	row->flow[CLIENT].flags = 0;
	row->serial++;
	row->fd[CLIENT] = -1;
	assert_int_equal(looked_at(2), 2);
	close(pair[0]);
	close(pair[1]);
}

static void what_is_on_its_way_may_change(void **state)
{
	struct row *row = trio_row(trio, 0);
	int small = 1, pair[2];
	static char much[4 << 20];

	make_tcp_pair(pair);
	setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	assert_true(send(pair[0], much, sizeof(much), MSG_DONTWAIT) > 0);
	*row = (struct row){.state = ROW_RELAY, .serial = 1, .fd = {pair[0], -1, -1}, .active_ms = loop.now_ms - 10};
	assert_int_equal(looked_at(0), 1);
	assert_int_equal(trio_tcp_info(trio, 0)->final_ms, 0);
	row->fd[CLIENT] = -1;
	assert_int_equal(looked_at(0), 0);
	close(pair[0]);
	close(pair[1]);
}

static void all_rows_are_looked_at(void **state)
{
	for (uint32_t i = 0; i < trio->n_rows; i++)
		*trio_row(trio, i) = (struct row){.state = ROW_RELAY, .serial = i + 1, .fd = {-1, -1, -1}};
	trio->rows_used = trio->n_rows;
	looked_at(0);
	for (uint32_t i = 0; i < trio->n_rows; i++)
		assert_int_equal(trio_tcp_info(trio, i)->serial, i + 1);
}

static int setup(void **state)
{
	trio = trio_new_private(3000);
	return loop_init(&loop, -1, NULL, 16);
}

static int teardown(void **state)
{
	loop_release(&loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_cannot_have_changed_is_not_asked_again),
	        cmocka_unit_test(what_is_on_its_way_may_change),
	        cmocka_unit_test(all_rows_are_looked_at),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
