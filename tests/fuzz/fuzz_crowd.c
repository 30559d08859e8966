/*
 * fuzz_crowd.c - what the checker says of lines that stand for many servers: whatever it is, what comes of it are servers that the
 * configuration can have, and no more of them than there may be.
 */
#include "children/checker_child.c" /* checker_child_heard() is its own */
#include "config/config.h"
#include "input.h"

#define members_set fuzz_members_set
#include "supervisor/crowds.c"

static const char text[] = "port 80\n\tserver a.test:81 each weight=3 max=5\n"
                           "port 81\n\tserver b.test each disabled\n"
                           "port 82\n\tserver srv:_x._tcp.test backup\n"
                           "port 6000-6010\n\tserver c.test each\n";

static struct supervisor supervisor;
static const char *set_line, *set_lines;

static char *members(void *arg, const struct config *c, const struct section *s, const struct source *source)
{
	return source && strcmp(source->line, set_line) == 0 ? mem_strdup(set_lines) : NULL;
}

static size_t count_lines(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

void fuzz_members_set(struct supervisor *s, const char *line, const char *lines)
{
	const struct config_ops world = {.members = members};
	struct config_errors errors;
	struct config *c;
	size_t n = 0;

	set_line = line;
	set_lines = lines;
	c = config_with_members(s->rules.config, &world, &errors);
	CHECK(c && c->warnings.n == 0);
	for (size_t i = 0; i < c->n_sections; i++)
		n += c->sections[i].n_servers;
	CHECK(n == count_lines(lines) && n <= CROWD_MAX);
	config_free(c);
}

static void told(void *arg, uint64_t id, const struct member *list, size_t n)
{
	crowds_told(arg, id, list, n);
}

static void named(void *arg, const struct named *answer)
{
	CHECK(answer->n <= TARGET_ADDRS && answer->target < TARGETS_MAX);
}

static const struct checker_events events = {.named = named, .crowd = told};
static struct checker_child child = {.events = &events, .arg = &supervisor};

static void fill(struct input *in, struct wire *w)
{
	const struct config *c = supervisor.rules.config;
	uint8_t which = input_u8(in);

	w->type = WIRE_CROWD;
	w->crowd = which < 5 * 50 ? crowd_id(c->sections[which % c->n_sections].sources[0].line) : input_u64(in);
	w->n = input_u8(in) % (CROWD_PART + 2);
	w->part.at = input_u8(in) % 4 == 3 ? input_u16(in) : child.gathering.n % CROWD_MAX;
	w->part.total = input_u8(in) % 4 == 3 ? input_u16(in) : (uint16_t)(w->part.at + w->n);
	for (uint32_t i = 0; i < CROWD_PART; i++) {
		struct member *m = &w->part.list[i];

		m->addr.family = input_u8(in) % 16 == 15 ? input_u16(in) : in->left % 2 ? AF_INET : AF_INET6;
		m->addr.port = input_u8(in) % 4 == 3 ? input_u16(in) : 81;
		m->addr.scope = input_u8(in) == 255;
		input_bytes(in, m->addr.ip, 4);
		m->priority = input_u8(in) % 2 ? input_u16(in) : 0;
		m->weight = input_u8(in) % 2 ? input_u16(in) : 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct config_errors errors;

	if (!supervisor.rules.config) {
		supervisor.rules.config = config_parse("fuzz", text, NULL, &errors);
		CHECK(supervisor.rules.config);
	}
	while (in.left > 0) {
		struct said m;

		memset(&m, 0, sizeof(m));
		if (input_u8(&in) % 8)
			fill(&in, &m.wire);
		else
			input_bytes(&in, &m.wire, sizeof(m.wire));
		if (m.wire.type == WIRE_CROWD || m.wire.type == WIRE_NAMED)
			checker_child_heard(&child, &m, sizeof(m.wire));
	}
	gathering_release(&child.gathering);
	return 0;
}
