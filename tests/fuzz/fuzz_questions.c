/*
 * fuzz_questions.c - what a worker may ask of the spawner, and write into the slots; and what a spawner may answer a worker.
 *
 * No program of the configuration exists: all is done up to execve(), and nothing is run. The first byte says who lies; the rest
 * is a list of messages with descriptors, of slots that are written over, and of time that passes.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine.h"
#include "spawner/spawner.h"

#define ROWS      8
#define STARTS    3 /* questions at most that may end in a process */
#define END_TURNS 400

static const char text[] =
        "numeric yes\nport 80\n\tacp /nonexistent/acp\n\tserver unix:/nonexistent/x\n\tserver unix:/nonexistent/y\n"
        "port 81\n\texec /nonexistent/handler a\nport 82\n\tserver unix:/nonexistent/z\n";

static struct config *parse(void)
{
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("/fuzz", text, &(struct config_ops){0}, &errors);

	CHECK(c);
	return c;
}

/* Only our own children can be meant. */
int kill(pid_t pid, int sig)
{
	siginfo_t info;

	CHECK(sig == 0 || waitid(P_PID, (id_t)(pid < 0 ? -pid : pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0);
	return (int)syscall(SYS_kill, pid, sig);
}

static void spoil_slot(struct input *in, struct question_slot *slot)
{
	const int32_t pids[] = {0, -1, INT32_MAX, INT32_MIN, 1, getpid(), getppid(), slot->pid};
	uint8_t which = input_u8(in);

	slot->serial = input_u8(in) % 8;
	if (which & 1)
		slot->pid = pids[input_u8(in) % ARRAY_LEN(pids)];
	if (which & 2)
		slot->answered = input_u8(in) % 8;
	if (which & 4)
		slot->status = (int32_t)input_u32(in);
	if (which & 8)
		slot->starter = pids[input_u8(in) % ARRAY_LEN(pids)];
	if (which & 16)
		memset(slot->name, input_u8(in), sizeof(slot->name));
}

/* ---- before the spawner ---- */

static void ask(struct input *in, int to, unsigned *starts)
{
	struct {
		struct question q;
		char more[8];
	} m;
	uint8_t kind = input_u8(in);
	size_t len = sizeof(m.q);

	memset(&m, 0, sizeof(m));
	m.q.row = input_u8(in) % (ROWS + 1);
	m.q.serial = input_u8(in) % 8;
	if (kind & 128) {
		input_bytes(in, &m, sizeof(m));
		len = input_u8(in) % sizeof(m);
	} else {
		m.q.generation = input_u8(in) % 4;
		m.q.section = input_u8(in) % 4;
		m.q.server = input_u8(in) % 4 == 3 ? UINT32_MAX : input_u8(in) % 4;
		m.q.client.family = input_u8(in);
		m.q.id = input_u64(in);
	}
	m.q.kind = kind % 8 < 6 ? kind % 3 + 1 : kind;
	if ((m.q.kind == ASK_HANDLER || m.q.kind == ASK_ACCESS) && (*starts)++ >= STARTS)
		m.q.kind = ASK_KILL;
	input_send(in, to, &m, kind & 64 ? QUESTION_WITHOUT_ID : len, input_u8(in) % 4);
}

static void take_answers(int from)
{
	struct answer a;
	size_t n = 1;
	int fd;

	while (sock_recv_message(from, &a, sizeof(a), &fd, &n) > 0) {
		if (n == 1)
			close(fd);
		n = 1;
	}
}

static void before_spawner(struct input *in)
{
	static struct question_slot slots[ROWS];
	struct loop loop;
	struct spawner_setup setup = {.loop = &loop, .umask = 022, .nofile = {64, 64}};
	struct spawner *spawner;
	unsigned starts = 0;
	int pair[2];

	memset(slots, 0, sizeof(slots));
	CHECK(loop_init(&loop, -1, NULL, 16) == 0 && spawner_new(&setup, &spawner) == 0 &&
	      sock_message_pair(pair) == 0);
	CHECK(spawner_add_channel(spawner, pair[1], slots, NULL, ROWS, NULL, NULL) == 0);
	spawner_set_config(spawner, parse(), 1);
	spawner_set_config(spawner, parse(), 2);
	while (in->left > 0) {
		uint8_t step = input_u8(in);

		if (step < 100)
			ask(in, pair[0], &starts);
		else if (step < 180)
			spoil_slot(in, &slots[step % ROWS]);
		else if (step < 200)
			spawner_take_program(spawner, pair[1], input_u8(in) % (ROWS + 1), step & 1);
		else
			CHECK(loop_turn(&loop, step > 250) == 0);
		if (step % 8 == 0)
			take_answers(pair[0]);
	}
	CHECK(loop_turn(&loop, 0) == 0);
	close(pair[0]);
	for (int i = 0; i < END_TURNS && !spawner_is_idle(spawner); i++)
		CHECK(loop_turn(&loop, 5) == 0);
	CHECK(spawner_is_idle(spawner) && spawner_running(spawner) == 0);
	spawner_free(spawner);
	CHECK(loop.n_timers == 0);
	loop_release(&loop);
}

/* ---- before the worker ---- */

static void answer(struct input *in, int to)
{
	struct {
		struct answer a;
		char more[8];
	} m;
	uint8_t kind = input_u8(in), row;
	size_t len = sizeof(m.a);

	memset(&m, 0, sizeof(m));
	row = input_u8(in);
	m.a.row = row % ENGINE_ROWS;
	m.a.serial = trio_cold(engine.env.trio, m.a.row)->question;
	m.a.kind = kind % 8;
	if (row > 200)
		m.a.row = input_u32(in);
	if (kind & 128) {
		input_bytes(in, &m, sizeof(m));
		len = input_u8(in) % sizeof(m);
	}
	input_send(in, to, &m, len, input_u8(in) % 3);
}

static void before_worker(struct input *in, const struct config *c)
{
	struct trio *trio = trio_new_private(ENGINE_ROWS);
	int pair[2], clients[ENGINE_ROWS];
	size_t n = 0;

	CHECK(trio && sock_message_pair(pair) == 0);
	engine_begin(&trio, 1, c);
	engine_set_channel(&engine, pair[0]);
	while (in->left > 0) {
		uint8_t step = input_u8(in);

		if (step < 50 && n < ARRAY_LEN(clients)) {
			clients[n++] = engine_client(80 + step % 3);
		} else if (step < 120) {
			answer(in, pair[1]);
		} else if (step < 170) {
			spoil_slot(in, &trio_slots(trio)[step % ENGINE_ROWS]);
		} else if (step < 180) { /* another one; the first may live on for a while */
			int old = pair[1];

			CHECK(sock_message_pair(pair) == 0);
			engine_set_channel(&engine, pair[0]);
			close(old);
		} else if (step < 190 && n > 0) {
			close(clients[--n]);
		} else if (step < 200) {
			take_answers(pair[1]); /* or questions */
		} else {
			engine_turn(1);
		}
	}
	engine_turn(3);
	engine_over();
	while (n > 0)
		close(clients[--n]);
	close(pair[1]);
	trio_unmap(trio);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *config;
	struct input in = {data, size};
	siginfo_t info;
	int fds;

	if (!config) {
		config = parse();
		log_set_sink(check_line, NULL);
		engine_world = world_new_private();
		CHECK(engine_world);
		world_take(engine_world, config);
	}
	fds = fds_open();
	if (input_u8(&in) % 2 == 0)
		before_spawner(&in);
	else
		before_worker(&in, config);
	info.si_pid = 0;
	CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	      info.si_pid == 0); /* all have been heard of */
	CHECK(fds_open() == fds);
	return 0;
}
