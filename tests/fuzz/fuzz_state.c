/*
 * fuzz_state.c - any bytes as the file of `state FILE`: only servers and services of the configuration are changed, the log stays one of
 * lines, and what is written of it is read again as the same.
 */
#include <fcntl.h>
#include "supervisor/steer_restore.c" /* take_text() is its own */
#include "supervisor/steer_state.c"   /* describe() */

#include "input.h"

static const char config_text[] =
        "port 25 as mail\n\tserver 10.0.0.1:25 weight=3 as one\n\tserver 10.0.0.2:25 backup disabled as two\n"
        "port 80 8000-8010\n\tserver 10.0.0.2:1 max=5\n";

static struct supervisor s;

static int open_nowhere(void *arg, const char *path)
{
	return open(path, O_WRONLY | O_CLOEXEC);
}

static void begin(void)
{
	struct log_target nowhere = {.kind = LOG_TO_FILE, .path = "/dev/null"};
	struct config_errors errors = {NULL, 0};
	struct buf error = BUF_INIT;

	s.logger = logger_new(&nowhere, 1, &(struct logger_ops){.open_file = open_nowhere}, &error);
	CHECK(s.logger);
	log_set_sink(check_line, NULL);
	s.rules.config = config_parse("/fuzz", config_text, &(struct config_ops){0}, &errors);
	CHECK(s.rules.config);
	s.rules.config->state = mem_strdup("/state");
	s.children.workers.world = world_new_private();
	CHECK(s.children.workers.world && loop_init(&s.loop, -1, NULL, 16) == 0);
	world_take(s.children.workers.world, s.rules.config);
	steer_take_file(&s);
}

static void forget(void)
{
	struct buf said = BUF_INIT;

	steer_forget_all(&s, &said);
	buf_release(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first = BUF_INIT, second = BUF_INIT;
	char *text = mem_alloc(size + 1);

	if (!s.rules.config)
		begin();
	memcpy(text, data, size);
	text[size] = '\0';
	take_text(&s, text);
	describe(&s, &first);
	forget();
	free(text);
	text = mem_strdup(first.s);
	take_text(&s, text);
	describe(&s, &second);
	CHECK(strcmp(first.s, second.s) == 0);
	forget();
	free(text);
	buf_release(&first);
	buf_release(&second);
	return 0;
}
