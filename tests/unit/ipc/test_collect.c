/* Looking in reads only: here everything that is looked at is mapped so. And it believes no text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "ipc/collect.h"
#include "ipc/accesslog.h"
#include "stats/render.h"

#define ROWS 4

static struct trio *trio;
static struct world *world;

static int begin(void **state)
{
	trio = trio_new_private(ROWS);
	world = world_new_private();
	assert_non_null(trio);
	assert_non_null(world);
	world->services.list[0] = (struct known_service){.number = 25, .ports = "25"};
	world->services.n = 1;
	strcpy(world->targets.list[0].key, "/bin/cat");
	world->targets.n = 1;
	return 0;
}

static int end(void **state)
{
	trio_unmap(trio);
	munmap(world, sizeof(*world));
	return 0;
}

/* A connection with a program, whose client has this name: all of the slot's bytes, an end or not. */
static void add_row(uint32_t i, enum row_state state, const char *name, size_t len)
{
	struct question_slot *slot = &trio_slots(trio)[i];

	*trio_row(trio, i) = (struct row){.state = (uint8_t)state,
	                                  .serial = 1,
	                                  .fd = {-1, -1, -1},
	                                  .server = UINT16_MAX,
	                                  .flow = {{.pipe_read = -1}, {.pipe_read = -1}}};
	*trio_cold(trio, i) = (struct row_cold){.id = i + 1, .label = LABEL_NONE, .question_count = 1};
	trio_tcp_info(trio, i)->serial = 1;
	memset(slot, 0x7f, sizeof(*slot));
	memcpy(slot->name, name, len);
	trio->rows_used = i + 1;
}

static void may_write(bool may)
{
	int prot = may ? PROT_READ | PROT_WRITE : PROT_READ;

	assert_int_equal(mprotect(trio, trio_size, prot), 0);
	assert_int_equal(mprotect(world, sizeof(*world), prot), 0);
}

static json_t *look(const struct config *config, void (*render)(const struct snapshot *s, struct buf *out))
{
	struct trio *const trios[] = {trio};
	struct collect_source source = {.world = world, .trios = trios, .n_trios = 1};
	struct collector *v = collect_new(&source);
	struct buf text = BUF_INIT;
	struct snapshot *s;
	json_t *ret;

	may_write(false);
	s = collect_take(v, config, 1, true);
	render(s, &text);
	may_write(true);
	snapshot_free(s);
	collect_free(v);
	ret = json_loadb(text.s, text.len, 0, NULL);
	assert_non_null(ret);
	buf_release(&text);
	return ret;
}

static json_t *connections(void)
{
	struct config config = {.n_services = 0};

	return look(&config, render_connections_json);
}

/* "LABEL=CONNECTIONS ..." of all services or servers under this configuration; with a '-' those that it does not have. */
static const char *labels(const char *text, const char *list, const char *key)
{
	static char out[1000];
	struct config_ops nothing = {0};
	struct config_errors errors = {NULL, 0};
	struct config *c = config_parse("", text, &nothing, &errors);
	json_t *j, *e;
	size_t i;

	assert_non_null(c);
	world_take(world, c);
	j = look(c, render_status_json);
	out[0] = '\0';
	json_array_foreach(json_object_get(j, list), i, e) sprintf(
	        out + strlen(out), "%s%s%s=%d", i ? " " : "", json_is_true(json_object_get(e, "configured")) ? "" : "-",
	        json_string_value(json_object_get(e, key)), (int)json_integer_value(json_object_get(e, "connections")));
	json_decref(j);
	config_free(c);
	return out;
}

/* "HEALTH WHY" of the first server, and " -" if it is not known since when. */
static const char *health(void)
{
	struct config config = {.n_services = 0};
	static char out[200];
	json_t *j = look(&config, render_status_json);
	json_t *e = json_array_get(json_object_get(j, "servers"), 0);
	const char *why = json_string_value(json_object_get(e, "why"));

	sprintf(out, "%s %s", json_string_value(json_object_get(e, "health")), why ? why : "-");
	if (json_is_null(json_object_get(e, "since")))
		strcat(out, " -");
	json_decref(j);
	return out;
}

static void a_server_fails_until_it_answers(void **state)
{
	struct target *t = &world->targets.list[0];
	struct experience *e = &world->experience[0];
	int64_t long_ago = clock_mono_ms() - 10 * TARGET_AVOID_MS;

	atomic_store(&t->state, TARGET_RESOLVED);
	assert_string_equal(health(), "untried - -");
	atomic_store(&t->state, TARGET_UNKNOWN);
	assert_string_equal(health(), "untried - -");
	target_failed(e, long_ago > 0 ? long_ago : 1, ECONNREFUSED);
	atomic_store(&t->state, TARGET_RESOLVED);
	assert_string_equal(health(), "failed Connection refused");
	target_worked(e, clock_mono_ms());
	assert_string_equal(health(), "up -");
	atomic_store(&t->state, TARGET_UNRESOLVED);
	assert_string_equal(health(), "unresolved the name does not resolve");
	atomic_store(&e->health, UINT64_MAX); /* from shared memory: anything */
	atomic_store(&t->state, TARGET_RESOLVED);
	assert_string_equal(health(), "untried -");
}

/* Workers write what a server's last client has found, and may write any error: one text does not take the place of another. */
static void servers_fail_of_what_is_no_error(void **state)
{
	strcpy(world->targets.list[1].key, "b:1");
	world->targets.n = 2;
	target_failed(&world->experience[0], clock_mono_ms(), 5555);
	target_failed(&world->experience[1], clock_mono_ms(), 6666);
	atomic_store(&world->targets.list[0].state, TARGET_RESOLVED);
	assert_string_equal(health(), "failed an error that nobody knows");
}

static int begin_empty(void **state)
{
	begin(state);
	world->services.n = 0;
	world->targets.n = 0;
	world->services.list[0] = (struct known_service){0};
	world->targets.list[0] = (struct target){0};
	return 0;
}

static void a_service_goes_on_under_its_name(void **state)
{
	assert_string_equal(labels("port 25\nserver a:1\n", "services", "service"), "25=0");
	count(counters_service(trio_counters(trio), 0), COUNT_connections, 3);
	/* what is called otherwise is another one */
	assert_string_equal(labels("port 25 as mail\nserver a:1\n", "services", "service"), "-25=3 mail=0");
	count(counters_service(trio_counters(trio), 1), COUNT_connections, 5);
	assert_string_equal(labels("port 26 as mail\nserver a:1\n", "services", "service"), "-25=3 mail=5");
	count(counters_service(trio_counters(trio), 2), COUNT_connections, 7);
	assert_string_equal(labels("port 25\nserver a:1\n", "services", "service"), "25=3 -mail=12");
}

static void a_server_goes_on_under_its_name(void **state)
{
	assert_string_equal(labels("port 25 as mail\nserver a:1 as db1\nserver b:1\n", "servers", "server"),
	                    "db1=0 b:1=0");
	count(counters_server(trio_counters(trio), 0), COUNT_connections, 3);
	assert_string_equal(labels("port 25 as mail\nserver c:1 as db1\nserver b:1\n", "servers", "server"),
	                    "b:1=0 db1=3");
	count(counters_server(trio_counters(trio), 2), COUNT_connections, 5);
	assert_string_equal(labels("port 25 as mail\nserver a:1 as db1\n", "servers", "server"), "db1=8 -b:1=0");
	/* a host of that name takes it over */
	assert_string_equal(labels("port 25 as mail\nserver db1\n", "servers", "server"), "-b:1=0 db1=8");
}

static void servers_of_one_name_are_told_apart(void **state)
{
	static const char both[] = "port 25 as mail\nserver a:1 as db1\nport 26\nserver a:1 as db1\n";

	assert_string_equal(labels(both, "servers", "server"), "mail/db1=0 26/db1=0");
	count(counters_server(trio_counters(trio), 1), COUNT_connections, 3);
	/* the other one is gone: the name alone is enough for who is there */
	assert_string_equal(labels("port 25 as mail\nserver a:1 as db1\n", "servers", "server"), "db1=0 -26/db1=3");
	assert_string_equal(labels(both, "servers", "server"), "mail/db1=0 26/db1=3");
	assert_string_equal(labels(both, "servers", "spelt"), "a:1=0 a:1=3");
}

static const char *name_of(json_t *list, size_t i)
{
	return json_string_value(json_object_get(json_array_get(list, i), "name"));
}

static void connections_of_programs(void **state)
{
	json_t *list;

	add_row(0, ROW_HANDLER, "nine.test", sizeof("nine.test"));
	add_row(1, ROW_VERDICT, "", 1);
	add_row(2, ROW_RELAY, "", 1);
	list = connections();
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(name_of(list, 0), "nine.test");
	assert_null(name_of(list, 1));
	assert_null(name_of(list, 2));
	json_decref(list);
}

static void a_name_that_does_not_end(void **state)
{
	char longest[CLIENT_NAME_MAX];
	json_t *list;

	memset(longest, 'x', sizeof(longest));
	add_row(0, ROW_HANDLER, longest, sizeof(longest));
	list = connections();
	assert_int_equal(strlen(name_of(list, 0)), sizeof(longest) - 1);
	assert_int_equal(strspn(name_of(list, 0), "x"), sizeof(longest) - 1);
	json_decref(list);
}

static void a_name_of_any_bytes(void **state)
{
	static const char bytes[] = "\x1b]0;\a\"\\\n\xff\xed\xa0\x80</script>";
	json_t *list;

	add_row(0, ROW_HANDLER, bytes, sizeof(bytes));
	list = connections();
	assert_string_equal(name_of(list, 0),
	                    "\x1b]0;\a\"\\\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd</script>");
	json_decref(list);
}

static void a_record_of_such_a_name(void **state)
{
	char longest[CLIENT_NAME_MAX], texts[sizeof(((struct record_message *)0)->texts) + RECORD_TEXTS];
	struct record_message m;
	struct record r;
	uint32_t label;
	size_t len;

	memset(longest, 'x', sizeof(longest));
	add_row(0, ROW_HANDLER, longest, sizeof(longest));
	may_write(false);
	len = accesslog_fill(trio, world, 0, RECORD_CLOSE, &m);
	may_write(true);
	assert_true(accesslog_read(&m, len, world, texts, &r, &label));
	assert_int_equal(strlen(r.name), sizeof(longest) - 1);
	assert_string_equal(r.server_text, "");
}

static double number(json_t *list, size_t i, const char *key)
{
	json_t *n = json_object_get(json_array_get(list, i), key);

	assert_true(json_is_number(n));
	return json_number_value(n);
}

/* Times and bytes that no connection has: what is shown is as far away as there are numbers. */
static void times_that_cannot_be(void **state)
{
	struct record_message m;
	json_t *list;

	for (uint32_t i = 0; i < 2; i++) {
		add_row(i, ROW_RELAY, "", 1);
		trio_row(trio, i)->active_ms = trio_cold(trio, i)->accepted_us = i ? INT64_MAX : INT64_MIN;
		trio_cold(trio, i)->connected_us = i ? INT64_MIN : INT64_MAX;
	}
	trio_row(trio, 0)->flow[CLIENT].moved = INT64_MAX;
	list = connections();
	assert_true(number(list, 0, "duration") > 9e12 && number(list, 0, "idle") > 9e12 &&
	            number(list, 0, "connect") > 9e12);
	assert_true(json_is_null(json_object_get(json_array_get(list, 1), "duration")));
	assert_true(number(list, 1, "idle") == 0);
	json_decref(list);
	accesslog_fill(trio, world, 0, RECORD_CLOSE, &m);
	assert_true(m.record.duration_us == INT64_MAX && m.record.connect_us == INT64_MAX);
	accesslog_fill(trio, world, 1, RECORD_CLOSE, &m);
	assert_true(m.record.duration_us < -INT64_MAX / 2 && m.record.connect_us == INT64_MIN);
}

static void a_label_of_any_bytes(void **state)
{
	struct collect_source source = {.world = world};
	struct config config = {.n_services = 0};
	struct collector *v = collect_new(&source);
	struct snapshot *s;
	struct buf text = BUF_INIT;

	strcpy(world->services.list[0].called, "\xc3\xa4\xff\"\n\\\xc3");
	s = collect_take(v, &config, 1, false);
	render_metrics(s, &text);
	assert_non_null(strstr(text.s, "{service=\"\xc3\xa4\xef\xbf\xbd\\\"\\n\\\\\xef\xbf\xbd\"} 0\n"));
	buf_release(&text);
	snapshot_free(s);
	collect_free(v);
}

/* So many bytes in no time. */
static void a_rate_that_cannot_be(void **state)
{
	struct trio *const trios[] = {trio};
	struct collect_source source = {.world = world, .trios = trios, .n_trios = 1};
	struct config config = {.n_services = 0};
	struct collector *v = collect_new(&source);
	struct snapshot *s;

	add_row(0, ROW_RELAY, "", 1);
	trio_cold(trio, 0)->accepted_us = clock_mono_us() - 1;
	trio_row(trio, 0)->flow[CLIENT].moved = UINT64_MAX;
	s = collect_take(v, &config, 1, true);
	assert_true(s->n_connections == 1 && s->connections[0].rate_up == UINT64_MAX &&
	            s->connections[0].rate_down == 0);
	snapshot_free(s);
	collect_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(connections_of_programs, begin, end),
	        cmocka_unit_test_setup_teardown(a_name_that_does_not_end, begin, end),
	        cmocka_unit_test_setup_teardown(a_name_of_any_bytes, begin, end),
	        cmocka_unit_test_setup_teardown(a_record_of_such_a_name, begin, end),
	        cmocka_unit_test_setup_teardown(times_that_cannot_be, begin, end),
	        cmocka_unit_test_setup_teardown(a_rate_that_cannot_be, begin, end),
	        cmocka_unit_test_setup_teardown(a_label_of_any_bytes, begin, end),
	        cmocka_unit_test_setup_teardown(a_server_fails_until_it_answers, begin, end),
	        cmocka_unit_test_setup_teardown(servers_fail_of_what_is_no_error, begin, end),
	        cmocka_unit_test_setup_teardown(a_service_goes_on_under_its_name, begin_empty, end),
	        cmocka_unit_test_setup_teardown(a_server_goes_on_under_its_name, begin_empty, end),
	        cmocka_unit_test_setup_teardown(servers_of_one_name_are_told_apart, begin_empty, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
