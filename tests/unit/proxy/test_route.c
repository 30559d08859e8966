/* The shared targets and labels, rulesets, and the choice of a server. */
#include "fixture.h"

#include <errno.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "proxy/route.h"
#include "proxy/shortlist.h"

static struct world *world;
static struct trio *trio;
static struct limits limits;
static struct ruleset *rules;
static int64_t now_ms = 1000000;
static const char *have; /* every source of the configuration: these servers */

static int setup(void **state)
{
	world = world_new_private();
	trio = trio_new_private(16);
	assert_non_null(world);
	assert_non_null(trio);
	limits = (struct limits){.trios = &trio, .n_trios = 1};
	rules = NULL;
	have = NULL;
	return 0;
}

static int teardown(void **state)
{
	ruleset_free(rules);
	ruleset_free(NULL);
	munmap(trio, trio_size);
	munmap(world, sizeof(*world));
	return 0;
}

static char *members(void *arg, const struct config *c, const struct section *s, const struct source *source)
{
	return source && have ? mem_strdup(have) : NULL;
}

static struct config *parse(const char *text)
{
	struct config_ops world_ops = {.members = members};
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("", text, &world_ops, &errors);

	if (!c)
		fail_msg("%s", errors.list[0].message);
	return c;
}

static void pack(const char *text, struct buf *block)
{
	static const struct interface_address ifs[] = {
	        {.name = "lo", .addr = {.family = AF_INET, .ip = {127, 0, 0, 1}}},
	        {.name = "lo", .addr = {.family = AF_INET6, .ip = {[15] = 1}}},
	};
	struct config *c = parse(text);
	uint32_t *labels = mem_alloc(c->n_sections * sizeof(*labels));

	for (size_t i = 0; i < c->n_sections; i++)
		labels[i] = labels_add(&world->labels, c->sections[i].origin);
	world_take(world, c);
	packed_make(c, labels, ifs, ARRAY_LEN(ifs), block);
	free(labels);
	config_free(c);
}

static void load(const char *text)
{
	struct buf block = BUF_INIT;

	pack(text, &block);
	rules = ruleset_load(block.s, block.len, 5, world);
	buf_release(&block);
	assert_non_null(rules);
}

/* ---- targets and labels ---- */

static void add_server(const char *key, const char *ip, uint32_t *ret)
{
	struct server s = {.kind = SERVER_HOST, .key = (char *)key};

	if (ip)
		assert_true(addr_parse(ip, &s.addr));
	*ret = targets_add(&world->targets, world->experience, &s, 0);
}

static void targets_are_known_by_their_spelling(void **state)
{
	struct targets *t = &world->targets;
	struct addr got[TARGET_ADDRS];
	uint32_t name, number, again;

	add_server("mail:25", NULL, &name);
	add_server("10.0.0.1:25", "10.0.0.1", &number);
	add_server("mail:25", NULL, &again);
	assert_int_equal(again, name);
	assert_int_equal(targets_find(t, "10.0.0.1:25", NULL, 0), number);
	assert_int_equal(targets_find(t, "mail", "", 0), TARGET_NONE);
	assert_int_equal(t->list[name].state, TARGET_UNKNOWN);
	assert_int_equal(t->list[number].state, TARGET_RESOLVED);
	assert_int_equal(target_addrs(&t->list[number], got), 1);
	assert_int_equal(got[0].ip[0], 10);
}

static void the_last_good_answer_stays(void **state)
{
	struct addr addrs[TARGET_ADDRS + 4] = {{0}}, got[TARGET_ADDRS];
	struct target *t;
	uint32_t i;

	for (size_t n = 0; n < ARRAY_LEN(addrs); n++)
		addrs[n] = (struct addr){.family = AF_INET, .ip = {10, 0, 0, (uint8_t)n}};
	add_server("mail:25", NULL, &i);
	t = &world->targets.list[i];
	target_set_addrs(t, NULL, 0, false);
	assert_int_equal(t->state, TARGET_UNRESOLVED);
	target_set_addrs(t, addrs + 1, 2, false);
	assert_int_equal(t->state, TARGET_RESOLVED);
	target_set_addrs(t, NULL, 0, false);
	assert_int_equal(t->state, TARGET_RESOLVED);
	assert_int_equal(target_addrs(t, got), 2);
	assert_int_equal(got[1].ip[3], 2);
	target_set_addrs(t, addrs, ARRAY_LEN(addrs), false); /* more than fit */
	assert_int_equal(target_addrs(t, got), TARGET_ADDRS);
	atomic_fetch_add(&t->sequence, 1); /* the writer died in the middle: still an answer */
	assert_int_equal(target_addrs(t, got), TARGET_ADDRS);
}

static void a_full_table_of_targets_says_so(void **state)
{
	char key[32];
	uint32_t i;

	for (uint32_t n = 0; n < TARGETS_MAX; n++) {
		snprintf(key, sizeof(key), "host%u", n);
		world->targets.list[n].key[0] = '\0';
		memcpy(world->targets.list[n].key, key, strlen(key) + 1);
		world->targets.spelt[n] = target_spelt(key);
	}
	atomic_store(&world->targets.n, TARGETS_MAX);
	add_server("one-more", NULL, &i);
	assert_int_equal(i, TARGET_NONE);
	add_server(key, NULL, &i); /* the last of them */
	assert_int_equal(i, TARGETS_MAX - 1);
}

static void one_that_failed_is_avoided_for_a_while(void **state)
{
	struct experience *t;
	uint32_t i;

	add_server("mail:25", NULL, &i);
	t = &world->experience[i];
	assert_false(target_is_avoided(t, now_ms));
	target_failed(t, now_ms, ECONNREFUSED);
	assert_true(target_is_avoided(t, now_ms + TARGET_AVOID_MS - 1));
	assert_false(target_is_avoided(t, now_ms + TARGET_AVOID_MS));
	target_worked(t, now_ms);
	assert_false(target_is_avoided(t, now_ms));
}

static void health_is_what_the_last_client_found(void **state)
{
	struct target_health h;
	struct experience *e;
	uint32_t i;

	add_server("mail:25", NULL, &i);
	e = &world->experience[i];
	assert_int_equal(target_health(e).finding, UNTRIED);
	target_failed(e, now_ms, ECONNREFUSED);
	target_failed(e, now_ms + 5000, ETIMEDOUT);
	h = target_health(e);
	assert_int_equal(h.finding, FAILS);
	assert_int_equal(h.error, ETIMEDOUT); /* the last reason ... */
	assert_true(h.since_ms == now_ms);    /* ... since the first failure */
	/* that it is tried last ends by itself; that it fails does not */
	assert_false(target_is_avoided(e, now_ms + 5000 + TARGET_AVOID_MS));
	assert_int_equal(target_health(e).finding, FAILS);
	target_worked(e, now_ms + 20000);
	target_worked(e, now_ms + 30000);
	h = target_health(e);
	assert_int_equal(h.finding, WORKS);
	assert_int_equal(h.error, 0);
	assert_true(h.since_ms == now_ms + 20000);
	target_not_there(e, now_ms + 40000, TARGET_NO_ADDRESS);
	assert_int_equal(target_health(e).finding, FAILS);
	assert_string_equal(target_error_text(target_health(e).error), "the name does not resolve");
	assert_false(target_is_avoided(e, now_ms + 40000)); /* the choice is as before */
	target_worked(e, INT64_MAX >> 16);
	assert_true(target_health(e).since_ms == INT64_MAX >> 16);
}

static void labels_keep_their_numbers(void **state)
{
	struct labels *l = &world->labels;
	char longer[LABEL_MAX * 2];
	uint32_t first = labels_add(l, "/etc/a.conf:1"), second = labels_add(l, "/etc/a.conf:2"), n;

	assert_int_not_equal(first, second);
	assert_int_equal(labels_add(l, "/etc/a.conf:1"), first);
	assert_string_equal(labels_text(l, second), "/etc/a.conf:2");
	assert_null(labels_text(l, LABEL_NONE));
	assert_null(labels_text(l, second + 1));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	n = labels_add(l, longer);
	assert_int_equal(strlen(labels_text(l, n)), LABEL_MAX - 1);
	assert_int_equal(labels_add(l, longer), n);
	atomic_store(&l->n, WORLD_LABELS);
	assert_int_equal(labels_add(l, "one more"), LABEL_NONE);
}

/* ---- rulesets ---- */

static const char seed[] = "max-connections 99\n"
                           "port 25 2525\n"
                           "interface 127.0.0.1\n"
                           "server 10.0.0.1\n"
                           "interface 10.0.0.0/8\n"
                           "server 10.0.0.2:26 weight=3\n"
                           "port 110\n"
                           "server pop3.example\n";

static void a_block_holds_the_whole_configuration(void **state)
{
	struct addr local = {.family = AF_INET, .port = 25, .ip = {127, 0, 0, 1}};
	struct buf before = BUF_INIT, after = BUF_INIT;
	struct config *c = parse(seed);
	const struct section *s;

	load(seed);
	config_print(c, &before);
	config_print(rules->config, &after);
	assert_string_equal(before.s, after.s);
	assert_int_equal(rules->generation, 5);
	assert_int_equal(rules->n_ifs, 2);
	assert_string_equal(rules->ifs[1].name, "lo");
	s = ruleset_find(rules, &local);
	assert_non_null(s);
	assert_string_equal(s->servers[0].key, "10.0.0.1");
	assert_string_equal(labels_text(&world->labels, rules->labels[s->index]), c->sections[s->index].origin);
	local.ip[0] = 11;
	assert_null(ruleset_find(rules, &local));
	assert_true(rules->service_keys[0] != rules->service_keys[1]);
	buf_release(&before);
	buf_release(&after);
	config_free(c);
}

static void assert_refused(const char *block, size_t len)
{
	/* exactly as long as it is, so that a sanitizer sees a byte read beyond */
	char *copy = malloc(len + !len);

	memcpy(copy, block, len);
	if (ruleset_load(copy, len, 1, world))
		fail_msg("a spoiled block of %zu bytes was taken", len);
	free(copy);
}

static void spoiled_blocks_are_refused(void **state)
{
	struct buf block = BUF_INIT;
	char *bad;

	pack(seed, &block);
	for (size_t len = 0; len < block.len; len++)
		assert_refused(block.s, len);
	bad = malloc(block.len + 1);
	for (size_t i = 0; i < 24; i++) { /* magic, length, numbers */
		memcpy(bad, block.s, block.len);
		bad[i] ^= 0x41;
		assert_refused(bad, block.len);
		bad[i] = (char)0xff;
		assert_refused(bad, block.len);
	}
	memcpy(bad, block.s, block.len);
	bad[24] = '}'; /* a text that is no configuration */
	assert_refused(bad, block.len);
	memcpy(bad, block.s, block.len);
	bad[block.len] = 0;
	assert_refused(bad, block.len + 1); /* something behind it */
	free(bad);
	buf_release(&block);
}

/* Lengths that overflow when they are added up. */
static void lengths_that_wrap_around_are_refused(void **state)
{
	struct {
		uint64_t magic, text_len;
		uint32_t n_sections, n_ifs;
		char text[8];
	} block;
	struct buf good = BUF_INIT;

	pack(seed, &good);
	memcpy(&block, good.s, sizeof(block));
	block.text_len = UINT64_MAX - 15;
	assert_refused((char *)&block, sizeof(block));
	block.text_len = 8;
	block.n_sections = 0x40000000; /* times four: 0 in 32 bits */
	block.n_ifs = 0;
	block.text[7] = '\0';
	assert_refused((char *)&block, sizeof(block));
	buf_release(&good);
}

/* ---- the choice ---- */

static char order[256];

/* One of this number: 10.0.0.0 and up. */
static struct addr client_number(uint32_t n)
{
	return (struct addr){.family = AF_INET, .ip = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

static enum route_result next_of(const struct section *s, uint64_t tried, uint32_t *ret)
{
	const struct addr addr = client_number(1);

	return route_next(rules, s, world, &limits,
	                  &(struct route_client){.tried = tried, .now_ms = now_ms, .addr = &addr}, ret);
}

/* The servers that n connections get, by the last digit of their names. */
static const char *sequence(size_t n)
{
	memset(order, 0, sizeof(order));
	for (size_t i = 0; i < n; i++) {
		uint32_t server;

		switch (next_of(&rules->config->sections[0], 0, &server)) {
		case ROUTE_FOUND: {
			const char *key = rules->config->sections[0].servers[server].key;

			order[i] = key[strlen(key) - 1];
			break;
		}
		case ROUTE_ALL_TRIED:
			order[i] = '-';
			break;
		case ROUTE_ALL_FULL:
			order[i] = '!';
			break;
		case ROUTE_ALL_DOWN:
			order[i] = 'x';
			break;
		}
	}
	return order;
}

/* The servers that one connection gets when each of them fails. */
static const char *failures(void)
{
	uint64_t tried = 0;
	size_t n = 0;
	uint32_t server;

	memset(order, 0, sizeof(order));
	while (next_of(&rules->config->sections[0], tried, &server) == ROUTE_FOUND) {
		const struct server *s = &rules->config->sections[0].servers[server];

		assert_false(tried >> server & 1);
		order[n++] = s->key[strlen(s->key) - 1];
		tried |= 1ULL << server;
		limits_give(&limits, rules->pools[0].limit_keys[server]);
		if (n == 64)
			break;
	}
	return order;
}

static struct target *target_of(const char *key)
{
	uint32_t i = targets_find(&world->targets, key, NULL, 0);

	assert_int_not_equal(i, TARGET_NONE);
	return &world->targets.list[i];
}

static void servers_take_turns(void **state)
{
	load("port 25\nserver h1\nserver h2\nserver h3\n");
	assert_string_equal(sequence(7), "1231231");
}

static void servers_take_turns_by_weight(void **state)
{
	load("port 25\nserver h1 weight=5\nserver h2 weight=1\nserver h3 weight=1\n");
	assert_string_equal(sequence(14), "11213111121311");
}

static void a_heavy_pool_keeps_its_proportions(void **state)
{
	unsigned n[3] = {0};

	load("port 25\nserver h0 weight=1000\nserver h1 weight=1000\nserver h2 weight=2\n");
	for (int i = 0; i < 2002; i++)
		n[sequence(1)[0] - '0']++;
	assert_int_equal(n[0], 1000);
	assert_int_equal(n[1], 1000);
	assert_int_equal(n[2], 2);
}

/* Of n connections, how many each of the ten got. */
static void share_out(size_t n, unsigned ret[10])
{
	memset(ret, 0, 10 * sizeof(*ret));
	for (size_t i = 0; i < n; i++)
		ret[sequence(1)[0] - '0']++;
}

static void a_weight_of_0_is_no_turn(void **state)
{
	load("port 25\nserver h1\nserver h2 weight=0\nserver h3\n");
	assert_string_equal(sequence(4), "1313");
	assert_string_equal(failures(), "13");
	ruleset_free(rules);
	load("port 25\nserver h1 weight=0\n");
	assert_string_equal(sequence(1), "-");
}

/* In this order whatever the weights are: each server's share is right over a round, and over any part of one nearly so. */
static void shares_are_right_at_any_time(void **state)
{
	const unsigned weights[] = {100, 7, 33, 1};
	unsigned n[4] = {0}, sum = 141;

	load("port 25\nserver h0 weight=100\nserver h1 weight=7\nserver h2 weight=33\nserver h3\n");
	for (unsigned i = 1; i <= 10 * sum; i++) {
		n[sequence(1)[0] - '0']++;
		for (int k = 0; k < 4; k++)
			assert_in_range((int64_t)n[k] * sum - (int64_t)i * weights[k] + 2 * sum, sum / 2, 7 * sum / 2);
	}
	for (int k = 0; k < 4; k++)
		assert_int_equal(n[k], 10 * weights[k]);
}

static void one_that_comes_back_has_no_backlog(void **state)
{
	atomic_uint *admin_state;

	load("port 25\nserver h1\nserver h2\nserver h3\n");
	admin_state = &target_of("h3")->admin_state;
	atomic_store(admin_state, ADMIN_STATE_DISABLED);
	assert_string_equal(sequence(200) + 196, "1212");
	atomic_store(admin_state, ADMIN_STATE_BY_FILE);
	assert_int_equal(strspn(sequence(3), "123"), 3);
	assert_ptr_equal(strchr(order, '3'), strrchr(order, '3')); /* its share, no more */
	sequence(30);
	for (int i = 0; i < 30; i += 3)
		assert_int_equal(order[i] + order[i + 1] + order[i + 2], '1' + '2' + '3');
}

/* Whatever the weights are, it has its share from then on. */
static void one_that_comes_back_has_its_share(void **state)
{
	unsigned n[10];

	for (unsigned heavy = 1; heavy <= 300; heavy = heavy * 3 + 1) {
		char text[128];
		atomic_uint *admin_state;

		snprintf(text, sizeof(text), "port 25\nserver h1 weight=%u\nserver h2 weight=2\nserver h3\n", heavy);
		load(text);
		for (const char **key = (const char *[]){"h1", "h2", "h3", NULL}; *key; key++) {
			unsigned parts[] = {heavy, 2, 1}, sum = heavy + 3;

			admin_state = &target_of(*key)->admin_state;
			atomic_store(admin_state, ADMIN_STATE_DISABLED);
			share_out(1000, n);
			atomic_store(admin_state, ADMIN_STATE_BY_FILE);
			share_out((size_t)10 * sum, n);
			for (int i = 0; i < 3; i++)
				assert_in_range(n[i + 1] + 2, 10 * parts[i], 10 * parts[i] + 4);
		}
		ruleset_free(rules);
		rules = NULL;
	}
}

static struct changed *changed_of(const char *key)
{
	return &target_of(key)->changed;
}

/* 1 to 300 must not mean no client for a hundred turns, nor a hundred clients at once. */
static void weights_change_while_turns_go_on(void **state)
{
	unsigned n[10];

	load("port 25\nserver h1\nserver h2\nserver h3\n");
	sequence(7);
	changed_set_weight(changed_of("h1"), WEIGHT_NUMBER, 300);
	share_out(302, n);
	assert_in_range(n[1], 297, 301);
	changed_set_weight(changed_of("h1"), WEIGHT_NUMBER, 1);
	share_out(9, n);
	assert_in_range(n[1], 2, 4);
	changed_set_weight(changed_of("h2"), WEIGHT_PERCENT, 500);
	share_out(70, n);
	assert_in_range(n[2], 49, 51);
	changed_set_weight(changed_of("h2"), WEIGHT_NUMBER, 0);
	share_out(70, n);
	assert_int_equal(n[2], 0);
	changed_set_weight(changed_of("h2"), WEIGHT_BY_FILE, 0);
	share_out(90, n);
	assert_in_range(n[2], 29, 32);
}

/* As a slow start changes them, with each client. */
static void weights_that_always_change(void **state)
{
	unsigned n[10] = {0};

	load("port 25\nserver h1\nserver h2\nserver h3\n");
	for (uint32_t weight = 1; weight <= 1000; weight++) {
		changed_set_weight(changed_of("h1"), WEIGHT_NUMBER, weight);
		n[sequence(1)[0] - '0']++;
	}
	assert_in_range(n[1], 960, 1000);
	for (uint32_t weight = 1000; weight > 0; weight--) {
		changed_set_weight(changed_of("h1"), WEIGHT_NUMBER, weight);
		n[sequence(1)[0] - '0']++;
	}
	assert_in_range(n[2], 7, 20);
	assert_in_range(n[3], 7, 20);
}

static void max_and_force_hold_from_the_next_client(void **state)
{
	load("port 25\nserver h1 max=3\nserver h2 max=1\n");
	atomic_store(&changed_of("h1")->max, 1 + 1);
	atomic_store(&changed_of("h2")->max, 0 + 1); /* no limit */
	assert_string_equal(sequence(4), "1222");
	atomic_store(&changed_of("h2")->force, FORCE_DOWN);
	assert_string_equal(sequence(1), "!");
	atomic_store(&changed_of("h1")->force, FORCE_DOWN);
	assert_string_equal(sequence(1), "x");
}

/* Those of a backup stand still while it gets nothing, and so do those of the others afterwards. */
static void backups_share_evenly_from_the_first_on(void **state)
{
	unsigned n[10];

	load("port 25\nserver h1\nserver h2 backup\nserver h3 backup\n");
	sequence(200);
	atomic_store(&target_of("h1")->admin_state, ADMIN_STATE_DISABLED);
	assert_string_equal(sequence(4), "2323");
	sequence(200);
	atomic_store(&target_of("h1")->admin_state, ADMIN_STATE_ENABLED);
	atomic_store(&target_of("h3")->admin_state, ADMIN_STATE_DISABLED);
	share_out(20, n);
	assert_int_equal(n[1], 20);
}

/* Another pool's before a reload, or a worker's that lies. */
static void a_pass_means_something_whatever_it_is(void **state)
{
	static const uint64_t words[] = {UINT64_MAX, 1ULL << 63, (1ULL << 63) - 1, 12345678901234567ULL, 1};
	unsigned n[10];

	load("port 25\nserver h1 weight=2\nserver h2\nserver h3\n");
	for (size_t i = 0; i < 125; i++) {
		for (size_t k = 0, rest = i; k < 3; k++, rest /= 5)
			atomic_store(&world->pass[rules->pools[0].first_pass + k], words[rest % 5]);
		share_out(8, n);
		assert_in_range(n[1], 3, 5);
		assert_in_range(n[2], 1, 3);
		assert_in_range(n[3], 1, 3);
		share_out(400, n);
		assert_in_range(n[1], 199, 201);
		assert_in_range(n[2], 99, 101);
	}
}

/* Pools have words of their own, though they have servers in common. */
static void pools_take_turns_by_themselves(void **state)
{
	const struct section *second;
	uint32_t server;

	load("port 25\nserver h1\nserver h2\nport 26\nserver h1\nserver h2\n");
	second = &rules->config->sections[1];
	for (int i = 0; i < 5; i++)
		next_of(second, 0, &server);
	assert_string_equal(sequence(4), "1212");
}

/* No share of a server that is full is lost, and it is not given to its neighbour. */
static void the_share_of_a_full_one_is_everybodys(void **state)
{
	unsigned n[10];

	load("port 25\nserver h1 max=1\nserver h2\nserver h3\n");
	sequence(3);
	share_out(100, n);
	assert_int_equal(n[1], 0);
	assert_int_equal(n[2], 50);
	assert_int_equal(n[3], 50);
}

static void the_next_one_after_a_failure(void **state)
{
	load("port 25\nserver h1\nserver h2\nserver h3\n");
	assert_string_equal(failures(), "123"); /* a turn for each */
	assert_string_equal(sequence(1), "1");
	assert_string_equal(failures(), "231"); /* not always the first one, which had all the load */
	assert_string_equal(sequence(2), "23");
}

static struct experience *experience_of(const char *key)
{
	return &world->experience[target_of(key) - world->targets.list];
}

static void a_backup_comes_after_all_others(void **state)
{
	load("port 25\nserver h1 backup\nserver h2\nserver h3\n");
	assert_string_equal(sequence(4), "2323");
	assert_int_equal(failures()[2], '1');
}

/* Of SRV records: the lowest priority, then the next one; what the line calls a backup comes last, whatever it has. */
static void priorities_are_tiers(void **state)
{
	have = "10.0.0.1:1 priority=30\n10.0.0.2:2 priority=20\n10.0.0.3:3 priority=30\n";
	load("port 25\nserver h9 backup\nserver srv:_x._tcp.test\nserver h8\n");
	assert_string_equal(failures(), "28139"); /* a line of its own is of the first tier */
	have = "10.0.0.1:1 priority=30 backup\n10.0.0.2:2 priority=20 backup\n";
	ruleset_free(rules);
	load("port 25\nserver srv:_x._tcp.test backup\nserver h8\n");
	assert_string_equal(failures(), "821");
}

static void a_tier_serves_when_the_one_before_it_has_no_room(void **state)
{
	have = "10.0.0.1:1 priority=1 max=2\n10.0.0.2:2 priority=2 max=1\n10.0.0.3:3 priority=7\n";
	load("port 25\nserver srv:_x._tcp.test\n");
	assert_string_equal(sequence(5), "11233");
}

static void what_is_said_of_the_line_is_said_of_its_members(void **state)
{
	struct target *t;

	have = "10.0.0.1:1\n10.0.0.2:2\n";
	load("port 25\nserver many.test:1 each\nserver h3\n");
	t = target_of("many.test:1");
	assert_true(atomic_load(&t->stands));
	assert_int_equal(atomic_load(&target_of("10.0.0.1:1")->of), t - world->targets.list + 1);
	atomic_store(&t->admin_state, ADMIN_STATE_DISABLED);
	assert_string_equal(sequence(3), "333");
	atomic_store(&target_of("10.0.0.2:2")->admin_state, ADMIN_STATE_ENABLED);
	assert_int_equal(strspn(sequence(6), "23"), 6);
	atomic_store(&t->admin_state, ADMIN_STATE_BY_FILE);
	assert_non_null(strchr(sequence(6), '1'));
}

static void one_that_failed_is_tried_last(void **state)
{
	load("port 25\nserver h1\nserver h2\nserver h3\nserver h4 backup\n");
	target_failed(experience_of("h2"), now_ms, ECONNREFUSED);
	for (int i = 0; i < 12; i++)
		assert_int_not_equal(sequence(1)[0], '2');
	assert_int_equal(failures()[2], '2');
	assert_int_equal(order[3], '4'); /* a backup even later */
	target_failed(experience_of("h1"), now_ms, ECONNREFUSED);
	target_failed(experience_of("h3"), now_ms, ECONNREFUSED);
	assert_int_equal(strspn(sequence(6), "123"), 6); /* all failed: they are all there is */
	assert_null(strchr(order, '4'));
	now_ms += TARGET_AVOID_MS;
	assert_non_null(strchr(sequence(4), '2'));
}

static void a_disabled_one_is_never_chosen(void **state)
{
	load("port 25\nserver h1\nserver h2 disabled\nserver h3\n");
	assert_null(strchr(sequence(10), '2'));
	assert_int_equal(strlen(failures()), 2);
}

static void all_disabled(void **state)
{
	load("port 25\nserver h1 disabled\nserver h2 disabled\n");
	assert_string_equal(sequence(2), "--");
}

static void a_full_one_is_passed_over(void **state)
{
	struct pool *p;

	load("port 25\nserver h1 max=1\nserver h2 max=3\n");
	p = &rules->pools[0];
	assert_string_equal(sequence(6), "1222!!");
	limits_give(&limits, p->limit_keys[0]);
	assert_string_equal(sequence(2), "1!");
	assert_int_equal(limits_count(&limits, p->limit_keys[0]), 1);
	assert_int_equal(limits_count(&limits, p->limit_keys[1]), 3);
}

/* ---- what checks say ---- */

#define CHECKED "port 25\ncheck tcp\nserver h1:1\nserver h2:2\nserver h3:3\nserver h4:4 backup\n"

static struct health *health_of(uint32_t server)
{
	struct health *h = &world->health[rules->pools[0].seats[server]];

	health_begin(h, rules->pools[0].asks[server]);
	return h;
}

static void load_checked(const char *text)
{
	load(text);
	atomic_store(&world->checker.beat_ms, now_ms);
	for (uint32_t i = 0; i < rules->pools[0].n; i++)
		health_set(health_of(i), HEALTH_UP, now_ms);
}

static void one_that_is_down_gets_nobody(void **state)
{
	load_checked(CHECKED);
	assert_string_equal(sequence(6), "123123");
	health_set(health_of(1), HEALTH_DOWN, now_ms);
	assert_int_equal(strspn(sequence(12), "13"), 12);
	assert_string_equal(failures() + 2, "4");
	health_set(health_of(0), HEALTH_DOWN, now_ms);
	health_set(health_of(2), HEALTH_DOWN, now_ms);
	assert_string_equal(sequence(3), "444");
	health_set(health_of(3), HEALTH_DOWN, now_ms);
	assert_string_equal(sequence(3), "xxx");
	health_set(health_of(2), HEALTH_UP, now_ms);
	assert_string_equal(sequence(3), "333");
}

static void known_to_be_up_before_unknown(void **state)
{
	load_checked(CHECKED);
	health_set(health_of(0), HEALTH_UNKNOWN, now_ms);
	assert_int_equal(strspn(sequence(12), "23"), 12);
	assert_string_equal(failures() + 2, "14"); /* and before a backup that is up */
	target_failed(&world->experience[rules->pools[0].targets[0]], now_ms, ECONNREFUSED);
	target_failed(&world->experience[rules->pools[0].targets[1]], now_ms, ECONNREFUSED);
	health_set(health_of(2), HEALTH_UNKNOWN, now_ms);
	assert_string_equal(sequence(2), "33");
}

/* Nobody is to wait for a black hole when there is a backup; one that refuses is asked before it. */
static void silent_ones_come_after_backups(void **state)
{
	load("port 25\nserver h1\nserver h2\nserver h3 backup\n");
	target_failed(experience_of("h1"), now_ms, ETIMEDOUT);
	target_failed(experience_of("h2"), now_ms, ECONNREFUSED);
	assert_string_equal(failures(), "231");
	target_failed(experience_of("h3"), now_ms, ETIMEDOUT);
	assert_string_equal(failures(), "213");
}

static void what_a_seat_of_before_says_is_not_believed(void **state)
{
	load_checked(CHECKED);
	health_set(health_of(1), HEALTH_DOWN, now_ms);
	health_begin(&world->health[rules->pools[0].seats[1]], 1); /* it is about another one now */
	health_set(&world->health[rules->pools[0].seats[1]], HEALTH_DOWN, now_ms);
	assert_string_equal(failures() + 2, "24"); /* unknown: after those that are up */
}

static void old_bad_news_lock_nobody_out(void **state)
{
	load_checked(CHECKED);
	for (uint32_t i = 0; i < 4; i++)
		health_set(health_of(i), HEALTH_DOWN, now_ms);
	assert_string_equal(sequence(2), "xx");
	now_ms += HEALTH_STALE_MS + 1; /* nobody has checked since */
	assert_int_equal(strspn(sequence(6), "123"), 6);
	assert_int_equal(failures()[3], '4');
}

static void on_down_try_tries_them_last(void **state)
{
	load_checked("port 25\non-down try\ncheck tcp\nserver h1:1\nserver h2:2\nserver h3:3 backup\n");
	health_set(health_of(0), HEALTH_DOWN, now_ms);
	assert_string_equal(failures(), "231");
	health_set(health_of(1), HEALTH_DOWN, now_ms);
	health_set(health_of(2), HEALTH_DOWN, now_ms);
	assert_int_equal(strspn(sequence(3), "123"), 3);
}

static void sections_with_the_same_checks_share_what_is_known(void **state)
{
	load("port 25\ncheck tcp\nserver h1:1\ninterface 10.0.0.1\ninterface 10.0.0.2\ncheck ssh\n"
	     "port 26\ncheck every=9s tcp\nserver h1:1\nport 27\nserver h1:1\n");
	assert_int_not_equal(rules->pools[0].seats[0], SEAT_NONE);
	assert_int_equal(rules->pools[1].seats[0], rules->pools[0].seats[0]);
	assert_int_not_equal(rules->pools[2].seats[0], rules->pools[0].seats[0]);
	assert_int_equal(rules->pools[3].seats[0], rules->pools[0].seats[0]); /* however often it is asked */
	assert_int_equal(rules->pools[4].seats[0], SEAT_NONE);
}

static void a_port_that_is_not_said_is_the_service_s(void **state)
{
	load("port 25\ncheck tcp\nserver h1\nport 26\ncheck tcp\nserver h1\n");
	assert_int_not_equal(rules->pools[0].seats[0], rules->pools[1].seats[0]);
}

static void full_or_tried(void **state)
{
	uint32_t server;

	load("port 25\nserver h1\nserver h2 max=1\n");
	assert_string_equal(sequence(2), "12");
	/* h1 failed for this connection, h2 would do, but for its limit */
	assert_int_equal(next_of(&rules->config->sections[0], 1, &server), ROUTE_ALL_FULL);
	assert_int_equal(next_of(&rules->config->sections[0], 3, &server), ROUTE_ALL_TRIED);
}

/* Servers beyond the 64th share a bit: the choice must end all the same. */
static void a_pool_larger_than_the_bits(void **state)
{
	struct buf text = BUF_INIT;
	uint64_t tried = 0;
	uint32_t server;
	int n = 0;

	buf_adds(&text, "port 25\n");
	for (int i = 0; i < 80; i++)
		buf_addf(&text, "server host%d\n", i);
	load(text.s);
	buf_release(&text);
	while (next_of(&rules->config->sections[0], tried, &server) == ROUTE_FOUND) {
		tried |= 1ULL << (server < 63 ? server : 63);
		n++;
	}
	assert_int_equal(n, 64);
	assert_true(tried == UINT64_MAX);
}

static void load_many(const char *more, int n)
{
	struct buf text = BUF_INIT;

	buf_addf(&text, "port 25\n%s", more);
	for (int i = 0; i < n; i++)
		buf_addf(&text, "server host%d\n", i);
	load(text.s);
	buf_release(&text);
}

/* Of so many clients at the same moment each server gets as many. */
static void share_evenly(uint32_t clients)
{
	unsigned got[100] = {0};
	uint32_t server;

	for (uint32_t i = 0; i < clients; i++) {
		assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
		got[server]++;
	}
	for (uint32_t i = 0; i < ARRAY_LEN(got); i++)
		assert_int_equal(got[i], clients / ARRAY_LEN(got));
}

static void a_large_pool_is_not_looked_through_for_each_client(void **state)
{
	uint32_t server;

	load_many("", 100);
	share_evenly(300);
	assert_int_equal(rules->pools[0].shortlist->until_ms, now_ms + shortlist_ms(100));
	/* one that is chosen is looked at: nobody comes to it from now on */
	target_of("host7")->admin_state = ADMIN_STATE_DISABLED;
	for (int i = 0; i < 300; i++) {
		assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
		assert_int_not_equal(server, 7);
	}
	/* one that comes back is found when the list is made anew */
	target_of("host7")->admin_state = ADMIN_STATE_BY_FILE;
	now_ms += shortlist_ms(100);
	for (int i = 0; i < 100 && server != 7; i++)
		assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
	assert_int_equal(server, 7);
}

static void a_large_pool_counts_connections(void **state)
{
	uint32_t server;

	load_many("balance least-connections\n", 100);
	share_evenly(300);
	now_ms += shortlist_ms(100);
	limits_give(&limits, rules->pools[0].limit_keys[42]);
	assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
	assert_int_equal(server, 42);
	assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
	assert_int_not_equal(server, 42);
}

/* Its list is of all servers; a client for whom one has failed is asked about others, and leaves nothing of that to the next one. */
static void a_large_pool_and_one_that_failed(void **state)
{
	uint32_t server;

	load_many("", 100);
	assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
	assert_int_equal(server, 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(next_of(&rules->config->sections[0], ~(1ULL << 3), &server), ROUTE_FOUND);
		assert_int_equal(server, 3);
	}
	for (int i = 0; i < 200 && server != 0; i++)
		assert_int_equal(next_of(&rules->config->sections[0], 0, &server), ROUTE_FOUND);
	assert_int_equal(server, 0);
}

/* ---- for those who wait ---- */

static enum route_result next_patiently(void)
{
	uint32_t server;

	return route_next(rules, &rules->config->sections[0], world, &limits,
	                  &(struct route_client){.now_ms = now_ms, .patient = true}, &server);
}

/* Usable, well, room. */
static void outlook_is(bool usable, bool well, bool room)
{
	uint64_t pass = atomic_load(&world->pass[0]);
	struct route_outlook o = route_look(rules, &rules->config->sections[0], world, &limits, now_ms);

	assert_int_equal(o.usable, usable);
	assert_int_equal(o.well, well);
	assert_int_equal(o.room, room);
	assert_int_equal(atomic_load(&world->pass[0]), pass);
}

static void a_patient_client_takes_no_backup_while_a_primary_is_full(void **state)
{
	load("port 25\nserver h1 max=1\nserver h2 backup\n");
	assert_int_equal(next_patiently(), ROUTE_FOUND);
	assert_int_equal(next_patiently(), ROUTE_ALL_FULL);
	outlook_is(true, true, false);
	target_failed(experience_of("h1"), now_ms, ECONNREFUSED);
	assert_int_equal(next_patiently(), ROUTE_ALL_FULL);
	target_of("h1")->admin_state = ADMIN_STATE_DISABLED;
	outlook_is(true, true, true);
	assert_int_equal(next_patiently(), ROUTE_FOUND);
}

static void what_a_server_that_failed_is_worth(void **state)
{
	load("port 25\nserver h1\nserver h2 max=1\n");
	outlook_is(true, true, true);
	target_failed(experience_of("h1"), now_ms, ECONNREFUSED);
	outlook_is(true, true, true);
	target_failed(experience_of("h2"), now_ms, ECONNREFUSED);
	outlook_is(true, false, true);
	now_ms += 2 * TARGET_AVOID_MS; /* it has its turn again, but is no better for that */
	outlook_is(true, false, true);
	target_worked(experience_of("h2"), now_ms);
	outlook_is(true, true, true);
}

static void what_is_not_usable(void **state)
{
	load("port 25\nserver h1\n");
	target_set_addrs(target_of("h1"), NULL, 0, false);
	outlook_is(false, false, false);
	target_set_addrs(target_of("h1"), &(struct addr){.family = AF_INET}, 1, false);
	outlook_is(true, true, true);
	target_of("h1")->admin_state = ADMIN_STATE_DRAINING;
	outlook_is(false, false, false);
}

static void one_that_was_silent_does_not_keep_who_waits_from_a_backup(void **state)
{
	load("port 25\nserver h1 max=1\nserver h2 backup\n");
	assert_int_equal(next_patiently(), ROUTE_FOUND);
	target_failed(experience_of("h1"), now_ms, ETIMEDOUT);
	outlook_is(true, true, true);
	assert_int_equal(next_patiently(), ROUTE_FOUND);
}

static void a_line_is_known_over_reloads(void **state)
{
	uint64_t lines[3];

	load("port 25\nserver h1\ninterface 10.0.0.1\nserver h2\nport 26\nserver h1\n");
	for (int i = 0; i < 3; i++)
		lines[i] = rules->pools[i].line;
	assert_true(lines[0] != lines[1] && lines[0] != lines[2] && lines[1] != lines[2]);
	for (int i = 0; i < 3; i++)
		assert_true(lines[i] != 0 && lines[i] % 2 == 0);
	ruleset_free(rules);
	load("port 24\nserver h3\nport 25\nserver h9\nqueue 5\ninterface 10.0.0.9\ninterface 10.0.0.1\nserver h3\n");
	assert_true(rules->pools[1].line == lines[0] && rules->pools[3].line == lines[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(targets_are_known_by_their_spelling),
	        TEST(the_last_good_answer_stays),
	        TEST(a_full_table_of_targets_says_so),
	        TEST(one_that_failed_is_avoided_for_a_while),
	        TEST(health_is_what_the_last_client_found),
	        TEST(labels_keep_their_numbers),
	        TEST(a_block_holds_the_whole_configuration),
	        TEST(spoiled_blocks_are_refused),
	        TEST(lengths_that_wrap_around_are_refused),
	        TEST(servers_take_turns),
	        TEST(servers_take_turns_by_weight),
	        TEST(a_heavy_pool_keeps_its_proportions),
	        TEST(a_weight_of_0_is_no_turn),
	        TEST(shares_are_right_at_any_time),
	        TEST(one_that_comes_back_has_no_backlog),
	        TEST(one_that_comes_back_has_its_share),
	        TEST(weights_change_while_turns_go_on),
	        TEST(weights_that_always_change),
	        TEST(max_and_force_hold_from_the_next_client),
	        TEST(backups_share_evenly_from_the_first_on),
	        TEST(a_pass_means_something_whatever_it_is),
	        TEST(pools_take_turns_by_themselves),
	        TEST(the_share_of_a_full_one_is_everybodys),
	        TEST(the_next_one_after_a_failure),
	        TEST(a_backup_comes_after_all_others),
	        TEST(priorities_are_tiers),
	        TEST(a_tier_serves_when_the_one_before_it_has_no_room),
	        TEST(what_is_said_of_the_line_is_said_of_its_members),
	        TEST(one_that_failed_is_tried_last),
	        TEST(a_disabled_one_is_never_chosen),
	        TEST(all_disabled),
	        TEST(a_full_one_is_passed_over),
	        TEST(one_that_is_down_gets_nobody),
	        TEST(known_to_be_up_before_unknown),
	        TEST(silent_ones_come_after_backups),
	        TEST(what_a_seat_of_before_says_is_not_believed),
	        TEST(old_bad_news_lock_nobody_out),
	        TEST(on_down_try_tries_them_last),
	        TEST(sections_with_the_same_checks_share_what_is_known),
	        TEST(a_port_that_is_not_said_is_the_service_s),
	        TEST(full_or_tried),
	        TEST(a_pool_larger_than_the_bits),
	        TEST(a_large_pool_is_not_looked_through_for_each_client),
	        TEST(a_large_pool_counts_connections),
	        TEST(a_large_pool_and_one_that_failed),
	        TEST(a_patient_client_takes_no_backup_while_a_primary_is_full),
	        TEST(what_a_server_that_failed_is_worth),
	        TEST(what_is_not_usable),
	        TEST(one_that_was_silent_does_not_keep_who_waits_from_a_backup),
	        TEST(a_line_is_known_over_reloads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
