/*
 * fuzz_stick.c - the memory of clients that stick, which every worker can write: whatever stands in it, whoever looks there reads and writes
 * nothing else, and takes no server that there is not.
 *
 * The first byte says for how many clients it is; the input is written over its entries, then all is done with it.
 */
#include "input.h"
#include "ipc/stick.h"
#include "os/shm.h"

#define SERVERS 3

static struct targets targets;

static void use(const struct stick *s, struct input *in)
{
	for (uint32_t i = 0; i < 64; i++) {
		struct addr a = {.family = AF_INET, .ip = {10, 0, 0, (uint8_t)i}};
		uint64_t key = i % 2 ? input_u64(in) | 1 : stick_key(s, &a, 2);
		int64_t now_ms = (int64_t)(input_u64(in) >> 24);
		struct stuck found = stick_find(s, key, &targets, now_ms);

		CHECK(found.target == TARGET_NONE || found.target < SERVERS);
		stick_touch(s, key, &targets, i % SERVERS, now_ms);
		stick_set(s, key, &targets, i % SERVERS, now_ms);
		stick_set(s, key, &targets, input_u32(in), now_ms);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t clients[] = {1, 8, 64, 65, 300};
	struct input in = {data, size};
	uint32_t n = clients[input_u8(&in) % ARRAY_LEN(clients)];
	struct stick made, mapped, larger;
	int fd, larger_fd;

	atomic_store(&targets.n, SERVERS);
	for (uint32_t i = 0; i < SERVERS; i++)
		targets.spelt[i] = i * 77;
	fd = stick_new(n, NULL, &made);
	CHECK(fd >= 0);
	input_bytes(&in, (char *)made.memory + (input_u8(&in) % 16 ? 128 : 0), made.size - 128);
	if (stick_map(fd, &mapped)) {
		CHECK(mapped.size == made.size);
		use(&mapped, &in);
		larger_fd = stick_new(n * 2, &mapped, &larger);
		CHECK(larger_fd >= 0);
		use(&larger, &in);
		stick_unmap(&larger);
		stick_unmap(&mapped);
		close(larger_fd);
	}
	stick_unmap(&made);
	close(fd);
	return 0;
}
