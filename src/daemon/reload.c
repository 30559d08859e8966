#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/supervisor.h"
#include "os/file.h"
#include "os/netlink.h"
#include "os/shm.h"
#include "os/systemd.h"
#include "proxy/ruleset.h"

/* ---- the configuration as everybody else gets it ---- */

/* Connections that were accepted before are written in the new form, too: by where their rule stands. */
static void set_format(struct supervisor *s, uint32_t label, const char *format)
{
	if (label >= WORLD_LABELS)
		return;
	free(s->formats[label]);
	s->formats[label] = format ? mem_strdup(format) : NULL;
}

int supervisor_pack_rules(struct supervisor *s)
{
	uint32_t *labels = mem_alloc(s->config->n_sections * sizeof(*labels) + 1);
	struct buf block = BUF_INIT;
	int fd;

	for (size_t i = 0; i < s->config->n_sections; i++) {
		labels[i] = labels_add(&s->world->labels, s->config->sections[i].origin);
		set_format(s, labels[i], s->config->sections[i].log_format);
	}
	for (size_t i = 0; i < s->config->n_services; i++)
		services_add(&s->world->services, &s->config->services[i]);
	ruleset_pack(s->config, labels, s->ifs, (uint32_t)s->n_ifs, &block);
	fd = shm_new_sealed("tcpproxy-rules", block.s, block.len);
	buf_release(&block);
	free(labels);
	if (fd < 0)
		return fd;
	if (s->rules_fd >= 0)
		close(s->rules_fd);
	s->rules_fd = fd;
	s->generation++;
	return 0;
}

void supervisor_send_listeners(struct supervisor *s, struct crew *to, const struct sockets *now,
			       const struct sockets *before)
{
	struct wire w = {.type = WIRE_LISTEN};
	int fds[SOCK_MAX_FDS];

	for (size_t i = 0; i < now->n; i++) {
		bool fresh = !before || !sockets_has(before, now->list[i].id);

		if (fresh) {
			w.ids[w.n] = now->list[i].id;
			fds[w.n++] = now->list[i].fd;
		}
		if (w.n == SOCK_MAX_FDS || (i + 1 == now->n && w.n > 0)) {
			if (to)
				crew_send(to, &w, fds, w.n);
			else
				crews_send(s, &w, fds, w.n);
			w.n = 0;
		}
	}
}

static void send_removed(struct supervisor *s, const struct sockets *now,
			 const struct sockets *before)
{
	struct wire w = {.type = WIRE_UNLISTEN};

	for (size_t i = 0; i < before->n; i++) {
		if (!sockets_has(now, before->list[i].id))
			w.ids[w.n++] = before->list[i].id;
		if (w.n == SOCK_MAX_FDS || (i + 1 == before->n && w.n > 0)) {
			crews_send(s, &w, NULL, 0);
			w.n = 0;
		}
	}
}

/* ---- reading it again, with the rights that are left ---- */

static char *read_file(void *arg, const char *path, const char **why)
{
	struct supervisor *s = arg;
	char *text = s->setup->world->read_file(s->setup->world->arg, path, why);
	int fd;

	if (text || s->files.fd < 0)
		return text;
	fd = files_open_read(&s->files, path);
	if (fd < 0)
		return NULL;
	text = file_read_all(fd, why);
	close(fd);
	return text;
}

/* The first of them is what is left in `lines`. */

static struct config *read_config(struct supervisor *s, struct buf *why)
{
	struct config_world world = *s->setup->world;
	struct config_errors errors = {NULL, 0};
	struct config *c;

	world.arg = s;
	world.read_file = read_file;
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
	const struct { const char *name; bool changed; } list[] = {
		{"workers", now->workers != next->workers},
		{"user", !same_text(now->user, next->user)},
		{"group", !same_text(now->group, next->group)},
		{"pidfile", !same_text(now->pidfile, next->pidfile)},
		{"standalone", now->standalone != next->standalone},
	};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (list[i].changed)
			log_warning("reload: a changed \"%s\" takes effect at the next start",
				    list[i].name);
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
static void take(struct supervisor *s, struct config *next, struct sockets *sockets)
{
	struct sockets before = s->sockets;
	struct wire rules = {.type = WIRE_RULES};

	tell_unchangeable(s->config, next);
	config_free(s->config);
	s->config = next;
	s->sockets = *sockets;
	names_set_config(s->names, next);
	sockets_tune(&s->sockets, next, s->ifs, s->n_ifs);
	if (supervisor_pack_rules(s) == 0) {
		rules.generation = s->generation;
		if (s->spawner_control.fd >= 0)
			sock_send_message(s->spawner_control.fd, &rules, sizeof(rules), &s->rules_fd,
					  1);
		crews_send(s, &rules, &s->rules_fd, 1);
	}
	supervisor_send_listeners(s, NULL, &s->sockets, &before);
	send_removed(s, &s->sockets, &before);
	sockets_close(&before, &s->sockets);
}

static bool reload(struct supervisor *s, struct buf *why)
{
	struct interface_address *ifs = s->ifs;
	size_t n_ifs = s->n_ifs;
	struct admin_sockets admin;
	struct sockets sockets;
	struct config *next;

	next = read_config(s, why);
	if (!next) {
		log_error("reload: %s has errors: nothing has changed", s->setup->config_path);
		return false;
	}
	s->n_ifs = netlink_addresses(&s->ifs);
	if (!sockets_open(&s->sockets, next, s->ifs, s->n_ifs, &sockets, why)) {
		log_error_lines("reload: ", why->s);
		log_error("reload: nothing has changed");
	} else if (!admin_sockets_open(s, next, &s->admin_sockets, &admin, why)) {
		log_error("reload: %s: nothing has changed", why->s);
		sockets_close(&sockets, &s->sockets);
	} else if (!reconfigure_log(s, next, why)) {
		log_error("reload: nothing has changed");
		admin_sockets_close(s, &admin, &s->admin_sockets);
		sockets_close(&sockets, &s->sockets);
	} else {
		free(ifs);
		take(s, next, &sockets);
		admin_change_sockets(s, &admin);
		page_reload(s);
		log_info("reload: %s is in force", s->setup->config_path);
		return true;
	}
	config_free(next);
	free(s->ifs);
	s->ifs = ifs;
	s->n_ifs = n_ifs;
	return false;
}

static void note_reload(struct deeds *deeds, bool done)
{
	atomic_fetch_add(done ? &deeds->reloads : &deeds->reloads_failed, 1);
	atomic_store(&deeds->reload_failed, !done);
	atomic_store(&deeds->reload_wall_us, clock_wall_us());
}

bool supervisor_reload(struct supervisor *s, struct buf *text)
{
	struct buf why = BUF_INIT;
	char *trouble = NULL;
	bool done;

	if (!s->setup->config_path) {
		log_info("reload: there is no configuration file, so nothing has changed");
		if (text)
			buf_adds(text, "there is no configuration file, so nothing has changed");
		return false;
	}
	systemd_reloading();
	done = reload(s, &why);
	note_reload(&s->world->deeds, done);
	if (!done)
		trouble = mem_printf("reload failed, nothing has changed: %s", why.s ? why.s : "");
	if (text)
		buf_addf(text, "%s%s", trouble ? trouble : s->setup->config_path,
			 trouble ? "" : " is in force");
	supervisor_tell_ready(s, trouble);
	free(trouble);
	buf_release(&why);
	return done;
}
