/*
 * privileges.c - what is done as root last: the helper for files of root's gets its list, the process becomes the service user. See
 * docs/privileges.md.
 */
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "log/logfile.h"
#include "os/caps.h"
#include "os/landlock.h"
#include "os/oom.h"
#include "os/private.h"
#include "supervisor/admin_sockets.h"
#include "supervisor/state.h"

#define OOM_LESS 500 /* the keepers' memory is tiny; what they hold is the connections of all clients */

static void list_admin(const struct supervisor *s, struct files_list *l)
{
	for (size_t i = 0; i < s->admin_sockets.n; i++) {
		const struct admin_socket *a = &s->admin_sockets.list[i];

		if (!a->page)
			files_list_add(l, FILES_REMOVE, a->path);
		if (a->made)
			files_list_add_directory(l, a->made);
	}
	for (size_t i = 0; i < s->rules.config->n_admins; i++)
		if (s->rules.config->admins[i].token)
			files_list_add(l, FILES_READ, s->rules.config->admins[i].token);
}

/* Files of root's that may have to be touched later. */
static struct files_list list_files(const struct supervisor *s)
{
	const struct config *c = s->rules.config;
	struct files_list l = {.n = 0};

	for (char **f = c->files; f && *f; f++)
		files_list_add(&l, FILES_READ, *f);
	for (char **p = c->patterns; p && *p; p++)
		files_list_add_pattern(&l, *p);
	for (size_t i = 0; i < c->n_logs; i++)
		if (c->logs[i].kind == LOG_TO_FILE && logfile_stream_of(c->logs[i].path) < 0)
			files_list_add(&l, FILES_APPEND, c->logs[i].path);
	if (c->pidfile) {
		files_list_add(&l, FILES_REMOVE, c->pidfile);
		files_list_add(&l, FILES_PID, c->pidfile);
	}
	if (c->state) {
		files_list_add(&l, FILES_READ, c->state);
		files_list_add(&l, FILES_NEW, c->state);
		files_list_add(&l, FILES_COMMIT, c->state);
	}
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].listen == LISTEN_UNIX && *c->services[i].path != '@')
			files_list_add(&l, FILES_REMOVE, c->services[i].path);
	list_admin(s, &l);
	return l;
}

static void start_files(struct supervisor *s, const struct identity *id)
{
	struct files_list list = list_files(s);
	const char *missing = !landlock_available()         ? "this kernel has no landlock"
	                      : !caps_may(CAP_DAC_OVERRIDE) ? "CAP_DAC_OVERRIDE cannot be had here"
	                                                    : NULL;

	if (list.n > 0 && (missing || !files_start(&s->files, id, &list)))
		log_warning("%s, so the right to read and write files of root is "
		            "given up: removing the pidfile and Unix sockets, reopening logs, reloading and reading "
		            "lists of servers "
		            "work only where %s may do it",
		            missing ? missing : "no process for it can be started",
		            id->user[0] ? id->user : "the service's user");
	files_list_release(&list);
}

/* The log says what cannot be had (os/private.h). */
void privileges_tell_exposed(struct supervisor *s)
{
	if (files_is_old(&s->files))
		log_warning(
		        "restart once: \"tcpproxy: files\" is of an older version, and may touch more than it should");
	if (!private_is() || private_can_exec())
		return;
	if (s->upgrade.upgraded)
		log_warning("restart once: this was started by a version, or where CAP_NET_BIND_SERVICE was missing, "
		            "so that for an "
		            "instant of each upgrade other processes of the same user can take connections");
	else
		log_warning("CAP_NET_BIND_SERVICE cannot be had here: for an instant of each upgrade other processes "
		            "of the same "
		            "user can take connections, and a reload can open no port below 1024");
}

bool privileges_identity(const struct config *c, struct identity *id)
{
	char why[160];

	if (user_lookup(c->user ? c->user : "nobody", c->group, id, why, sizeof(why)))
		return true;
	log_error("%s", why);
	return false;
}

int privileges_give_up(struct supervisor *s)
{
	/* for an upgrade, and for a new low port in a file that is reloaded */
	const int keep[] = {PRIVATE_CAPABILITY};
	struct identity id;
	int rc;

	if (s->upgrade.upgraded)
		return 0;
	if (geteuid() != 0) {
		if (s->rules.config->user || s->rules.config->group)
			log_warning("not started by root: running as who we are, not as \"user\" and "
			            "\"group\" say");
		return netadmin_start(s, NULL);
	}
	if (!privileges_identity(s->rules.config, &id))
		return EXIT_NO_START;
	rc = netadmin_start(s, &id);
	if (rc != 0)
		return rc;
	start_files(s, &id);
	oom_protect(OOM_LESS);
	sockets_give(&s->rules.listeners, s->rules.config, id.uid, id.gid);
	admin_sockets_give(&s->admin_sockets, &id);
	rc = user_become(&id, keep, ARRAY_LEN(keep));
	if (rc < 0) {
		log_error("cannot become user %s: %s", id.user, strerror(-rc));
		return EXIT_NO_START;
	}
	s->identity = mem_printf(
	        "running as user %s (uid %u, gid %u)%s%s", id.user, (unsigned)id.uid, (unsigned)id.gid,
	        private_can_exec() ? ", keeping CAP_NET_BIND_SERVICE for upgrades and ports of a reload" : "",
	        s->files.fd >= 0 ? ", CAP_DAC_OVERRIDE in a process confined to our files" : "");
	return 0;
}
