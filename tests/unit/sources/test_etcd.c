/* What etcd is asked, when, and what comes of its answers; etcd and the time are played. */
#include "fixture.h"
#include "base/clock.h"
#include "base/log.h"
#include "sources/etcd.h"

#define KEY_A   "{\"key\":\"L2RiL2E6MQ==\",\"mod_revision\":\"5\"}" /* /db/a:1 */
#define CHANGED "{\"result\":{\"header\":{\"revision\":\"9\"},\"events\":[{\"kv\":{\"key\":\"L2Ri\"}}]}}\n"

static struct options options = {.urls = {(char *)"http://one", (char *)"http://two"}, .n_urls = 2, .what = "/db/"};
static struct loop loop;
static struct http http;
static struct output output;
static struct etcd etcd;
static int64_t now_ms = 1000000;
static char said[1024];

/* ---- what is played ---- */

/* By its place in struct etcd. */
static struct asked {
	char url[64], body[512];
	void (*done)(void *arg, const char *error, long status);
	bool goes_on;
	unsigned times;
} list, watch, probe, login;

static struct asked *asked_of(const struct call *c)
{
	return c == &etcd.list ? &list : c == &etcd.watch ? &watch : c == &etcd.probe ? &probe : &login;
}

void __wrap_call_start(struct call *c, struct http *h, const struct request *r,
                       void (*done)(void *arg, const char *error, long status), void *arg);
void __wrap_call_start(struct call *c, struct http *h, const struct request *r,
                       void (*done)(void *arg, const char *error, long status), void *arg)
{
	struct asked *a = asked_of(c);

	snprintf(a->url, sizeof(a->url), "%s", r->url);
	snprintf(a->body, sizeof(a->body), "%s", r->body);
	a->done = done;
	a->goes_on = true;
	a->times++;
	buf_release(&c->answer);
}

void __wrap_call_cancel(struct call *c);
void __wrap_call_cancel(struct call *c)
{
	asked_of(c)->goes_on = false;
	buf_release(&c->answer);
}

bool __wrap_call_goes_on(const struct call *c);
bool __wrap_call_goes_on(const struct call *c)
{
	return asked_of(c)->goes_on;
}

void __wrap_output_list(struct output *o, const struct lines *l, const char *who);
void __wrap_output_list(struct output *o, const struct lines *l, const char *who)
{
	buf_clear(&printed);
	lines_print(l, &printed);
}

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void)
{
	return now_ms;
}

static void hear(void *arg, enum log_level level, const char *line)
{
	snprintf(said, sizeof(said), "%s", line);
}

static void pass(int64_t ms)
{
	now_ms += ms;
	assert_int_equal(loop_turn(&loop, 0), 0);
}

/* ---- what etcd says ---- */

static void answer(struct asked *a, struct call *c, const char *text)
{
	assert_true(a->goes_on);
	a->goes_on = false;
	buf_release(&c->answer);
	buf_adds(&c->answer, text);
	a->done(&etcd, NULL, 200);
}

static void breaks(struct asked *a)
{
	assert_true(a->goes_on);
	a->goes_on = false;
	a->done(&etcd, "it is away", 0);
}

static const char *range(unsigned cluster, unsigned revision, const char *key)
{
	static char text[512];

	snprintf(text, sizeof(text),
	         "{\"header\":{\"cluster_id\":\"%u\",\"revision\":\"%u\"},\"kvs\":[%s],\"count\":\"%d\"}", cluster,
	         revision, key, *key ? 1 : 0);
	return text;
}

static void tell(const char *text)
{
	assert_true(watch.goes_on);
	buf_adds(&etcd.watch.answer, text);
	etcd.watch.heard(&etcd);
}

/* ---- the tests ---- */

static int begin(void **state)
{
	log_set_sink(hear, NULL);
	list = watch = probe = (struct asked){0};
	said[0] = '\0';
	assert_int_equal(loop_init(&loop, -1, NULL, 8), 0);
	etcd_start(&etcd, &loop, &http, &output, &options);
	assert_string_equal(list.url, "http://one/v3/kv/range");
	return 0;
}

static int end(void **state)
{
	struct call *calls[] = {&etcd.list, &etcd.watch, &etcd.probe};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		buf_release(&calls[i]->answer);
	buf_release(&etcd.range);
	buf_release(&etcd.header);
	buf_release(&etcd.why);
	loop_release(&loop);
	return release(state);
}

static void listed(void)
{
	answer(&list, &etcd.list, range(1, 7, KEY_A));
	assert_string_equal(printed.s, "a:1\n");
}

static void it_watches_from_behind_the_list(void **state)
{
	listed();
	assert_string_equal(watch.url, "http://one/v3/watch");
	assert_non_null(strstr(watch.body, "\"start_revision\":\"8\""));
	assert_non_null(strstr(watch.body, "\"key\":\"L2RiLw==\",\"range_end\":\"L2RiMA==\""));
}

static void what_the_watch_tells_is_a_reason_to_list_again(void **state)
{
	listed();
	tell("{\"result\":{\"header\":{\"revision\":\"7\"},\"created\":true}}\n");
	pass(5000);
	assert_int_equal(list.times, 1);
	tell("{\"result\":{\"header\"");
	assert_int_equal(list.times, 1);
	tell(":{\"revision\":\"9\"},\"events\":[{}]}}\n" CHANGED CHANGED);
	pass(100);
	assert_int_equal(list.times, 2);
	tell(CHANGED); /* it may be later than the list that comes now */
	answer(&list, &etcd.list, range(1, 9, ""));
	assert_string_equal(printed.s, "none\n");
	pass(100);
	assert_int_equal(list.times, 3);
	assert_int_equal(watch.times, 1);
}

static void what_was_compacted_away_is_listed_anew(void **state)
{
	listed();
	tell("{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"99\"}}\n");
	assert_false(watch.goes_on);
	pass(1000);
	assert_int_equal(list.times, 2);
	answer(&list, &etcd.list, range(1, 100, KEY_A));
	assert_non_null(strstr(watch.body, "\"start_revision\":\"101\""));
	assert_string_equal(said, "");
}

static void a_dead_watch_is_found_out(void **state)
{
	listed();
	pass(10000);
	assert_string_equal(probe.url, "http://one/v3/kv/range");
	answer(&probe, &etcd.probe, range(1, 8, KEY_A)); /* another key has changed */
	assert_int_equal(list.times, 1);
	pass(10000);
	answer(&probe, &etcd.probe, range(1, 9, "{\"key\":\"L2RiL2E6MQ==\",\"mod_revision\":\"9\"}"));
	pass(1000);
	assert_int_equal(list.times, 2);
	answer(&list, &etcd.list, range(1, 9, KEY_A));
	assert_int_equal(watch.times, 2);
}

static void all_begins_anew_each_five_minutes(void **state)
{
	listed();
	for (int64_t passed = 0; passed < 300000; passed += 10000) {
		pass(10000);
		if (probe.goes_on)
			answer(&probe, &etcd.probe, range(1, 7, KEY_A));
	}
	pass(0);
	assert_int_equal(list.times, 2);
	assert_false(watch.goes_on);
	listed();
	assert_int_equal(watch.times, 2);
}

static void the_next_url_is_asked_then_there_is_a_pause(void **state)
{
	static const int64_t pauses[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};

	for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
		assert_string_equal(list.url, "http://one/v3/kv/range");
		breaks(&list);
		pass(0);
		assert_string_equal(list.url, "http://two/v3/kv/range");
		breaks(&list);
		pass(pauses[i] - 1);
		assert_false(list.goes_on);
		pass(1);
		assert_true(list.goes_on);
	}
	listed();
	assert_string_equal(said, "http://one answers again");
}

static void another_store_that_is_empty_is_not_believed(void **state)
{
	listed();
	breaks(&watch);
	pass(0);
	answer(&list, &etcd.list, range(2, 9, "")); /* another one */
	assert_string_equal(printed.s, "a:1\n");
	pass(1000);
	answer(&list, &etcd.list, range(1, 6, "")); /* an older state */
	assert_string_equal(printed.s, "a:1\n");
	assert_non_null(strstr(said, "another store than before, or an older state of it"));
	pass(0);
	answer(&list, &etcd.list, range(1, 8, ""));
	assert_string_equal(printed.s, "none\n");
}

static void garbage_changes_nothing(void **state)
{
	static const char *const garbage[] = {"", "<html>", "{}", "{\"error\":\"etcdserver: no leader\"}"};

	listed();
	for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
		if (watch.goes_on)
			tell("{}\n");
		pass(30000);
		answer(&list, &etcd.list, garbage[i]);
		assert_string_equal(printed.s, "a:1\n");
		assert_false(watch.goes_on);
		assert_non_null(strstr(said, "the list stays as it was"));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(it_watches_from_behind_the_list, begin, end),
	        cmocka_unit_test_setup_teardown(what_the_watch_tells_is_a_reason_to_list_again, begin, end),
	        cmocka_unit_test_setup_teardown(what_was_compacted_away_is_listed_anew, begin, end),
	        cmocka_unit_test_setup_teardown(a_dead_watch_is_found_out, begin, end),
	        cmocka_unit_test_setup_teardown(all_begins_anew_each_five_minutes, begin, end),
	        cmocka_unit_test_setup_teardown(the_next_url_is_asked_then_there_is_a_pause, begin, end),
	        cmocka_unit_test_setup_teardown(another_store_that_is_empty_is_not_believed, begin, end),
	        cmocka_unit_test_setup_teardown(garbage_changes_nothing, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
