/*
 * fuzz_rules.c - rules as a worker, the spawner and the page are handed them: any memfd, and what is done by the rules that were
 * understood.
 *
 * The first byte says how much of the block is made right; then come its numbers, and its text.
 */
#include "input.h"
#include "os/shm.h"
#include "proxy/ruleset.h"

static struct world *world;

/* Its head, as it stands in ruleset.c. */
struct block {
	uint64_t magic, text_len;
	uint32_t n_sections, n_ifs;
};

static void begin(void)
{
	log_set_sink(check_line, NULL);
	world = world_new_private();
	CHECK(world);
}

static void make_block(struct input *in, struct buf *out)
{
	uint8_t how = input_u8(in);
	struct block head = {.magic = 0x7463707063303031ULL};
	struct interface_address ifs[4];

	if (how < 40) { /* nothing is right */
		buf_add(out, in->at, in->left);
		return;
	}
	head.n_sections = input_u8(in) % 8;
	head.n_ifs = input_u8(in) % 5;
	input_bytes(in, ifs, head.n_ifs * sizeof(ifs[0]));
	head.text_len = in->left + 1;
	if (how < 60)
		input_bytes(in, how % 2 ? (void *)&head.text_len : (void *)&head.n_sections, 8);
	buf_add(out, &head, sizeof(head));
	buf_add(out, in->at, in->left);
	buf_addc(out, how < 70 ? 'x' : '\0');
	for (uint32_t i = 0; i < (head.n_sections & 0xff); i++)
		buf_add(out, &(uint32_t){i}, sizeof(i));
	buf_add(out, ifs, (how < 60 ? 1 : head.n_ifs) * sizeof(ifs[0]));
}

/* As many sections as the text has: else there would be hardly any that is taken. */
static void put_right(struct buf *block)
{
	struct config *c = packed_config(block->s, block->len);
	uint32_t labels[64] = {0};

	if (!c || c->n_sections > ARRAY_LEN(labels)) {
		config_free(c);
		return;
	}
	buf_clear(block);
	packed_make(c, labels, NULL, 0, block);
	config_free(c);
}

static void use(struct ruleset *r)
{
	struct addr client = {.family = AF_INET6, .port = 5, .scope = 1, .ip = {0xfe, 0x80, [15] = 1}};
	int fd = sock_new_tcp(AF_INET);

	for (size_t i = 0; i < r->config->n_services; i++) {
		struct addr local = {.family = i % 2 ? AF_INET : AF_INET6, .scope = 1, .ip = {127, 0, 0, 1}};
		const struct section *s;

		local.port = r->config->services[i].ports[0].first;
		ruleset_look_at_zones(r, fd, &local, &client);
		s = ruleset_find(r, &local);
		if (s)
			access_check(&s->access, &client);
		CHECK(!s || (s >= r->config->sections && s < r->config->sections + r->config->n_sections));
	}
	for (size_t i = 0; i < r->config->n_sections; i++)
		for (uint32_t k = 0; k < r->pools[i].n_turns; k++)
			CHECK(r->pools[i].turns[k] < r->pools[i].n && r->services[i] < COUNTED_SERVICES);
	close(fd);
}

static void load(const struct buf *block)
{
	char *whole = mem_alloc(block->len); /* which ends where it ends */
	struct ruleset *r;

	memcpy(whole, block->s ? block->s : "", block->len);
	r = ruleset_load(whole, block->len, 1, world);
	if (r)
		use(r);
	ruleset_free(r);
	free(whole);
}

static void from_memfd(const struct buf *block, bool sealed)
{
	int fd = memfd_create("rules", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct config *c;

	CHECK(write(fd, block->s ? block->s : "", block->len) == (ssize_t)block->len);
	if (sealed) {
		close(fd);
		fd = shm_new_sealed("rules", block->s ? block->s : "", block->len);
	}
	CHECK(fd >= 0);
	c = packed_config_of(fd, NULL, NULL); /* which is closed */
	CHECK(!c || sealed);
	config_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct buf block = BUF_INIT;
	uint8_t how = size ? data[0] : 0;
	int fds;

	if (!world)
		begin();
	fds = fds_open();
	make_block(&in, &block);
	load(&block);
	from_memfd(&block, how % 8 != 7);
	if (how >= 100) {
		put_right(&block);
		load(&block);
	}
	if (how % 16 == 3)
		packed_config_of(input_fd(&in), NULL, NULL); /* no memfd at all */
	buf_release(&block);
	CHECK(fds_open() == fds);
	return 0;
}
