#include "children/notices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "program/notice.h"

#define NOTICE_LIMIT_MS  30000
#define ANSWERS_PER_TURN 64

/* Those of one server of a service. */
struct pending_notice {
	struct pending_notice *next;
	uint64_t key;
	uint64_t serial;     /* of what was asked; 0: nothing */
	bool started;        /* likewise: it runs */
	struct buf asked;    /* the message, in case the spawner dies; empty: nothing was, or it was started */
	struct buf next_one; /* what is to be asked then; empty: nothing */
	atomic_ullong *told;
	enum server_state asked_state, next_state;
};

/* ---- what was told ---- */

static void note(atomic_ullong *word, enum server_state state)
{
	struct told_state t = told_state_read(word, true);

	t.noted = state;
	told_state_write(word, t);
}

/* Of a server of several services: when all have been told. */
static void note_started(const struct notices *n, const struct pending_notice *p)
{
	for (const struct pending_notice *o = n->first; o; o = o->next)
		if (o->told == p->told && o != p && (o->asked.len > 0 || o->next_one.len > 0))
			return;
	note(p->told, p->asked_state);
}

/* ---- asking ---- */

static void forget(struct notices *n, struct pending_notice *p)
{
	struct pending_notice **at = &n->first;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (!p->next)
		n->last = at;
	buf_release(&p->asked);
	buf_release(&p->next_one);
	free(p);
}

/* The newest; what a spawner that died was asked, and had not started, is older than that. */
static void choose(struct pending_notice *p)
{
	if (p->next_one.len == 0)
		return;
	buf_release(&p->asked);
	p->asked = p->next_one;
	p->asked_state = p->next_state;
	p->next_one = (struct buf)BUF_INIT;
}

static int ask(struct notices *n, struct pending_notice *p)
{
	uint64_t serial = n->serial + 1;
	int rc;

	choose(p);
	memcpy(p->asked.s + offsetof(struct notice_question, serial), &serial, sizeof(serial));
	rc = sock_send_message(n->channel.fd, p->asked.s, p->asked.len, NULL, 0);
	if (rc < 0)
		return rc;
	p->serial = n->serial = serial;
	n->asked++;
	return 0;
}

static void try_all(struct notices *n)
{
	struct pending_notice *next;

	for (struct pending_notice *p = n->first; p && n->channel.fd >= 0 && n->asked < NOTICES_MAX; p = next) {
		int rc = p->serial ? 0 : ask(n, p);

		next = p->next;
		if (rc == -EMSGSIZE) {
			log_error("a notify program cannot be started: its arguments and its environment are too long");
			forget(n, p);
		} else if (rc < 0) {
			return; /* there is room when it has answered, or another spawner */
		}
	}
}

/* ---- answers ---- */

static void over(struct notices *n, struct pending_notice *p)
{
	n->asked--;
	p->serial = 0;
	p->started = false;
	buf_clear(&p->asked);
	if (p->next_one.len == 0)
		forget(n, p);
}

static void has_started(struct notices *n, struct pending_notice *p)
{
	if (p->started)
		return;
	p->started = true;
	buf_clear(&p->asked);
	note_started(n, p);
}

static void take_reply(struct notices *n, const struct notice_reply *r)
{
	struct pending_notice *p = n->first;

	while (p && p->serial != r->serial)
		p = p->next;
	if (!p || r->serial == 0)
		return;
	has_started(n, p); /* or it never will: that is in the log */
	if (r->event == NOTICE_ENDED)
		over(n, p);
}

/* ---- the channel ---- */

static void lose_channel(struct notices *n)
{
	int fd = n->channel.fd;

	if (fd < 0)
		return;
	watch_remove(n->loop, &n->channel);
	close(fd);
	n->channel.fd = -1;
	for (struct pending_notice *p = n->first, *next; p; p = next) {
		next = p->next;
		if (p->started) {
			over(n, p);
		} else if (p->serial) {
			p->serial = 0;
			n->asked--;
		}
	}
}

static void notices_event(void *arg, uint32_t events)
{
	struct notices *n = arg;

	(void)events;
	for (int i = 0; i < ANSWERS_PER_TURN && n->channel.fd >= 0; i++) {
		struct notice_reply r;
		int len = sock_recv_message(n->channel.fd, &r, sizeof(r), NULL, NULL);

		if (len == -EAGAIN || len == -EINTR)
			break;
		if (len == sizeof(r))
			take_reply(n, &r);
		else
			lose_channel(n);
	}
	try_all(n);
}

static void join(struct notices *n)
{
	int pair[2];

	if (n->channel.fd >= 0 || n->spawner->child.control.fd < 0)
		return;
	if (sock_message_pair(pair) < 0) {
		log_error("there is no descriptor for notify programs: they wait");
		return;
	}
	spawner_child_give_notices(n->spawner, pair[0]);
	close(pair[0]);
	watch_keep(n->loop, &n->channel, pair[1], EPOLLIN, notices_event, n);
}

void notices_join(struct notices *n)
{
	lose_channel(n);
	if (!n->first)
		return; /* there is one when it is wanted */
	join(n);
	try_all(n);
}

/* ---- what is to be told ---- */

static uint64_t key_of(const struct notice_order *o)
{
	uint64_t key = hash_bytes(HASH_START, o->service, strlen(o->service) + 1);

	key = hash_bytes(key, o->server, strlen(o->server));
	return key ? key : 1;
}

static struct pending_notice *pending_of(struct notices *n, uint64_t key)
{
	struct pending_notice *p = n->first;

	while (p && p->key != key)
		p = p->next;
	if (p)
		return p;
	p = mem_alloc(sizeof(*p));
	*p = (struct pending_notice){.key = key};
	*n->last = p;
	n->last = &p->next;
	return p;
}

void notices_add(struct notices *n, const struct notice_order *o)
{
	struct notice_question q = {.key = key_of(o), .timeout_ms = NOTICE_LIMIT_MS};
	char *label = mem_printf("notify %s for %s", o->argv[0], o->server);
	struct buf message = BUF_INIT;
	struct pending_notice *p;

	notice_pack(q, label, o->argv, o->env, &message);
	if (message.len > NOTICE_SIZE_MAX) {
		log_error("cannot start %s: its arguments and its environment are more than %d bytes", label,
		          NOTICE_SIZE_MAX);
		buf_release(&message);
	} else {
		p = pending_of(n, q.key);
		buf_release(&p->next_one);
		p->next_one = message;
		p->next_state = o->state;
		p->told = o->told;
		join(n);
		try_all(n);
	}
	free(label);
}

void notices_init(struct notices *n, struct loop *loop, struct spawner_child *spawner)
{
	*n = (struct notices){.loop = loop, .spawner = spawner, .channel.fd = -1};
	n->last = &n->first;
}

void notices_stop(struct notices *n)
{
	lose_channel(n);
	while (n->first)
		forget(n, n->first);
}
