/*
 * reload.c - a new configuration, taken whole or not at all: it is read, and all that may fail (sockets, the log) is
 * done, before anything changes. The caller hears of it once the workers go by it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/file.h"
#include "os/netlink.h"
#include "os/systemd.h"
#include "supervisor/admin_sockets.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* ---- reading it again, with the rights that are left ---- */

static char *reload_read_file(void *arg, const char *path, const char **why)
{
	struct supervisor *s = arg;

	return files_read(&s->files, path, why);
}

static char **reload_glob(void *arg, const char *pattern)
{
	struct supervisor *s = arg;

	return files_glob(&s->files, pattern);
}

static struct config *read_config(struct supervisor *s, struct buf *why)
{
	struct config_ops world = *s->setup->world;
	struct config_errors errors = {NULL, 0};
	struct config *c;

	world.arg = s;
	world.read_file = reload_read_file;
	world.glob = reload_glob;
	c = s->setup->reload(s->setup->arg, &world, &errors);
	for (size_t i = 0; i < errors.n; i++) {
		config_error_format(&errors.list[i], why);
		buf_addc(why, '\n');
	}
	if (why->s)
		log_error_lines("", why->s);
	config_errors_release(&errors);
	return c;
}

/* ---- what only a start can change ---- */

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static void tell_unchangeable(const struct config *now, const struct config *next)
{
	const struct {
		const char *name;
		bool changed;
	} list[] = {
	        {"workers", now->workers != next->workers},
	        {"user", !same_text(now->user, next->user)},
	        {"group", !same_text(now->group, next->group)},
	        {"pidfile", !same_text(now->pidfile, next->pidfile)},
	        {"standalone", now->standalone != next->standalone},
	        {"routes", memcmp(&now->routes, &next->routes, sizeof(now->routes)) != 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (list[i].changed)
			log_warning("reload: a changed \"%s\" takes effect at the next start", list[i].name);
}

void reload_tell_warnings(const struct config *c)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < c->warnings.n; i++) {
		buf_clear(&text);
		config_error_format(&c->warnings.list[i], &text);
		log_warning("%s", text.s);
	}
	buf_release(&text);
}

/* ---- the reload ---- */

static bool reconfigure_log(struct supervisor *s, const struct config *next, struct buf *why)
{
	if (next->n_logs == 0 || logger_reconfigure(s->logger, next->logs, next->n_logs, why))
		return true;
	log_error("reload: %s", why->s);
	return false;
}

/* From here on nothing can fail. */
static void take(struct supervisor *s, struct config *read, struct config *next, struct sockets *sockets)
{
	struct sockets before = s->rules.listeners;

	tell_unchangeable(s->rules.config, next);
	s->rules.listeners = *sockets;
	sockets_tune(&s->rules.listeners, next, s->ifs, s->n_ifs);
	rules_take(s, next);
	members_took(s, read);
	sockets_leave(&before, &s->rules.listeners);
	stop_unlink(s, &before, &s->rules.listeners);
	sockets_close(&before, &s->rules.listeners);
}

/* Those that were opened for it. */
static void give_up(struct supervisor *s, struct sockets *sockets)
{
	stop_unlink(s, sockets, &s->rules.listeners);
	sockets_close(sockets, &s->rules.listeners);
}

static bool reload(struct supervisor *s, struct buf *why)
{
	struct interface_address *ifs = s->ifs;
	size_t n_ifs = s->n_ifs;
	struct admin_sockets admin;
	struct sockets sockets;
	struct config *read = read_config(s, why), *next = read ? members_expand(s, read, why) : NULL;

	if (!next) {
		config_free(read);
		log_error("reload: %s has errors: nothing has changed", s->setup->config_path);
		return false;
	}
	s->n_ifs = netlink_addresses(&s->ifs);
	if (network_too_late(&s->network, next)) {
		buf_adds(why, network_too_late(&s->network, next));
		log_error("reload: %s: nothing has changed", why->s);
	} else if (!sockets_open(&s->rules.listeners, next, s->ifs, s->n_ifs, &s->network.blanks, &sockets, why)) {
		log_error_lines("reload: ", why->s);
		log_error("reload: nothing has changed");
	} else if (!admin_sockets_open(&s->files, next, &s->admin_sockets, &admin, why)) {
		log_error("reload: %s: nothing has changed", why->s);
		give_up(s, &sockets);
	} else if (!reconfigure_log(s, next, why)) {
		log_error("reload: nothing has changed");
		admin_sockets_close(&s->files, &admin, &s->admin_sockets);
		give_up(s, &sockets);
	} else {
		free(ifs);
		take(s, read, next, &sockets);
		reload_tell_warnings(read);
		steer_tell_changes(s);
		steer_state_reload(s);
		admin_sockets_change(&s->files, &s->admin_sockets, &admin, s->admin_server);
		page_child_reload(&s->children.page);
		checker_child_reload(&s->children.checker);
		return true;
	}
	if (next != read)
		config_free(next);
	config_free(read);
	s->members.events->look_after(s);
	free(s->ifs);
	s->ifs = ifs;
	s->n_ifs = n_ifs;
	return false;
}

static void note_reload(struct totals *totals, bool done)
{
	atomic_fetch_add(done ? &totals->reloads : &totals->reloads_failed, 1);
	atomic_store(&totals->reload_failed, !done);
	atomic_store(&totals->reload_wall_us, clock_wall_us());
}

/* The caller that has asked for it. */
struct asker {
	struct supervisor *supervisor;
	void (*done)(void *arg, bool ok, const char *text);
	void *arg;
};

static void answer(const struct asker *a, bool ok, const char *text)
{
	if (a->done)
		a->done(a->arg, ok, text);
}

static void in_force(void *arg, const char *missing)
{
	struct asker *a = arg;
	struct supervisor *s = a->supervisor;
	char *text = missing ? mem_printf("%s holds, but not yet for %s: no answer (stopped?); what was before holds "
	                                  "there until "
	                                  "there is one",
	                                  s->setup->config_path, missing)
	                     : mem_printf("%s is in force", s->setup->config_path);

	if (missing)
		log_warning("reload: %s", text);
	else
		log_info("reload: %s", text);
	notify_ready(s, missing ? text : NULL);
	answer(a, !missing, text);
	free(text);
	free(a);
}

static void has_failed(const struct asker *a, const char *why)
{
	char *trouble = mem_printf("reload failed, nothing has changed: %s", why);

	notify_ready(a->supervisor, trouble);
	answer(a, false, trouble);
	free(trouble);
}

void reload_begin(struct supervisor *s, void (*done)(void *arg, bool ok, const char *text), void *arg)
{
	struct asker a = {s, done, arg}, *waiting;
	struct buf why = BUF_INIT;
	bool ok;

	if (phase_ask(s->phase, REQUEST_RELOAD, "reload")) {
		buf_addf(&why, "%s: nothing has changed", phase_refuses(s->phase, REQUEST_RELOAD));
		answer(&a, false, why.s);
	} else if (!s->setup->config_path) {
		checker_child_refresh(&s->children.checker);
		log_info("reload: there is no configuration file, so nothing has changed");
		answer(&a, false, "there is no configuration file, so nothing has changed");
	} else {
		systemd_reloading();
		ok = reload(s, &why);
		note_reload(&s->children.workers.world->totals, ok);
		if (!ok) {
			has_failed(&a, why.s ? why.s : "");
		} else {
			waiting = mem_alloc(sizeof(*waiting));
			*waiting = a;
			told_wait(&s->children.workers, in_force, waiting);
		}
	}
	buf_release(&why);
}
