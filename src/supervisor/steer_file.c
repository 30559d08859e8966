/* steer_file.c - the file speaks of servers that tcpproxyctl has changed. */
#include "base/log.h"
#include "ipc/changes.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

static void steer_forgotten(void *arg, const char *server, bool gone, const char *commands)
{
	struct buf text = BUF_INIT;

	(void)arg;
	changes_join(commands, &text);
	if (gone)
		log_warning("%s is no server any more; changes by tcpproxyctl that are forgotten: %s", server, text.s);
	else
		log_warning("the file says something else of %s now, so it holds; changes by tcpproxyctl that are "
		            "forgotten: %s",
		            server, text.s);
	buf_release(&text);
}

void steer_take_file(struct supervisor *s)
{
	changes_take(s->children.workers.world, s->rules.config, steer_forgotten, s);
}
