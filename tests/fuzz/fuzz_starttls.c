/* fuzz_starttls.c - what stands before TLS, by clients and by servers: never more is taken than is there, and what is answered is something. */
#include "base/starttls.h"
#include "input.h"

static void client(enum starttls protocol, uint8_t step, const uint8_t *bytes, size_t n)
{
	struct talk_heard heard;
	struct buf text = BUF_INIT;

	starttls_hear(protocol, step, bytes, n, &heard);
	CHECK(heard.kind <= TALK_WRONG && heard.n_tag <= TALK_TAG_MOST);
	if (heard.kind == TALK_ANSWER || heard.kind == TALK_QUIT || heard.kind == TALK_CANCEL)
		CHECK(heard.take <= n);
	if (heard.kind == TALK_ANSWER || heard.kind == TALK_QUIT) {
		CHECK(heard.answer && heard.step > TALK_BEGIN && heard.step <= TALK_PLAIN);
		starttls_answer(protocol, heard.answer, heard.tag, heard.n_tag, "host.test", &text);
		CHECK(text.len > 0 && text.len < 512);
	}
	buf_release(&text);
}

/* To the end, or as long as something is taken. */
static void server(enum starttls protocol, const uint8_t *bytes, size_t n)
{
	struct ask_heard heard = {.step = 0};

	for (int turns = 0; turns < 5000; turns++) {
		starttls_ask(protocol, heard.step, bytes, n, "host.test", &heard);
		if (heard.kind != ASK_SAY)
			break;
		CHECK(heard.take <= n && (heard.take > 0 || heard.n_say > 0));
		bytes += heard.take;
		n -= heard.take;
	}
	CHECK(heard.kind != ASK_SAY);
	if (heard.kind == ASK_DONE)
		CHECK(heard.take == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	for (enum starttls p = STARTTLS_POSTGRES; p <= STARTTLS_POP3; p++) {
		client(p, data[0] % 2 ? TALK_BEGIN : TALK_GOES_ON, data + 1, size - 1);
		server(p, data + 1, size - 1);
	}
	return 0;
}
