#include "spawner/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "spawner/spawner_parts.h"

#define QUESTIONS_PER_TURN 16
#define RETRY_MS           20
#define QUESTION_FDS_MAX   3 /* one more than is ever right */

/* ---- answers ---- */

/* No more questions are read than answers can wait: the asker is held up, memory is not. */
static void update_events(struct channel *ch)
{
	uint32_t events = 0;

	if (ch->n_queued < ch->n)
		events |= (uint32_t)EPOLLIN;
	if (ch->blocked)
		events |= (uint32_t)EPOLLOUT;
	watch_change(ch->spawner->setup.loop, &ch->watch, events);
}

static void flush(struct channel *ch);

static void on_retry(void *arg)
{
	flush(arg);
}

/* false: not now. */
static bool send_one(struct channel *ch, const struct job *j)
{
	bool started = j->answer.kind == ANSWER_STARTED;
	int rc = sock_send_message(ch->fd, &j->answer, sizeof(j->answer), &j->run.process.pidfd, started);

	if (rc == -EAGAIN) {
		ch->blocked = true;
		return false;
	}
	/* Too many descriptors under way, no memory: it passes, but no event tells when. */
	if (rc == -ETOOMANYREFS || rc == -ENOBUFS || rc == -ENOMEM) {
		timer_set(ch->spawner->setup.loop, &ch->retry, clock_mono_ms() + RETRY_MS, on_retry, ch);
		return false;
	}
	return true; /* or the other end is closed, which is noticed when reading */
}

static void flush(struct channel *ch)
{
	struct job *j;

	ch->blocked = false;
	while ((j = ch->queue) && send_one(ch, j)) {
		ch->queue = j->queue_next;
		if (!ch->queue)
			ch->queue_end = &ch->queue;
		ch->n_queued--;
		j->queued = false;
		job_settle(j);
	}
	update_events(ch);
}

void channel_answer(struct channel *ch, struct job *j)
{
	if (!ch->queue && send_one(ch, j))
		return;
	j->queued = true;
	j->queue_next = NULL;
	*ch->queue_end = j;
	ch->queue_end = &j->queue_next;
	ch->n_queued++;
	update_events(ch);
}

/* ---- questions ---- */

static bool fds_fit(const struct question *q, size_t n_fds)
{
	switch (q->kind) {
	case ASK_HANDLER:
		return n_fds == 1 || n_fds == 2;
	case ASK_ACCESS:
		return n_fds == 1;
	default:
		return n_fds == 0;
	}
}

/* EMFILE if no descriptor is to be had now: then the kernel has thrown away those of a message. */
static int descriptors_error(const struct spawner *s)
{
	int fd = fcntl(s->null_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* A worker that took over may ask what the one before it has asked already. */
static bool is_known(const struct channel *ch, const struct question *q)
{
	const struct question_slot *slot = &ch->slots[q->row];
	const struct job *j = ch->by_row[q->row];

	return __atomic_load_n(&slot->serial, __ATOMIC_ACQUIRE) != q->serial ||
	       __atomic_load_n(&slot->pid, __ATOMIC_ACQUIRE) != 0 || (j && j->question.serial == q->serial);
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static void ignore(const char *why, const int *fds, size_t n_fds)
{
	if (why)
		log_error("a message to the spawner is ignored: %s", why);
	close_all(fds, n_fds);
}

/* The program of this question, also if a spawner before this one has started it. */
static struct job *find_program(struct channel *ch, const struct question *q)
{
	const struct question_slot *slot = &ch->slots[q->row];
	struct job *j = ch->by_row[q->row];

	if (j && j->question.serial == q->serial)
		return j;
	return slot->serial == q->serial && slot->pid > 0 ? job_adopt(ch, q->row) : NULL;
}

static void take_question(struct channel *ch, const struct question *q, const struct question_announced *announced,
                          const int *fds, size_t n_fds)
{
	int error = 0;

	if (q->kind < ASK_HANDLER || q->kind > ASK_KILL) {
		ignore("unknown kind of question", fds, n_fds);
		return;
	}
	if (q->row >= ch->n) {
		ignore("unknown row", fds, n_fds);
		return;
	}
	if (!fds_fit(q, n_fds)) {
		error = n_fds == 0 ? descriptors_error(ch->spawner) : 0;
		if (!error) {
			ignore("wrong number of descriptors", fds, n_fds);
			return;
		}
	}
	if (q->kind == ASK_KILL) {
		struct job *j = find_program(ch, q);

		if (j)
			job_end(j);
	} else if (is_known(ch, q)) {
		ignore(NULL, fds, n_fds);
	} else {
		job_begin(ch, q, announced, fds, n_fds, error);
	}
}

static void channel_gone(struct channel *ch)
{
	void (*gone)(void *arg) = ch->gone;
	void *arg = ch->gone_arg;

	channel_close(ch);
	if (gone)
		gone(arg);
}

/* Takes one message. Returns false if there is none, or no channel any more. */
static bool take_message(struct channel *ch)
{
	static struct {
		struct long_question q;
		char more; /* so that a longer message is seen */
	} in;
	const struct question_announced *announced = &in.q.announced;
	int fds[QUESTION_FDS_MAX];
	size_t n_fds = QUESTION_FDS_MAX;
	int n;

	in.q.question.id = 0;
	n = sock_recv_message(ch->fd, &in, sizeof(in), fds, &n_fds);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n <= 0) {
		channel_gone(ch);
		return false;
	}
	if (n == sizeof(in.q.question) || n == QUESTION_WITHOUT_ID)
		take_question(ch, &in.q.question, NULL, fds, n_fds);
	else if ((size_t)n >= QUESTION_LEAST_LONG && announced->n_tlvs <= QUESTION_TLVS &&
	         (size_t)n == QUESTION_LEAST_LONG + announced->n_tlvs)
		take_question(ch, &in.q.question, announced, fds, n_fds);
	else
		ignore("it is no question", fds, n_fds);
	return true;
}

static void on_channel(void *arg, uint32_t events)
{
	struct channel *ch = arg;

	if (events & EPOLLOUT)
		flush(ch);
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	for (int i = 0; i < QUESTIONS_PER_TURN; i++)
		if (!take_message(ch))
			return;
}

/* ---- life ---- */

int spawner_add_channel(struct spawner *s, int fd, struct question_slot *slots, const struct trio *trio, uint32_t n,
                        void (*gone)(void *arg), void *arg)
{
	struct channel *ch = mem_alloc(sizeof(*ch));
	int rc = watch_add(s->setup.loop, &ch->watch, fd, EPOLLIN, on_channel, ch);

	if (rc < 0) {
		free(ch);
		close(fd);
		return rc;
	}
	ch->spawner = s;
	ch->fd = fd;
	ch->slots = slots;
	ch->trio = trio;
	ch->n = n;
	ch->by_row = mem_alloc(((size_t)n + 1) * sizeof(*ch->by_row));
	ch->queue_end = &ch->queue;
	ch->gone = gone;
	ch->gone_arg = arg;
	ch->next = s->channels;
	ch->link = &s->channels;
	if (ch->next)
		ch->next->link = &ch->next;
	s->channels = ch;
	return 0;
}

static bool starter_is_dead(const struct question_slot *slot)
{
	return kill(slot->starter, 0) < 0 && errno == ESRCH;
}

void spawner_take_program(struct spawner *s, int fd, uint32_t row, bool wanted)
{
	struct channel *ch = s->channels;
	struct question_slot *slot;
	struct job *j;

	while (ch && ch->fd != fd)
		ch = ch->next;
	if (!ch || row >= ch->n)
		return;
	slot = &ch->slots[row];
	if (slot->pid <= 0)
		return;
	if (!starter_is_dead(slot)) { /* an upgrade: it answers itself, and ends what is not wanted */
		if (wanted)
			job_adopt(ch, row);
		return;
	}
	if (!wanted && slot->answered)
		return;
	slot->answered = wanted ? ANSWER_STARTED : ANSWER_DENIED; /* the next spawner need not look again */
	j = job_adopt(ch, row);
	if (j && !wanted)
		job_end(j);
}

void channel_close(struct channel *ch)
{
	struct spawner *s = ch->spawner;

	for (struct job *j = s->jobs, *next; j; j = next) {
		next = j->next;
		if (j->channel == ch)
			job_orphan(j);
	}
	watch_remove(s->setup.loop, &ch->watch);
	timer_clear(s->setup.loop, &ch->retry);
	close(ch->fd);
	*ch->link = ch->next;
	if (ch->next)
		ch->next->link = ch->link;
	free(ch->by_row);
	free(ch);
}
