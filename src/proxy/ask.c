#include "proxy/ask.h"

#include <errno.h>
#include <string.h>
#include "base/fault.h"
#include "os/sock.h"

static struct question_slot *slot_of(struct step_env *env, const struct row *row)
{
	return &trio_slots(env->trio)[row_index(env->trio, row)];
}

static void prepare_slot(struct step_env *env, struct row *row, struct row_cold *cold)
{
	struct question_slot *slot = slot_of(env, row);

	FAULT_POINT();
	cold->asked_before = 0;
	slot->pid = 0;
	slot->answered = 0;
	slot->status = 0;
	slot->name[0] = '\0';
	barrier();
	slot->serial = (uint64_t)++cold->question_count << 32 | row->serial;
	barrier();
	FAULT_POINT();
	cold->question = slot->serial;
	FAULT_POINT();
}

/* To the spawner that owes the answer to the present question. */
static int channel_of(const struct step_env *env, const struct row_cold *cold)
{
	return cold->asked_before ? env->trio->old_spawner_fd : env->trio->spawner_fd;
}

static int send_announced(const struct step_env *env, const struct row_cold *cold, const struct question *q,
                          const int *fds, size_t n_fds)
{
	static struct long_question m; /* of this call */
	uint32_t n = cold->n_tlvs < TRIO_TLVS ? cold->n_tlvs : TRIO_TLVS;

	m.question = *q;
	m.announced.via = cold->via;
	m.announced.to = cold->announced;
	m.announced.n_tlvs = n;
	if (n > 0)
		memcpy(m.announced.tlvs, trio_tlvs(env->trio, q->row), n);
	return sock_send_message(channel_of(env, cold), &m, QUESTION_LEAST_LONG + n, fds, n_fds);
}

static int send_question(const struct step_env *env, const struct row_cold *cold, const struct question *q,
                         const int *fds, size_t n_fds)
{
	int channel = channel_of(env, cold);

	if (channel < 0)
		return -ENOTCONN;
	if (cold->via.family != AF_UNSPEC && !cold->asked_before && q->kind != ASK_KILL)
		return send_announced(env, cold, q, fds, n_fds);
	return sock_send_message(channel, q, cold->asked_before ? QUESTION_WITHOUT_ID : sizeof(*q), fds, n_fds);
}

int ask_send(struct step_env *env, struct row *row, struct row_cold *cold, enum question_kind kind, const int *fds,
             size_t n_fds)
{
	struct question q = {
	        .kind = kind,
	        .row = row_index(env->trio, row),
	        .generation = cold->generation,
	        .section = cold->section,
	        .server = cold->server_index,
	        .local = cold->local,
	        .client = cold->client,
	        .id = cold->id,
	};

	if (cold->question == 0)
		prepare_slot(env, row, cold);
	q.serial = cold->question;
	return send_question(env, cold, &q, fds, n_fds);
}

void ask_kill(struct step_env *env, struct row *row, struct row_cold *cold)
{
	struct question q = {.kind = ASK_KILL, .row = row_index(env->trio, row), .serial = cold->question};

	if (cold->question)
		send_question(env, cold, &q, NULL, 0);
}
