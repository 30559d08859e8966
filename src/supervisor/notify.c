/* notify.c - tells those that wait for us how it goes: the process in the foreground, systemd. */
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "os/daemonize.h"
#include "os/systemd.h"
#include "supervisor/state.h"

void notify_ready(const struct supervisor *s, const char *trouble)
{
	char *status = mem_printf("%s%sservices: %zu, listening sockets: %zu, workers: %u", trouble ? trouble : "",
	                          trouble ? "; " : "", s->rules.config->n_services, s->rules.listeners.n,
	                          s->children.workers.n);

	systemd_ready(status);
	free(status);
}

static void feed_watchdog(void *arg)
{
	struct supervisor *s = arg;

	systemd_alive();
	timer_set(&s->loop, &s->watchdog_timer, s->loop.now_ms + systemd_watchdog_ms(), feed_watchdog, s);
}

void notify_started(struct supervisor *s)
{
	if (s->setup->daemon && daemonize_ready() < 0)
		log_warning("the process that started us is gone");
	notify_ready(s, NULL);
	if (systemd_watchdog_ms() > 0)
		feed_watchdog(s);
}
