#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/sock.h"

static void set_buffers(int fd, int size)
{
	if (size == 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static void make_tcp_pair(int size, int *ours, int *theirs)
{
	struct addr a;
	int listener;

	assert_true(addr_parse("127.0.0.1", &a));
	listener = sock_listen(&a, 1, false);
	assert_true(listener >= 0);
	set_buffers(listener, size);
	assert_int_equal(sock_local(listener, &a), 0);
	*theirs = sock_new_tcp(AF_INET);
	set_buffers(*theirs, size);
	assert_int_equal(sock_connect(*theirs, &a), -EINPROGRESS);
	do
		*ours = sock_accept(listener, NULL);
	while (*ours == -EAGAIN);
	assert_true(*ours >= 0);
	close(listener);
}

void make_pair(enum pair_kind kind, int size, int *ours, int *theirs)
{
	int ends[2];

	if (kind == PAIR_TCP) {
		make_tcp_pair(size, ours, theirs);
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	*ours = ends[0];
	*theirs = ends[1];
	set_buffers(*ours, size);
	set_buffers(*theirs, size);
}

void fill_pattern(char *buf, size_t n)
{
	uint32_t x = 4711;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		buf[i] = (char)(x >> 24);
	}
}

/* ---- peers ---- */

void peer_init(struct peer *p, int fd, const char *out, size_t len)
{
	*p = (struct peer){.fd = fd, .out = out, .out_len = len, .reading = true};
}

static void peer_send(struct peer *p)
{
	while (p->sent < p->out_len && !p->send_error) {
		ssize_t n = send(p->fd, p->out + p->sent, p->out_len - p->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0) {
			p->send_error = errno == EAGAIN ? 0 : errno;
			return;
		}
		p->sent += (size_t)n;
	}
	if (p->sent < p->out_len)
		return;
	if (p->fin && !p->shut) {
		shutdown(p->fd, SHUT_WR);
		p->shut = true;
	}
	if (p->reset && sock_unsent(p->fd) == 0) {
		sock_reset_on_close(p->fd);
		close(p->fd);
		p->fd = -1;
	}
}

static void peer_receive(struct peer *p)
{
	size_t most = p->read_at_once ? p->read_at_once : SIZE_MAX;
	size_t end = most < SIZE_MAX - p->in_len ? p->in_len + most : SIZE_MAX;

	while (!p->eof && !p->error && p->in_len < end) {
		size_t room;
		ssize_t n;

		if (p->in_cap - p->in_len < 65536) {
			p->in_cap = p->in_cap * 2 + 65536;
			p->in = mem_resize(p->in, p->in_cap, 1);
		}
		room = p->in_cap - p->in_len;
		n = recv(p->fd, p->in + p->in_len, room < end - p->in_len ? room : end - p->in_len, MSG_DONTWAIT);
		if (n == 0)
			p->eof = true;
		else if (n > 0)
			p->in_len += (size_t)n;
		else if (errno == EAGAIN)
			return;
		else
			p->error = errno;
	}
}

void peer_step(struct peer *p)
{
	if (p->fd >= 0)
		peer_send(p);
	if (p->fd >= 0 && p->reading)
		peer_receive(p);
}

void peer_release(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	free(p->in);
	*p = (struct peer){.fd = -1};
}

void assert_received(const struct peer *p, size_t n)
{
	char *wanted = mem_alloc(n + 1);

	fill_pattern(wanted, n);
	assert_int_equal(p->in_len, n);
	if (n > 0 && memcmp(p->in, wanted, n) != 0)
		fail_msg("other bytes than those sent");
	free(wanted);
}

/* ---- the stage ---- */

int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

void stage_init(struct stage *s)
{
	memset(s, 0, sizeof(*s));
	s->n_fds = open_fds();
	assert_int_equal(loop_init(&s->loop, -1, NULL, 64), 0);
	s->trio = trio_new_private(8);
	assert_non_null(s->trio);
	s->env = (struct step_env){.loop = &s->loop, .trio = s->trio, .scratch = trio_scratch(s->trio)};
	s->row = trio_row(s->trio, 1);
	s->cold = trio_cold(s->trio, 1);
	s->row->serial = 77;
	s->row->state = ROW_ACCEPTED;
	for (int i = 0; i < 3; i++)
		s->row->fd[i] = -1;
	for (int i = 0; i < 2; i++)
		s->row->flow[i].pipe_read = s->row->flow[i].pipe_write = -1;
}

void stage_release(struct stage *s)
{
	assert_int_equal(s->loop.n_timers, 0);
	pipepool_discard(&s->trio->step.pipe_read, &s->trio->step.pipe_write);
	pipepool_release(&s->env.pool);
	loop_release(&s->loop);
	trio_unmap(s->trio);
	assert_int_equal(open_fds(), s->n_fds);
}
