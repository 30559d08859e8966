/*
 * fuzz_greeting.c - what answers behind a trio's door, before the next supervisor: challenge, greeting, listeners, descriptors, memory;
 * and what knocks there, before the worker: keys, and the word of a new supervisor.
 *
 * The first byte says who lies; the rest is a list of messages with descriptors, and of places of the trio that are written over.
 */
#include <stdio.h>
#include <sys/un.h>

#include "base/clock.h"
#include "children/adopt.c" /* greet() is its own */
#include "worker/greeter.h"
#include "input.h"
#include "takeover/keeper.h"

#define KEY    0x1122334455667788ULL
#define NUMBER 3

static char what[32];
static struct trio *trio;
static struct world *world;
static int memory[2]; /* of the trio; of what nobody has sealed */
static struct world_fds world_fds;
static int door, other_door;
static struct rendezvous_name name; /* of the door */

static void begin(void)
{
	struct rendezvous_name *names;
	bool taken;

	log_set_sink(check_line, NULL);
	snprintf(what, sizeof(what), "fuzz %d", getpid());
	memory[0] = trio_new(NUMBER, 8, &trio);
	rendezvous_names(what, NUMBER + 1, &names);
	name = names[NUMBER];
	free(names);
	memory[1] = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	door = rendezvous_open(what, NUMBER, &taken);
	other_door = rendezvous_open(what, NUMBER + 1, &taken);
	CHECK(memory[0] >= 0 && world_new(&world, &world_fds) == 0 && door >= 0 && other_door >= 0);
	CHECK(ftruncate(memory[1], (off_t)trio_size) == 0);
	trio->key = KEY;
	trio->door_fd = door;
	trio->trio_fd = memory[0];
	trio->world_fd = world_fds.shared;
	trio->said_fd = world_fds.said;
	trio->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	trio->rearm_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* ---- who answers ---- */

static int fd_of_greeting(struct input *in, size_t which)
{
	const int good[] = {memory[0], world_fds.shared, trio->wake_fd, trio->rearm_fd, door, world_fds.said};
	uint8_t choice = input_u8(in);

	if (choice < 180)
		return fcntl(good[which], F_DUPFD_CLOEXEC, 3);
	if (choice < 200)
		return fcntl(good[choice % ARRAY_LEN(good)], F_DUPFD_CLOEXEC, 3);
	if (choice < 210)
		return fcntl(choice % 2 ? memory[1] : other_door, F_DUPFD_CLOEXEC, 3);
	return input_fd(in);
}

static void send_greeting(struct input *in, int to)
{
	uint8_t how = input_u8(in), n_fds = input_u8(in);
	size_t len = sizeof(struct greeting);
	int fds[GREETING_FDS + 2];
	struct greeting g = {
	        .magic = GREETING_MAGIC,
	        .trio_version = TRIO_VERSION,
	        .world_version = WORLD_VERSION,
	        .trio_size = sizeof(struct trio),
	        .world_size = sizeof(struct world),
	        .row_size = sizeof(struct row),
	        .cold_size = sizeof(struct row_cold),
	        .number = NUMBER,
	};

	g.n_workers = input_u8(in);
	g.n_listeners = input_u8(in) % 5;
	if (how & 1)
		((uint8_t *)&g)[input_u8(in) % sizeof(g)] = input_u8(in);
	if (how & 2)
		len = input_u8(in) % (sizeof(g) + 1);
	if (how & 4)
		g.number = input_u32(in);
	if (how & 8)
		g.n_workers = input_u32(in);
	n_fds = n_fds < 200 ? GREETING_FDS : n_fds % ARRAY_LEN(fds);
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = fd_of_greeting(in, i < GREETING_FDS ? i : 0);
	sock_send_message(to, &g, len, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

static void send_listeners(struct input *in, int to)
{
	struct wire w = {.type = WIRE_LISTEN, .n = input_u8(in) % 4};
	uint8_t how = input_u8(in);
	size_t n = how & 1 ? input_u8(in) % 4 : w.n;

	for (uint32_t i = 0; i < w.n; i++)
		w.ids[i] = how & 2 ? input_u32(in) : input_u8(in);
	if (how & 4)
		w.type = input_u8(in);
	if (how & 8)
		w.n = input_u32(in);
	input_send(in, to, &w, how & 16 ? input_u8(in) : sizeof(w), n);
}

static void send_any(struct input *in, int to)
{
	char message[64];
	size_t len = input_u8(in) % sizeof(message);

	input_bytes(in, message, len);
	input_send(in, to, message, len, input_u8(in) % 3);
}

static void spoil(struct input *in, struct spoilt **list)
{
	uint32_t *const words[] = {&trio->version,  &trio->size,      &trio->n_rows,
	                           &trio->row_size, &trio->cold_size, &trio->limit_slots};

	if (input_u8(in) % 2)
		input_spoil(in, list, words[input_u8(in) % ARRAY_LEN(words)], sizeof(uint32_t), 0);
	else
		input_spoil(in, list, trio, TRIO_HEAD_SIZE, 0);
}

static void check_found(const struct orphans *o)
{
	CHECK(o->n_workers > NUMBER && o->n_workers <= WORLD_WORKERS);
	for (uint32_t i = 0; i < o->n; i++) {
		const struct orphan *a = &o->list[i];

		CHECK(a->number == NUMBER && rendezvous_is(a->fds[GREETING_DOOR], &name));
		if (!a->trio)
			continue;
		CHECK(o->world && fds_is_eventfd(a->fds[GREETING_WAKE]) && fds_is_eventfd(a->fds[GREETING_REARM]));
		CHECK(trio_n_rows(a->trio) <= TRIO_ROWS && trio_map(a->fds[GREETING_TRIO], false) != NULL);
		trio_unmap(trio_map(a->fds[GREETING_TRIO], false));
	}
	CHECK(o->sockets.last_id < UINT32_MAX / 2);
	for (size_t i = 0; i < o->sockets.n; i++)
		CHECK(o->sockets.list[i].id > 0 && sock_is_listening(o->sockets.list[i].fd) &&
		      sock_is_tcp(o->sockets.list[i].fd));
}

static void before_supervisor(struct input *in)
{
	struct orphans o = {.key = KEY};
	struct spoilt *spoilt = NULL;
	enum adopt_result r;
	int pair[2];

	CHECK(sock_message_pair(pair) == 0);
	for (int n = 0; in->left > 0 && n < 12; n++) {
		uint8_t step = input_u8(in);

		if (step < 30)
			sock_send_message(pair[1], &(struct challenge){CHALLENGE_MAGIC}, sizeof(struct challenge), NULL,
			                  0);
		else if (step < 100)
			send_greeting(in, pair[1]);
		else if (step < 160)
			send_listeners(in, pair[1]);
		else if (step < 190)
			send_any(in, pair[1]);
		else
			spoil(in, &spoilt);
	}
	close(pair[1]); /* all has been said: nobody is waited for */
	r = greet(&o, pair[0], &name);
	if (r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE)
		check_found(&o);
	else
		close(pair[0]);
	CHECK((r == ADOPT_FOUND) == (o.n == 1 && o.list[0].trio));
	adopt_take_one(pair[0]);
	adopt_drop(&o);
	input_repair(&spoilt);
}

/* ---- who knocks ---- */

#define SERVICE_UID 4711

uid_t __wrap_rendezvous_peer(int fd, pid_t *pid);

/* Root would be asked for nothing. */
uid_t __wrap_rendezvous_peer(int fd, pid_t *pid)
{
	if (pid)
		*pid = getpid();
	return SERVICE_UID;
}

static int chosen_fd;

static void chosen(int fd)
{
	if (chosen_fd >= 0)
		close(chosen_fd);
	chosen_fd = fd;
}

static void say_to_worker(struct input *in, int to, bool *key_said)
{
	struct wire w = {.type = WIRE_KEY, .generation = KEY};
	uint8_t how = input_u8(in);

	if (how & 1)
		w.type = how & 2 ? WIRE_ADOPT : input_u8(in);
	if (how & 4)
		w.generation = input_u8(in) % 2 ? input_u64(in) : 0;
	if (how & 8)
		w.n = input_u32(in);
	*key_said |= w.generation == KEY;
	input_send(in, to, &w, how & 128 ? input_u8(in) : sizeof(w), how >> 4 & 3);
}

/* -1: too many wait there already. */
static int knock_here(void)
{
	int fd = rendezvous_connect(&name, geteuid());

	CHECK(fd >= 0 || fd == -EAGAIN);
	return fd < 0 ? -1 : fd;
}

static void hear_worker(int from)
{
	char message[sizeof(struct wire)];
	int fds[SOCK_MAX_FDS];
	size_t n = SOCK_MAX_FDS;

	while (from >= 0 && sock_recv_message(from, message, sizeof(message), fds, &n) > 0) {
		while (n > 0)
			close(fds[--n]);
		n = SOCK_MAX_FDS;
	}
}

static void before_worker(struct input *in)
{
	struct greeter d;
	struct loop loop;
	int callers[3] = {-1, -1, -1};
	bool key_said = false, is_private = input_u8(in) % 4 > 0;

	chosen_fd = -1;
	CHECK(loop_init(&loop, -1, NULL, 16) == 0);
	trio->uid = SERVICE_UID;
	trio->is_private = is_private;
	trio->supervisor_pid = 0;
	atomic_store(&trio->leaving, 1); /* our own supervisor is no hindrance */
	trio->listeners[0].fd = other_door;
	atomic_store(&trio->listeners[0].id, 5);
	trio->listeners_used = 1;
	greeter_start(&d, &loop, trio, world, chosen);
	for (int n = 0; in->left > 0 && n < 30; n++) {
		uint8_t step = input_u8(in), who = step % 3;

		if (step < 60 && callers[who] < 0) {
			callers[who] = knock_here();
		} else if (step < 140 && callers[who] >= 0) {
			say_to_worker(in, callers[who], &key_said);
		} else if (step < 160 && callers[who] >= 0) {
			send_any(in, callers[who]);
		} else if (step < 180 && callers[who] >= 0) {
			close(callers[who]);
			callers[who] = -1;
		} else if (step < 190) {
			hear_worker(callers[who]);
		} else {
			CHECK(loop_turn(&loop, 0) == 0);
		}
		CHECK(chosen_fd < 0 || key_said || !is_private);
		if (chosen_fd >= 0)
			close(chosen_fd);
		chosen_fd = -1;
	}
	for (size_t i = 0; i < ARRAY_LEN(callers); i++)
		if (callers[i] >= 0)
			close(callers[i]);
	for (int i = 0; i < 6; i++)
		CHECK(loop_turn(&loop, 0) == 0);
	if (chosen_fd >= 0)
		close(chosen_fd);
	greeter_stop(&d);
	CHECK(loop.n_timers == 0);
	loop_release(&loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	int fds;

	if (!trio)
		begin();
	fds = fds_open();
	if (input_u8(&in) % 2 == 0)
		before_supervisor(&in);
	else
		before_worker(&in);
	CHECK(fds_open() == fds);
	return 0;
}
