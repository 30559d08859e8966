#include "proxy/agreeing.h"

#include <errno.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "os/sock.h"

static uint8_t bytes[TALK_MOST];

void agreeing_cancel(struct agreeing *a)
{
	timer_clear(a->env->loop, &a->timer);
}

static void finish(struct agreeing *a, enum agreeing_outcome outcome)
{
	agreeing_cancel(a);
	a->done(a->arg, outcome);
}

static void timed_out(void *arg)
{
	finish(arg, AGREEING_TIMEOUT);
}

/* Only the first bytes that it ever gets: they find room. */
static bool say(struct agreeing *a, const char *text, size_t n)
{
	a->cold->base[CLIENT] += n;
	FAULT_POINT();
	return n == 0 || sock_send(a->row->fd[SERVER], text, n, 0) == (ssize_t)n;
}

static bool take(struct agreeing *a, size_t n)
{
	a->cold->answered += (uint32_t)n;
	return n == 0 || sock_recv(a->row->fd[SERVER], bytes, n, 0) == (ssize_t)n;
}

/* Its stream begins behind that. */
static void agreed(struct agreeing *a)
{
	a->row->flow[SERVER].moved = a->row->counted[SERVER] = a->cold->answered;
	finish(a, AGREEING_DONE);
}

/* true: there may be more to hear. */
static bool hear(struct agreeing *a, size_t n)
{
	struct ask_heard heard;

	starttls_ask(a->protocol, a->step, bytes, n, a->host, &heard);
	switch (heard.kind) {
	case ASK_MORE:
		break;
	case ASK_SAY:
		a->step = heard.step;
		if (take(a, heard.take) && say(a, heard.say, heard.n_say))
			return true;
		finish(a, AGREEING_GONE);
		break;
	case ASK_DONE:
		if (take(a, heard.take))
			agreed(a);
		else
			finish(a, AGREEING_GONE);
		break;
	case ASK_REFUSED:
	case ASK_WRONG:
		finish(a, AGREEING_REFUSED);
		break;
	}
	return false;
}

void agreeing_event(struct agreeing *a)
{
	ssize_t n;

	do {
		n = sock_recv(a->row->fd[SERVER], bytes, sizeof(bytes), MSG_PEEK);
		FAULT_POINT();
		if (n == 0 || (n < 0 && n != -EAGAIN)) {
			finish(a, AGREEING_GONE);
			return;
		}
	} while (hear(a, n < 0 ? 0 : (size_t)n));
}

void agreeing_start(struct agreeing *a, struct step_env *env, struct row *row, struct row_cold *cold,
                    enum starttls protocol, const char *host, int64_t deadline_ms,
                    void (*done)(void *arg, enum agreeing_outcome outcome), void *arg)
{
	*a = (struct agreeing){
	        .env = env, .row = row, .cold = cold, .protocol = protocol, .host = host, .done = done, .arg = arg};
	cold->answered = 0;
	row->flow[SERVER].moved = row->counted[SERVER] = 0;
	if (!cold->greeting) /* from now on it has heard something: header_send() */
		cold->greeting = 1;
	barrier();
	FAULT_POINT();
	if (deadline_ms)
		timer_set(env->loop, &a->timer, deadline_ms, timed_out, a);
	agreeing_event(a);
}
