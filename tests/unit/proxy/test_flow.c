/* The ways to move bytes, each through the same cases, and the pipes behind one of them. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/flow.h"
#include "proxy/flow_batch.h"

#define LARGE (3 * 1024 * 1024 + 17)

/* How bytes are moved, between what. */
struct way {
	const char *name;
	enum flow_stop (*move)(struct flow_io *io);
	enum pair_kind source, dest;
};

static const struct way *way; /* of the test at hand */
static struct stage stage;
static struct flow_io io;
static struct peer source, dest; /* the far ends */
static int near_source, near_dest;
static char pattern[LARGE];
static struct flow_habit habit;

/* As flow_move() does it, but this way only. */
static enum flow_stop by(enum flow_stop (*fn)(struct flow_io *io))
{
	enum flow_stop stop = flow_drain(&io);

	if (stop != FLOW_EMPTY)
		return stop;
	do
		stop = fn(&io);
	while (stop == FLOW_OTHER_WAY && io.budget > 0);
	assert_int_equal(stage.trio->step.row, -1); /* nothing is in memory between two calls */
	return stop == FLOW_OTHER_WAY ? FLOW_BUDGET : stop;
}

static enum flow_stop by_copy(struct flow_io *i)
{
	return by(flow_copy);
}

static enum flow_stop by_splice(struct flow_io *i)
{
	return by(flow_splice);
}

static struct uring *uring; /* NULL: the kernel does not allow it */

static enum flow_stop by_batch(struct flow_io *i)
{
	enum flow_stop stop = flow_drain(i);

	while (stop == FLOW_EMPTY) {
		if (i->budget == 0)
			return FLOW_BUDGET;

		struct flow_batch_item item = {
		        .row = i->step_row, .side = CLIENT, .source = i->source, .dest = i->dest, .flow = i->row};

		assert_true(flow_batch(stage.trio, uring, i->pool, &item, 1));
		assert_false(item.lost);
		assert_int_equal(stage.trio->step.row, -1);
		assert_int_equal(stage.trio->batch[0].row, -1);
		if (item.taken == 0)
			return FLOW_END;
		i->error = -(item.taken < 0 ? item.taken : item.sent);
		if (item.taken < 0)
			return item.taken == -EAGAIN ? FLOW_EMPTY : FLOW_SOURCE_ERROR;
		i->progress = true;
		i->moved += (size_t)item.taken;
		i->budget -= (size_t)item.taken < i->budget ? (size_t)item.taken : i->budget;
		if (item.sent < 0 && item.sent != -EAGAIN)
			return FLOW_DEST_ERROR;
		if (item.sent < item.taken)
			stop = FLOW_FULL;
	}
	return stop;
}

static void open_pairs(int size)
{
	int far;

	make_pair(way->source, size, &near_source, &far);
	peer_init(&source, far, pattern, 0);
	make_pair(way->dest, size, &near_dest, &far);
	peer_init(&dest, far, NULL, 0);
	io = (struct flow_io){
	        .source = near_source,
	        .dest = near_dest,
	        .row = &stage.row->flow[CLIENT],
	        .source_tcp = way->source == PAIR_TCP,
	        .dest_tcp = way->dest == PAIR_TCP,
	        .to_the_end = true,
	        .habit = &habit,
	        .step = &stage.trio->step,
	        .step_row = 1,
	        .scratch = stage.env.scratch,
	        .scratch_len = SCRATCH_SIZE,
	        .pool = &stage.env.pool,
	        .budget = SIZE_MAX / 2,
	};
}

static int setup(void **state)
{
	way = *state;
	habit = (struct flow_habit){0};
	stage_init(&stage);
	fill_pattern(pattern, sizeof(pattern));
	return 0;
}

static int teardown(void **state)
{
	struct flow_row *row = &stage.row->flow[CLIENT];

	peer_release(&source);
	peer_release(&dest);
	close(near_source);
	close(near_dest);
	pipepool_discard(&row->pipe_read, &row->pipe_write);
	stage_release(&stage);
	return 0;
}

static void assert_nothing_parked(void)
{
	assert_int_equal(io.row->pipe_read, -1);
	assert_int_equal(io.row->pipe_write, -1);
}

/* Both far ends at work, until the flow stops for this reason. */
static void move_until(enum flow_stop wanted)
{
	int64_t bound = clock_mono_ms() + 10000;
	enum flow_stop stop;

	do {
		peer_step(&source);
		stop = way->move(&io);
		peer_step(&dest);
		if (clock_mono_ms() > bound)
			fail_msg("%s: stops with %d, not %d; %zu bytes came", way->name, stop, wanted, dest.in_len);
	} while (stop != wanted);
}

static void receive_all(size_t n)
{
	int64_t bound = clock_mono_ms() + 10000;

	while (dest.in_len < n && clock_mono_ms() < bound)
		peer_step(&dest);
	assert_received(&dest, n);
}

/* ---- the cases ---- */

static void all_bytes_in_order(void **state)
{
	open_pairs(0);
	source.out_len = LARGE;
	source.fin = true;
	move_until(FLOW_END);
	receive_all(LARGE);
	assert_int_equal(io.row->moved, LARGE);
	assert_true(io.progress);
	assert_false(dest.eof); /* to pass on the end is not the flow's */
	assert_nothing_parked();
}

static void through_small_buffers(void **state)
{
	open_pairs(4096);
	source.out_len = LARGE / 8;
	source.fin = true;
	move_until(FLOW_END);
	receive_all(LARGE / 8);
	assert_int_equal(io.row->moved, LARGE / 8);
	assert_nothing_parked();
}

static void nothing_there_is_empty(void **state)
{
	open_pairs(0);
	assert_int_equal(way->move(&io), FLOW_EMPTY);
	assert_false(io.progress);
	assert_int_equal(io.moved, 0);
	assert_nothing_parked();
	assert_int_equal(send(source.fd, pattern, 1, 0), 1);
	while (sock_unread(near_source) == 0)
		;
	move_until(FLOW_EMPTY);
	receive_all(1);
	assert_nothing_parked();
}

static void a_full_destination(void **state)
{
	open_pairs(4096);
	source.out_len = LARGE;
	dest.reading = false;
	move_until(FLOW_FULL);
	assert_true(io.row->moved < LARGE / 2);
	dest.reading = true;
	source.fin = true;
	move_until(FLOW_END);
	receive_all(LARGE);
	assert_nothing_parked();
}

static void a_destination_that_is_gone(void **state)
{
	open_pairs(0);
	source.out_len = LARGE;
	sock_reset_on_close(dest.fd);
	close(dest.fd);
	dest.fd = -1;
	move_until(FLOW_DEST_ERROR);
	assert_true(io.error == EPIPE || io.error == ECONNRESET);
	pipepool_discard(&io.row->pipe_read, &io.row->pipe_write);
	/* what still comes is thrown away, to the end */
	source.fin = true;
	while (flow_discard(&io) != FLOW_END)
		peer_step(&source);
	assert_int_equal(source.sent, LARGE);
	assert_int_equal(source.send_error, 0);
}

static void a_fin_without_data(void **state)
{
	open_pairs(0);
	source.fin = true;
	move_until(FLOW_END);
	assert_int_equal(io.row->moved, 0);
	assert_false(io.progress);
	assert_nothing_parked();
}

static void a_fin_behind_what_the_destination_cannot_take(void **state)
{
	open_pairs(4096);
	source.out_len = 2000;
	source.fin = true;
	dest.reading = false;
	assert_true(send(near_dest, pattern, 1, MSG_DONTWAIT) == 1);
	while (send(near_dest, pattern, 4096, MSG_DONTWAIT) > 0)
		;
	move_until(FLOW_FULL);
	dest.reading = true;
	move_until(FLOW_END); /* only when all has gone */
	assert_int_equal(io.row->moved, 2000);
	assert_nothing_parked();
}

static void a_reset_of_the_source(void **state)
{
	open_pairs(0);
	source.out_len = 100000;
	source.reset = true;
	source.reading = false;
	if (way->source == PAIR_UNIX) /* unread at its close: that is a reset there */
		assert_int_equal(send(near_source, "x", 1, 0), 1);
	while (source.fd >= 0 && source.sent < source.out_len)
		peer_step(&source);
	if (way->source == PAIR_UNIX) {
		close(source.fd);
		source.fd = -1;
	}
	move_until(FLOW_SOURCE_ERROR);
	assert_int_equal(io.error, ECONNRESET);
	receive_all(100000); /* what came before it is delivered */
	assert_int_equal(io.row->moved, 100000);
	assert_nothing_parked();
}

/* No more than the budget is moved by much, and nothing is lost at its edge. */
static void a_budget_ends_the_call(void **state)
{
	size_t most = 0;

	open_pairs(0);
	source.out_len = LARGE;
	source.fin = true;
	for (enum flow_stop stop = FLOW_BUDGET; stop != FLOW_END;) {
		peer_step(&source);
		io.budget = 10000;
		io.moved = 0;
		stop = way->move(&io);
		if (stop == FLOW_BUDGET)
			assert_true(io.moved >= 10000);
		if (io.moved > most)
			most = io.moved;
		peer_step(&dest);
	}
	assert_true(most > 0 && most < 10000 + PIPEPOOL_SIZE * 2);
	receive_all(LARGE);
	io.budget = 0;
	assert_int_equal(way->move(&io), FLOW_BUDGET);
}

/* One byte at a time fills a pipe's slots long before its bytes. */
static void many_small_segments(void **state)
{
	open_pairs(0);
	dest.reading = false;
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(send(source.fd, pattern + i, 1, 0), 1);
		if (i % 100 == 0)
			way->move(&io);
	}
	while (io.row->moved < 3000)
		way->move(&io);
	dest.reading = true;
	move_until(FLOW_EMPTY);
	receive_all(3000);
	assert_nothing_parked();
}

static void urgent_data_keeps_its_place(void **state)
{
	open_pairs(0);
	assert_int_equal(send(source.fd, pattern, 1000, 0), 1000);
	assert_int_equal(send(source.fd, pattern + 1000, 1, MSG_OOB), 1);
	assert_int_equal(send(source.fd, pattern + 1001, 999, 0), 999);
	assert_int_equal(send(source.fd, pattern + 2000, 1, MSG_OOB), 1);
	source.fin = true;
	move_until(FLOW_END);
	receive_all(2001);
}

/* ---- discard and drain ---- */

static void discarding(void **state)
{
	open_pairs(0);
	assert_int_equal(flow_discard(&io), FLOW_EMPTY);
	source.out_len = LARGE;
	source.fin = true;
	for (;;) {
		enum flow_stop stop;

		peer_step(&source);
		io.budget = 100000;
		stop = flow_discard(&io);
		if (stop == FLOW_END)
			break;
		assert_true(stop == FLOW_EMPTY || stop == FLOW_BUDGET);
	}
	assert_int_equal(io.row->moved, LARGE);
	peer_step(&dest);
	assert_int_equal(dest.in_len, 0);
}

static void discarding_up_to_a_reset(void **state)
{
	open_pairs(0);
	source.out_len = 1000;
	source.reset = true;
	while (source.fd >= 0)
		peer_step(&source);
	assert_int_equal(flow_discard(&io), FLOW_SOURCE_ERROR);
	assert_int_equal(io.error, ECONNRESET);
	assert_int_equal(io.row->moved, 1000);
}

static void park(size_t n)
{
	assert_int_equal(pipepool_take(io.pool, io.row, false), 0);
	assert_int_equal(write(io.row->pipe_write, pattern, n), n);
}

static void draining_gives_the_pipe_back(void **state)
{
	open_pairs(0);
	assert_int_equal(flow_drain(&io), FLOW_EMPTY); /* nothing parked */
	assert_false(io.progress);
	park(60000);
	assert_int_equal(flow_drain(&io), FLOW_EMPTY);
	assert_true(io.progress);
	assert_nothing_parked();
	assert_int_equal(io.pool->n, 1);
	receive_all(60000);
}

static void draining_into_a_full_destination(void **state)
{
	open_pairs(4096);
	park(60000);
	assert_int_equal(flow_drain(&io), FLOW_FULL);
	assert_true(io.row->pipe_read >= 0);
	while (flow_drain(&io) != FLOW_EMPTY)
		peer_step(&dest);
	assert_nothing_parked();
	receive_all(60000);
}

static void a_program_s_pipe_is_closed_not_kept(void **state)
{
	open_pairs(0);
	park(100);
	io.row->pipe_foreign = 1;
	assert_int_equal(flow_drain(&io), FLOW_EMPTY);
	assert_nothing_parked();
	assert_int_equal(io.row->pipe_foreign, 0);
	assert_int_equal(io.pool->n, 0);
	receive_all(100);
}

static void draining_to_nobody(void **state)
{
	open_pairs(0);
	close(dest.fd);
	dest.fd = -1;
	park(60000);
	for (enum flow_stop stop = FLOW_EMPTY; stop != FLOW_DEST_ERROR;) {
		if (io.row->pipe_read < 0)
			park(60000);
		stop = flow_drain(&io);
		assert_true(stop != FLOW_FULL);
	}
	assert_true(io.error == EPIPE || io.error == ECONNRESET);
}

/* ---- the pool ---- */

#define NO_PIPE                                   \
	{                                         \
		.pipe_read = -1, .pipe_write = -1 \
	}

static void pipes_are_used_again(void **state)
{
	struct pipepool pool = {0};
	struct flow_row row = NO_PIPE;
	int32_t first;
	int before = open_fds();

	assert_int_equal(pipepool_take(&pool, &row, false), 0);
	assert_true(pipe_room(row.pipe_read) >= SCRATCH_SIZE);
	assert_int_equal(row.pipe_foreign, 0);
	first = row.pipe_read;
	pipepool_give(&pool, &row.pipe_read, &row.pipe_write);
	assert_int_equal(row.pipe_read, -1);
	assert_int_equal(row.pipe_write, -1);
	assert_int_equal(pipepool_take(&pool, &row, true), 0);
	assert_int_equal(row.pipe_read, first);
	assert_int_equal(pool.n, 0);
	pipepool_discard(&row.pipe_read, &row.pipe_write);
	assert_int_equal(row.pipe_read, -1);
	pipepool_discard(&row.pipe_read, &row.pipe_write); /* none */
	assert_int_equal(open_fds(), before);
}

static void a_pool_is_bounded(void **state)
{
	struct pipepool pool = {0};
	struct flow_row rows[PIPEPOOL_MAX + 8];
	int before = open_fds();

	for (unsigned most = 4; most <= PIPEPOOL_MAX; most += PIPEPOOL_MAX - 4) {
		pool.most = most;
		for (size_t i = 0; i < ARRAY_LEN(rows); i++)
			assert_int_equal(pipepool_take(&pool, &rows[i], true), 0);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++)
			pipepool_give(&pool, &rows[i].pipe_read, &rows[i].pipe_write);
		assert_int_equal(pool.n, most);
		assert_int_equal(open_fds(), before + (int)most * 2);
	}
	pipepool_release(&pool);
	assert_int_equal(open_fds(), before);
}

static void no_more_descriptors(struct rlimit *before)
{
	struct rlimit none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
	none = *before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void out_of_descriptors(void **state)
{
	struct pipepool pool = {0};
	struct flow_row row = NO_PIPE;
	struct copy_step step = {.row = -1, .pipe_read = -1, .pipe_write = -1};
	struct rlimit limit;
	bool spare;
	int rc, once_more;

	no_more_descriptors(&limit);
	rc = pipepool_take(&pool, &row, false);
	spare = pipepool_spare(&pool, &step);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(rc, -EMFILE);
	assert_false(spare);
	assert_int_equal(row.pipe_read, -1);
	assert_int_equal(step.pipe_read, -1);
	once_more = pipepool_take(&pool, &row, false); /* not asked for every message */
	assert_int_equal(once_more, -EAGAIN);
	for (int i = 0; i < 10000 && once_more < 0; i++)
		once_more = pipepool_take(&pool, &row, false);
	assert_int_equal(once_more, 0);
	pipepool_discard(&row.pipe_read, &row.pipe_write);
}

static void swallow(void *arg, enum log_level level, const char *line)
{
	strncat(arg, line, 199);
}

/* One who has his share of room already is given pipes of two pages: good enough only where there is no other way. */
static void the_user_has_his_share(void **state)
{
	const struct {
		rlim_t fds;
		uid_t user;
	} limits = {4096, 64999}; /* nobody else's */
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct rlimit more = {.rlim_cur = limits.fds, .rlim_max = limits.fds};
		struct pipepool pool = {0};
		struct flow_row row = NO_PIPE;
		struct copy_step step = {.row = -1, .pipe_read = -1, .pipe_write = -1};
		char said[200] = "";
		int ends[2], got = 0;

		setrlimit(RLIMIT_NOFILE, &more);
		if (setresuid(limits.user, limits.user, limits.user) < 0)
			_exit(77); /* not root: the user may have others */
		log_set_sink(swallow, said);
		while (got == 0)
			got = pipe_new(ends, PIPEPOOL_SIZE);
		if (got != 1)
			_exit(78); /* no limit here */
		if (pipepool_take(&pool, &row, false) != -EAGAIN || row.pipe_read != -1)
			_exit(1);
		if (pipepool_spare(&pool, &step) || step.pipe_read != -1)
			_exit(2);
		if (pipepool_take(&pool, &row, true) != 0 || !row.pipe_foreign || pipe_room(row.pipe_read) > 16384)
			_exit(3);
		_exit(strstr(said, "fs.pipe-user-pages-soft") && pool.refused > 0 ? 0 : 4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) >= 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Without a pipe splice and copy say so, and nothing is lost: peek goes on. */
static void without_a_pipe(void **state)
{
	struct rlimit limit;
	enum flow_stop splice, copy, stop;

	open_pairs(0);
	source.out_len = 5000;
	source.fin = true;
	peer_step(&source);
	no_more_descriptors(&limit);
	splice = flow_splice(&io);
	copy = flow_copy(&io);
	for (int i = 0; (stop = flow_move(&io)) != FLOW_END && i < 100000; i++)
		;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(splice, FLOW_OTHER_WAY);
	assert_int_equal(copy, FLOW_OTHER_WAY);
	assert_int_equal(stop, FLOW_END);
	receive_all(5000);
}

static void a_message(size_t n)
{
	source.out_len += n;
	while (source.sent < source.out_len || sock_unsent(source.fd) > 0) {
		peer_step(&source);
		flow_move(&io);
		peer_step(&dest);
	}
	while (flow_move(&io) != FLOW_EMPTY)
		peer_step(&dest);
	receive_all(source.out_len);
}

static void bulk_is_spliced_and_small_messages_are_copied(void **state)
{
	open_pairs(0);
	for (int i = 0; i < 10; i++)
		a_message(1000);
	assert_false(habit.bulk);
	a_message(1000000);
	assert_true(habit.bulk);
	a_message(1000); /* one is not enough */
	assert_true(habit.bulk);
	for (int i = 0; i < 10; i++)
		a_message(1000);
	assert_false(habit.bulk);
	assert_nothing_parked();
}

/* A short read has emptied the source; only where no event would tell is it asked again. */
static void one_read_where_an_event_will_tell_of_more(void **state)
{
	open_pairs(0);
	io.to_the_end = false;
	assert_int_equal(send(source.fd, pattern, 100, 0), 100);
	shutdown(source.fd, SHUT_WR);
	while (sock_unread(near_source) < 100)
		;
	assert_int_equal(flow_copy(&io), FLOW_EMPTY);
	io.to_the_end = true;
	assert_int_equal(flow_copy(&io), FLOW_END);
	receive_all(100);
}

/* The spare pipe becomes the row's by four stores; whoever dies between two of them leaves it to one of the two. */
static void a_pipe_belongs_to_the_step_or_to_the_row(void **state)
{
	static const struct {
		int step_read, step_write, row_read, row_write; /* left */
		int step_after, row_after;                      /* what both ends of each are then */
	} cases[] = {
	        {7, 8, -1, -1, 7, -1}, {7, 8, -1, 8, 7, -1},  {7, 8, 7, 8, -1, 7},
	        {-1, 8, 7, 8, -1, 7},  {-1, -1, 7, 8, -1, 7}, {5, 6, 7, 8, 5, 7},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct copy_step step = {.pipe_read = cases[i].step_read, .pipe_write = cases[i].step_write};
		struct flow_row row = {.pipe_read = cases[i].row_read, .pipe_write = cases[i].row_write};

		flow_settle_pipe(&step, &row);
		assert_int_equal(step.pipe_read, cases[i].step_after);
		assert_int_equal(step.pipe_write, step.pipe_read < 0 ? -1 : step.pipe_read + 1);
		assert_int_equal(row.pipe_read, cases[i].row_after);
		assert_int_equal(row.pipe_write, row.pipe_read < 0 ? -1 : row.pipe_read + 1);
	}
}

/* What one leaves who dies after taking 50000 bytes, sending 20000 and parking some: by whatever was done before. */
static void a_step_left_open_is_finished(void **state)
{
	struct copy_step *step = &stage.trio->step;

	for (size_t parked = 0; parked <= 30000; parked += 10000) {
		open_pairs(0);
		*io.row = (struct flow_row)NO_PIPE;
		assert_true(pipepool_spare(io.pool, step));
		step->row = 1;
		memcpy(io.scratch, pattern, 50000);
		assert_int_equal(send(near_dest, io.scratch, 20000, 0), 20000);
		assert_int_equal(write(step->pipe_write, io.scratch + 20000, parked), parked);
		flow_finish_copy(step, io.row, io.scratch, 50000, 30000 - parked);
		assert_int_equal(step->pipe_read, -1);
		/* once more: he died before he had noted that it was done */
		flow_finish_copy(step, io.row, io.scratch, 50000, 0);
		step->row = -1;
		while (flow_drain(&io) != FLOW_EMPTY)
			peer_step(&dest);
		receive_all(50000);
		if (parked < 30000) {
			peer_release(&source);
			peer_release(&dest);
			close(near_source);
			close(near_dest);
		}
	}
}

/* Whoever dies while the spare becomes the row's pipe leaves it to one of both, or to both: two owners would close it
 * twice. */
static void a_pipe_has_one_owner(void **state)
{
	struct copy_step *step = &stage.trio->step;
	int ends[2];

	open_pairs(0);
	assert_int_equal(pipe_new(ends, 0), 0);
	for (int stores = 0; stores <= 4; stores++) {
		bool attached = stores >= 2;

		step->pipe_read = stores < 3 ? ends[0] : -1;
		step->pipe_write = stores < 4 ? ends[1] : -1;
		io.row->pipe_write = stores > 0 ? ends[1] : -1;
		io.row->pipe_read = stores > 1 ? ends[0] : -1;
		flow_settle_pipe(step, io.row);
		assert_int_equal(step->pipe_read, attached ? -1 : ends[0]);
		assert_int_equal(step->pipe_write, attached ? -1 : ends[1]);
		assert_int_equal(io.row->pipe_read, attached ? ends[0] : -1);
		assert_int_equal(io.row->pipe_write, attached ? ends[1] : -1);
	}
	pipepool_discard(&io.row->pipe_read, &io.row->pipe_write);
}

#define BATCH 5

/* In one batch: destinations that take all, a part, or nothing. What they do not take waits in a pipe of each. */
static void batch_of_many(bool no_files)
{
	struct flow_batch_item items[BATCH];
	struct flow_row rows[BATCH];
	int sources[BATCH], dests[BATCH];
	struct rlimit limit;
	bool works;

	for (int i = 0; i < BATCH; i++) {
		make_pair(PAIR_TCP, 4096, &near_source, &sources[i]);
		make_pair(PAIR_TCP, 4096, &near_dest, &dests[i]);
		rows[i] = (struct flow_row)NO_PIPE;
		items[i] = (struct flow_batch_item){
		        .row = i, .side = CLIENT, .source = near_source, .dest = near_dest, .flow = &rows[i]};
		assert_int_equal(send(sources[i], pattern, 1000, 0), 1000);
		while (sock_unread(near_source) < 1000)
			;
		while (i > 0 && send(near_dest, pattern, 1000, MSG_DONTWAIT) > 0)
			;
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (no_files)
		no_more_descriptors(&limit);
	works = flow_batch(stage.trio, uring, &stage.env.pool, items, BATCH);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(works);
	for (int i = 0; i < BATCH; i++) {
		size_t sent = items[i].sent > 0 ? (size_t)items[i].sent : 0;

		assert_int_equal(items[i].taken, 1000);
		assert_int_equal(rows[i].moved, 1000);
		assert_int_equal(stage.trio->batch[i].row, -1);
		assert_int_equal(items[i].lost, no_files && sent < 1000);
		assert_int_equal(rows[i].pipe_read >= 0, !no_files && sent < 1000);
		if (rows[i].pipe_read >= 0)
			assert_int_equal(pipe_filled(rows[i].pipe_read), 1000 - sent);
		assert_true(i == 0 ? sent == 1000 : sent < 1000);
		pipepool_discard(&rows[i].pipe_read, &rows[i].pipe_write);
		close(sources[i]);
		close(dests[i]);
		close(items[i].source);
		close(items[i].dest);
	}
	assert_int_equal(stage.trio->step.row, -1);
	near_source = near_dest = -1;
	source.fd = dest.fd = -1;
}

static void many_in_one_batch(void **state)
{
	if (!uring)
		skip(); /* not on this kernel */
	batch_of_many(false);
}

/* Then the truth is told: those whose bytes can be put nowhere are lost, nobody else. */
static void a_batch_without_descriptors(void **state)
{
	if (!uring)
		skip();
	batch_of_many(true);
}

static const struct way ways[] = {
        {"peek, TCP to TCP", flow_peek, PAIR_TCP, PAIR_TCP},
        {"peek, Unix to TCP", flow_peek, PAIR_UNIX, PAIR_TCP},
        {"copy, TCP to TCP", by_copy, PAIR_TCP, PAIR_TCP},
        {"batch, TCP to TCP", by_batch, PAIR_TCP, PAIR_TCP},
        {"splice, TCP to TCP", by_splice, PAIR_TCP, PAIR_TCP},
        {"splice, TCP to Unix", by_splice, PAIR_TCP, PAIR_UNIX},
        {"splice, Unix to TCP", by_splice, PAIR_UNIX, PAIR_TCP},
        {"splice, Unix to Unix", by_splice, PAIR_UNIX, PAIR_UNIX},
        {"as it suits, TCP to TCP", flow_move, PAIR_TCP, PAIR_TCP},
        {"as it suits, TCP to Unix", flow_move, PAIR_TCP, PAIR_UNIX},
};

static struct CMUnitTest tests[180];
static size_t n_tests;

static void add(const char *name, const struct way *w, CMUnitTestFunction fn)
{
	tests[n_tests++] = (struct CMUnitTest){.name = mem_printf("%s: %s", w->name, name),
	                                       .test_func = fn,
	                                       .setup_func = setup,
	                                       .teardown_func = teardown,
	                                       .initial_state = (void *)w};
}

#define ADD(way, test) add(#test, way, test)

int main(void)
{
	const struct CMUnitTest pool[] = {
	        cmocka_unit_test(pipes_are_used_again),
	        cmocka_unit_test(a_pool_is_bounded),
	        cmocka_unit_test(out_of_descriptors),
	        cmocka_unit_test(the_user_has_his_share),
	};
	int failed;

	uring = uring_new();
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		const struct way *w = &ways[i];

		if (w->move == by_batch && !uring)
			continue; /* not on this kernel */
		ADD(w, all_bytes_in_order);
		ADD(w, through_small_buffers);
		ADD(w, nothing_there_is_empty);
		ADD(w, a_full_destination);
		ADD(w, a_destination_that_is_gone);
		ADD(w, a_fin_without_data);
		ADD(w, a_fin_behind_what_the_destination_cannot_take);
		ADD(w, a_reset_of_the_source);
		ADD(w, a_budget_ends_the_call);
		ADD(w, many_small_segments);
		if (w->source == PAIR_TCP && (w->move == flow_peek || w->move == by_copy || w->move == by_batch))
			ADD(w, urgent_data_keeps_its_place);
	}
	ADD(&ways[0], discarding);
	ADD(&ways[0], discarding_up_to_a_reset);
	ADD(&ways[0], draining_gives_the_pipe_back);
	ADD(&ways[0], draining_into_a_full_destination);
	ADD(&ways[0], a_program_s_pipe_is_closed_not_kept);
	ADD(&ways[0], draining_to_nobody);
	ADD(&ways[0], without_a_pipe);
	ADD(&ways[0], bulk_is_spliced_and_small_messages_are_copied);
	ADD(&ways[0], one_read_where_an_event_will_tell_of_more);
	ADD(&ways[0], a_pipe_belongs_to_the_step_or_to_the_row);
	ADD(&ways[0], a_step_left_open_is_finished);
	ADD(&ways[0], a_pipe_has_one_owner);
	ADD(&ways[0], many_in_one_batch);
	ADD(&ways[0], a_batch_without_descriptors);
	signal(SIGPIPE, SIG_IGN); /* splice has no MSG_NOSIGNAL; our processes ignore it */
	failed = _cmocka_run_group_tests("flow", tests, n_tests, NULL, NULL);
	uring_free(uring);
	for (size_t i = 0; i < n_tests; i++)
		free((char *)tests[i].name);
	return failed + cmocka_run_group_tests_name("pipepool", pool, NULL, NULL);
}
