#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "takeover/table.h"

/* Each part lies behind the one before, aligned, and the last ends inside the memory. */
static void check_layout(struct trio *t, uint32_t n_rows)
{
	uint64_t rows = n_rows;

	assert_true(t->magic == TRIO_MAGIC);
	assert_int_equal(t->version, TRIO_VERSION);
	assert_int_equal(t->size, sizeof(struct trio));
	assert_int_equal(t->n_rows, n_rows);
	assert_int_equal(t->row_size, sizeof(struct row));
	assert_int_equal(t->cold_size, sizeof(struct row_cold));
	assert_true((char *)trio_row(t, 0) >= (char *)(t + 1));
	assert_true((char *)trio_cold(t, 0) >= (char *)trio_row(t, TRIO_ROWS));
	assert_true((char *)trio_slots(t) >= (char *)trio_cold(t, TRIO_ROWS));
	assert_true((char *)trio_ring(t) >= (char *)(trio_slots(t) + TRIO_ROWS));
	assert_true((char *)trio_limits(t) >= (char *)trio_ring(t) + ring_size(TRIO_RING));
	assert_true((char *)trio_counters(t) >= (char *)(trio_limits(t) + TRIO_LIMIT_SLOTS));
	assert_true(trio_scratch(t) >= (char *)(trio_counters(t) + 1));
	assert_true((char *)(trio_tcp_info(t, TRIO_ROWS)) <= (char *)t + trio_size);
	assert_int_equal((uintptr_t)trio_row(t, 0) % 128, 0);
	assert_int_equal(((uintptr_t)trio_cold(t, 0) | (uintptr_t)trio_slots(t) | (uintptr_t)trio_ring(t) |
	                  (uintptr_t)trio_limits(t)) %
	                         64,
	                 0);
	/* never more than half full: a row holds a key of each kind */
	assert_true(t->limit_slots >= rows * LIMIT_KINDS * 2);
	assert_int_equal(t->limit_slots & (t->limit_slots - 1), 0);
	assert_ptr_equal(trio_row(t, n_rows - 1) + 1, trio_row(t, n_rows));
	assert_true((char *)trio_row(t, n_rows) <= (char *)trio_cold(t, 0));
}

static void check_new(struct trio *t)
{
	assert_int_equal(t->epfd, -1);
	assert_int_equal(t->control_fd, -1);
	assert_int_equal(t->spawner_fd, -1);
	assert_int_equal(t->config_fd, -1);
	assert_int_equal(t->wake_fd, -1);
	assert_int_equal(t->working_on, -1);
	for (int i = 0; i < MEMBERS; i++) {
		assert_int_equal(t->pid[i], 0);
		for (int n = 0; n < MEMBERS + 1; n++)
			assert_int_equal(t->member_pidfds[i][n], -1);
	}
	for (uint32_t i = 0; i < t->n_rows; i++)
		assert_int_equal(trio_row(t, i)->state, ROW_FREE);
	assert_int_equal(t->listeners[0].id, 0);
}

/* Writes to every byte of every part: nothing lies on anything else, nothing is out of reach. */
static void use_all(struct trio *t)
{
	for (uint32_t i = 0; i < t->n_rows; i++) {
		memset(trio_row(t, i), 1, sizeof(struct row));
		memset(trio_cold(t, i), 2, sizeof(struct row_cold));
		memset(&trio_slots(t)[i], 3, sizeof(struct question_slot));
	}
	for (uint32_t i = 0; i < t->limit_slots; i++)
		atomic_store(&trio_limits(t)[i], 4);
	assert_int_equal(((char *)trio_row(t, t->n_rows - 1))[sizeof(struct row) - 1], 1);
	assert_int_equal(*(char *)trio_cold(t, 0), 2);
	assert_int_equal(*(char *)&trio_slots(t)[t->n_rows - 1], 3);
}

static void private_tables(void **state)
{
	static const uint32_t sizes[] = {1, 4, 7, 1000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct trio *t = trio_new_private(sizes[i]);

		assert_non_null(t);
		check_layout(t, sizes[i]);
		check_new(t);
		use_all(t);
		trio_unmap(t);
	}
}

static void a_shared_table(void **state)
{
	struct trio *t, *other;
	struct stat st;
	int fd = trio_new(3, 100, &t);

	assert_true(fd >= 0);
	assert_int_equal(t->number, 3);
	check_layout(t, 100);
	check_new(t);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, trio_size);
	other = mmap(NULL, trio_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(other, MAP_FAILED);
	trio_row(t, 99)->state = ROW_RELAY;
	assert_int_equal(trio_row(other, 99)->state, ROW_RELAY);
	assert_int_equal(ftruncate(fd, 4096), -1); /* nobody can take it away */
	trio_unmap(other);
	trio_unmap(t);
	close(fd);
}

/* The largest there is costs next to nothing until its rows are used. */
static void the_largest_table(void **state)
{
	struct trio *t;
	struct stat st;
	uint32_t n = trio_rows_for(UINT64_MAX, 64);
	int fd = trio_new(0, n, &t);

	assert_true(fd >= 0);
	check_layout(t, n);
	memset(trio_row(t, n - 1), 1, sizeof(struct row));
	memset(trio_cold(t, n - 1), 1, sizeof(struct row_cold));
	atomic_store(&trio_limits(t)[t->limit_slots - 1], 1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks * 512 < 4 * 1024 * 1024);
	trio_unmap(t);
	close(fd);
}

static void a_table_of_which_nobody_is_left(void **state)
{
	struct trio *t = trio_new_private(10);
	const void *data;
	uint32_t type;
	size_t len;

	assert_true(ring_put(trio_ring(t), TRIO_RING, 1, "record", 6));
	t->pid[MEMBER_WORKER] = 1;
	t->epfd = t->control_fd = 5;
	t->member_pidfds[0][1] = 6;
	atomic_store(&t->stopping, 1);
	atomic_store(&t->live, 2);
	t->listeners_used = 5;
	atomic_store(&t->listeners[4].id, 9);
	trio_row(t, 3)->state = ROW_RELAY;
	atomic_store(&trio_limits(t)[t->limit_slots - 1], 17);
	t->rows_used = 4;
	trio_reset(t, 0, 10);
	check_layout(t, 10);
	check_new(t);
	assert_int_equal(t->stopping, 0);
	assert_int_equal(t->live, 0);
	assert_int_equal(t->listeners[4].id, 0);
	assert_true(trio_limits(t)[t->limit_slots - 1] == 0);
	/* what it had to say is not lost */
	assert_true(ring_peek(trio_ring(t), TRIO_RING, &type, &data, &len));
	assert_int_equal(len, 6);
	assert_memory_equal(data, "record", 6);
	trio_unmap(t);
}

/* Whoever may write it may lie in it: nothing that is read from it leads beyond it. */
static void a_table_that_lies(void **state)
{
	struct trio *t;
	int fd = trio_new(3, 100, &t), small = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	t->n_rows = t->rows_used = UINT32_MAX;
	t->limit_slots = UINT32_MAX;
	assert_int_equal(trio_n_rows(t), TRIO_ROWS);
	assert_int_equal(trio_rows_used(t), TRIO_ROWS);
	assert_int_equal(trio_limit_slots(t), 1);
	t->limit_slots = 3;
	assert_int_equal(trio_limit_slots(t), 1);
	t->limit_slots = TRIO_LIMIT_SLOTS * 2;
	assert_int_equal(trio_limit_slots(t), 1);
	assert_null(trio_map(fd, false)); /* no table of ours has so many rows */
	t->n_rows = 100;
	trio_unmap(trio_map(fd, false));
	t->version++;
	assert_null(trio_map(fd, false));
	trio_unmap(t);
	close(fd);
	assert_null(trio_map(small, false));
	assert_int_equal(ftruncate(small, (off_t)trio_size), 0);
	assert_null(trio_map(small, false)); /* it could still be made smaller */
	close(small);
}

static void rows_follow_the_limit_of_descriptors(void **state)
{
	assert_int_equal(trio_rows_for(1024, 64), (1024 - 64) / 3);
	assert_int_equal(trio_rows_for(65536, 64), (65536 - 64) / 3);
	assert_int_equal(trio_rows_for(0, 64), 4);
	assert_int_equal(trio_rows_for(64, 64), 4);
	assert_int_equal(trio_rows_for(77, 64), 4);
	for (uint64_t n = 0; n < 5000; n++) {
		uint32_t rows = trio_rows_for(n, 64);

		assert_true(rows >= 4);
		assert_true(rows == 4 || rows * 3 + 64 <= n);
	}
	assert_true(trio_rows_for(UINT64_MAX, 64) < 1048576 / 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(private_tables),    cmocka_unit_test(a_shared_table),
	        cmocka_unit_test(the_largest_table), cmocka_unit_test(a_table_of_which_nobody_is_left),
	        cmocka_unit_test(a_table_that_lies), cmocka_unit_test(rows_follow_the_limit_of_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
