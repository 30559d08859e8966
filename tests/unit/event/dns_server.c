#include "dns_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

struct message {
	uint8_t data[2048];
	size_t len;
};

#define LATE_MAX 16

/* An answer that is not due yet. */
struct late {
	struct message message; /* len 0: none */
	struct sockaddr_storage to;
	socklen_t to_len;
	int64_t due_ms;
};

struct dns_server {
	const struct dns_record *zone;
	int sock, tcp, stop;
	struct addr addr;
	pthread_t thread;
	unsigned asked; /* questions for DNS_SLOW names */
	struct late late[LATE_MAX];
	atomic_uint questions;
};

static void put16(struct message *m, unsigned v)
{
	m->data[m->len++] = (uint8_t)(v >> 8);
	m->data[m->len++] = (uint8_t)v;
}

static void put_name(struct message *m, const char *name)
{
	while (*name && strcmp(name, ".") != 0) {
		size_t n = strcspn(name, ".");

		m->data[m->len++] = (uint8_t)n;
		memcpy(m->data + m->len, name, n);
		m->len += n;
		name += n + (name[n] == '.');
	}
	m->data[m->len++] = 0;
}

/* The name of the question, dotted. Returns the offset behind it. */
static size_t take_name(const struct message *m, char *name)
{
	size_t at = 12, out = 0;

	while (at < m->len && m->data[at]) {
		size_t n = m->data[at++];

		CHECK(at + n < m->len && out + n + 1 < 256);
		for (size_t i = 0; i < n; i++)
			name[out++] =
			        (char)(m->data[at + i] | 0x20 * (m->data[at + i] >= 'A' && m->data[at + i] <= 'Z'));
		name[out++] = '.';
		at += n;
	}
	name[out ? out - 1 : 0] = '\0';
	return at + 1;
}

static void put_srv(struct message *m, const char *data)
{
	char *rest = (char *)data;

	for (int i = 0; i < 3; i++)
		put16(m, (unsigned)strtoul(rest, &rest, 10));
	put_name(m, rest + 1);
}

static void put_record(struct message *m, const struct dns_record *r)
{
	size_t length_at;

	put16(m, 0xc00c); /* the name of the question */
	put16(m, (unsigned)r->type);
	put16(m, 1);
	put16(m, r->ttl >> 16);
	put16(m, r->ttl & 0xffff);
	length_at = m->len;
	put16(m, 0);
	if (r->type == DNS_A) {
		inet_pton(AF_INET, r->data, m->data + m->len);
		m->len += 4;
	} else if (r->type == DNS_AAAA) {
		inet_pton(AF_INET6, r->data, m->data + m->len);
		m->len += 16;
	} else if (r->type == DNS_SRV) {
		put_srv(m, r->data);
	} else {
		put_name(m, r->data);
	}
	m->data[length_at + 1] = (uint8_t)(m->len - length_at - 2);
}

/* For a question of this type by UDP: how long an answer takes. -1: for ever. */
static int delay_ms(const struct dns_record *r, unsigned type)
{
	if ((r->type == DNS_NO_A && type == DNS_A) || (r->type == DNS_NO_AAAA && type == DNS_AAAA))
		return -1;
	if ((r->type == DNS_LATE_A && type == DNS_A) || (r->type == DNS_LATE_AAAA && type == DNS_AAAA))
		return (int)r->ttl;
	return 0;
}

/* Turns a question into its answer, due in *delay ms. false: silence. */
static bool reply(struct dns_server *s, struct message *m, bool tcp, int *delay)
{
	char name[256];
	size_t question_end = take_name(m, name) + 4;
	unsigned type = (unsigned)m->data[question_end - 4] << 8 | m->data[question_end - 3];
	unsigned answers = 0;
	bool known = false, cut = false, fails = false;

	*delay = 0;
	atomic_fetch_add(&s->questions, 1);
	m->len = question_end;
	for (const struct dns_record *r = s->zone; r->name; r++) {
		if (strcmp(r->name, name) != 0)
			continue;
		if (r->type == DNS_SILENCE || (r->type == DNS_SLOW && s->asked++ < 2))
			return false;
		if (delay_ms(r, type) < 0)
			return false;
		*delay += delay_ms(r, type);
		known = true;
		cut |= r->type == DNS_BIG && !tcp;
		fails |= r->type == DNS_FAIL_AAAA && type == DNS_AAAA;
		if (r->type == (int)type) {
			put_record(m, r);
			answers++;
		}
	}
	if (cut) {
		m->len = question_end;
		answers = 0;
	}
	m->data[2] = cut ? 0x83 : 0x81;
	m->data[3] = fails ? 0x82 : known ? 0x80 : 0x83;
	memset(m->data + 6, 0, 6);
	m->data[7] = (uint8_t)answers;
	return true;
}

static void put_off(struct dns_server *s, const struct late *l)
{
	int i = 0;

	while (i < LATE_MAX && s->late[i].message.len > 0)
		i++;
	CHECK(i < LATE_MAX);
	s->late[i] = *l;
}

/* Returns the time until the next is due, -1: there is none. */
static int send_late(struct dns_server *s)
{
	int64_t now = clock_mono_ms(), wait = -1;

	for (int i = 0; i < LATE_MAX; i++) {
		struct late *l = &s->late[i];

		if (l->message.len == 0)
			continue;
		if (l->due_ms > now) {
			wait = wait < 0 || l->due_ms - now < wait ? l->due_ms - now : wait;
			continue;
		}
		sendto(s->sock, l->message.data, l->message.len, 0, (struct sockaddr *)&l->to, l->to_len);
		l->message.len = 0;
	}
	return (int)wait;
}

static void serve_udp(struct dns_server *s)
{
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	struct message m;
	ssize_t n = recvfrom(s->sock, m.data, 512, 0, (struct sockaddr *)&from, &from_len);
	int delay;

	if (n < 17)
		return;
	m.len = (size_t)n;
	if (!reply(s, &m, false, &delay))
		return;
	if (delay == 0)
		sendto(s->sock, m.data, m.len, 0, (struct sockaddr *)&from, from_len);
	else
		put_off(s, &(struct late){m, from, from_len, clock_mono_ms() + delay});
}

static void serve_tcp(struct dns_server *s)
{
	int fd = accept4(s->tcp, NULL, NULL, SOCK_CLOEXEC);
	struct message m;
	uint16_t len;
	int delay;

	if (recv(fd, &len, sizeof(len), MSG_WAITALL) == sizeof(len) && ntohs(len) <= 512 &&
	    recv(fd, m.data, ntohs(len), MSG_WAITALL) == ntohs(len)) {
		m.len = ntohs(len);
		CHECK(reply(s, &m, true, &delay));
		len = htons((uint16_t)m.len);
		CHECK(send(fd, &len, sizeof(len), MSG_NOSIGNAL) == sizeof(len));
		CHECK(send(fd, m.data, m.len, MSG_NOSIGNAL) == (ssize_t)m.len);
	}
	recv(fd, &len, sizeof(len), 0); /* until the other side has read it and closes */
	close(fd);
}

static void *serve(void *arg)
{
	struct dns_server *s = arg;
	struct pollfd p[3] = {
	        {.fd = s->sock, .events = POLLIN}, {.fd = s->tcp, .events = POLLIN}, {.fd = s->stop, .events = POLLIN}};

	while (poll(p, 3, send_late(s)) >= 0 && !p[2].revents) {
		if (p[0].revents)
			serve_udp(s);
		if (p[1].revents)
			serve_tcp(s);
	}
	return NULL;
}

/* One port for both, which the kernel chooses for the one (0) and somebody may have for the other. */
static bool bind_both(struct dns_server *s, const struct addr *at)
{
	struct sockaddr_storage local;
	socklen_t len = addr_to_sockaddr(at, &local);

	s->sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(s->sock >= 0 && s->tcp >= 0);
	CHECK(bind(s->sock, (struct sockaddr *)&local, len) == 0);
	CHECK(getsockname(s->sock, (struct sockaddr *)&local, &len) == 0);
	addr_from_sockaddr((struct sockaddr *)&local, len, &s->addr);
	if (bind(s->tcp, (struct sockaddr *)&local, len) == 0 && listen(s->tcp, 16) == 0)
		return true;
	close(s->sock);
	close(s->tcp);
	return false;
}

struct dns_server *dns_server_start(const struct dns_record *zone)
{
	struct addr any;

	CHECK(addr_parse("127.0.0.1", &any));
	return dns_server_start_at(zone, &any);
}

struct dns_server *dns_server_start_at(const struct dns_record *zone, const struct addr *addr)
{
	struct dns_server *s = mem_alloc(sizeof(*s));
	int tries = 0;

	s->zone = zone;
	s->stop = eventfd(0, EFD_CLOEXEC);
	CHECK(s->stop >= 0);
	while (!bind_both(s, addr))
		CHECK(++tries < 100);
	CHECK(pthread_create(&s->thread, NULL, serve, s) == 0);
	return s;
}

unsigned dns_server_questions(const struct dns_server *s)
{
	return atomic_load(&s->questions);
}

struct addr dns_server_addr(const struct dns_server *s)
{
	return s->addr;
}

void dns_server_stop(struct dns_server *s)
{
	uint64_t one = 1;

	CHECK(write(s->stop, &one, sizeof(one)) == sizeof(one));
	pthread_join(s->thread, NULL);
	close(s->sock);
	close(s->tcp);
	close(s->stop);
	free(s);
}
