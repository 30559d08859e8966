#include "proxy/ruleset.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/shm.h"
#include "proxy/limits.h"

#define BLOCK_MAGIC 0x7463707063303031ULL
#define TURNS_MAX   4096

struct block {
	uint64_t magic;
	uint64_t text_len; /* with its NUL */
	uint32_t n_sections, n_ifs;
	/* text, uint32_t labels[n_sections], struct interface_address ifs[n_ifs] */
};

void ruleset_pack(const struct config *c, const uint32_t *labels,
		  const struct interface_address *ifs, uint32_t n_ifs, struct buf *out)
{
	struct buf text = BUF_INIT;
	struct block head = {.magic = BLOCK_MAGIC, .n_sections = (uint32_t)c->n_sections,
			     .n_ifs = n_ifs};

	config_print(c, &text);
	buf_addc(&text, '\0');
	head.text_len = text.len;
	buf_add(out, &head, sizeof(head));
	buf_add(out, text.s, text.len);
	buf_add(out, labels, c->n_sections * sizeof(*labels));
	buf_add(out, ifs, n_ifs * sizeof(*ifs));
	buf_release(&text);
}

/* Checks that the parts are there; returns the head, copied. */
static bool read_head(const void *block, size_t len, struct block *head)
{
	if (len < sizeof(*head))
		return false;
	memcpy(head, block, sizeof(*head));
	return head->magic == BLOCK_MAGIC && head->text_len > 0 && head->text_len < len &&
	       len == sizeof(*head) + head->text_len + head->n_sections * sizeof(uint32_t) +
			       head->n_ifs * sizeof(struct interface_address) &&
	       ((const char *)block)[sizeof(*head) + head->text_len - 1] == '\0';
}

struct config *ruleset_unpack_config(const void *block, size_t len)
{
	struct block head;
	struct config_errors errors = {NULL, 0};
	struct config_world nothing = {0};
	struct config *c;

	if (!read_head(block, len, &head))
		return NULL;
	c = config_parse("", (const char *)block + sizeof(head), &nothing, &errors);
	config_errors_release(&errors);
	return c;
}

struct config *ruleset_config_of(int fd)
{
	struct config *c = NULL;
	const void *block;
	size_t len;

	if (shm_map_sealed(fd, &block, &len) == 0) {
		c = ruleset_unpack_config(block, len);
		munmap((void *)block, len);
	}
	close(fd);
	return c;
}

/* The order in which servers of these weights take turns: each time the one that is most behind its
 * share (smooth weighted round-robin). */
static void plan_turns(struct pool *p, const struct server *servers)
{
	int64_t *credit = mem_alloc(p->n * sizeof(*credit));
	uint64_t sum = 0;

	for (uint32_t i = 0; i < p->n; i++)
		sum += servers[i].weight;
	p->n_turns = sum > TURNS_MAX ? TURNS_MAX : (uint32_t)sum;
	p->turns = mem_alloc(p->n_turns * sizeof(*p->turns));
	for (uint32_t t = 0; t < p->n_turns; t++) {
		uint32_t best = 0;

		for (uint32_t i = 0; i < p->n; i++) {
			credit[i] += servers[i].weight;
			if (credit[i] > credit[best])
				best = i;
		}
		credit[best] -= (int64_t)sum;
		p->turns[t] = best;
	}
	free(credit);
}

static void load_pool(struct pool *p, const struct section *s, const struct targets *targets)
{
	p->n = (uint32_t)s->n_servers;
	if (p->n == 0)
		return;
	p->targets = mem_alloc(p->n * sizeof(*p->targets));
	p->limit_keys = mem_alloc(p->n * sizeof(*p->limit_keys));
	for (uint32_t i = 0; i < p->n; i++) {
		const char *key = s->servers[i].key;

		p->targets[i] = targets_find(targets, key);
		p->limit_keys[i] = limit_key(LIMIT_SERVER, key, strlen(key));
	}
	plan_turns(p, s->servers);
}

struct ruleset *ruleset_load(const void *block, size_t len, uint64_t generation,
			     const struct world *world)
{
	struct config *c = ruleset_unpack_config(block, len);
	const char *at = block;
	struct ruleset *r;
	struct block head;

	if (!c || !read_head(block, len, &head) || head.n_sections != c->n_sections) {
		config_free(c);
		return NULL;
	}
	at += sizeof(head) + head.text_len;
	r = mem_alloc(sizeof(*r));
	r->generation = generation;
	r->config = c;
	r->labels = mem_alloc(c->n_sections * sizeof(*r->labels));
	memcpy(r->labels, at, c->n_sections * sizeof(*r->labels));
	at += c->n_sections * sizeof(*r->labels);
	r->n_ifs = head.n_ifs;
	r->ifs = mem_alloc(r->n_ifs * sizeof(*r->ifs) + 1);
	memcpy(r->ifs, at, r->n_ifs * sizeof(*r->ifs));
	r->pools = mem_alloc(c->n_sections * sizeof(*r->pools));
	for (size_t i = 0; i < c->n_sections; i++)
		load_pool(&r->pools[i], &c->sections[i], &world->targets);
	r->service_keys = mem_alloc(c->n_services * sizeof(*r->service_keys));
	for (size_t i = 0; i < c->n_services; i++) /* a service is known by its first port */
		r->service_keys[i] = limit_key(LIMIT_SERVICE, &c->services[i].ports[0].first,
					       sizeof(c->services[i].ports[0].first));
	r->service_numbers = mem_alloc(c->n_services * sizeof(*r->service_numbers));
	for (size_t i = 0; i < c->n_services; i++) {
		uint32_t n = services_find(&world->services, c->services[i].ports[0].first);

		r->service_numbers[i] = n < COUNTED_SERVICES ? n : COUNTED_SERVICES - 1;
	}
	return r;
}

void ruleset_free(struct ruleset *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->config->n_sections; i++) {
		free(r->pools[i].targets);
		free(r->pools[i].limit_keys);
		free(r->pools[i].turns);
	}
	config_free(r->config);
	free(r->pools);
	free(r->service_keys);
	free(r->service_numbers);
	free(r->labels);
	free(r->ifs);
	free(r);
}

const struct section *ruleset_find(const struct ruleset *r, const struct addr *local)
{
	return config_find(r->config, local, r->ifs, r->n_ifs);
}
