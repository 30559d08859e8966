#include "single/single.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "log/logger.h"
#include "servers/dns.h"
#include "single/lists.h"
#include "single/many.h"
#include "single/pump.h"
#include "event/signals.h"
#include "os/caps.h"
#include "os/netlink.h"
#include "os/proc.h"
#include "os/sock.h"
#include "os/systemd.h"
#include "os/user.h"
#include "spawner/spawner.h"
#include "proxy/engine.h"

enum exit_code { SERVED = 0, NOT_CONFIGURED = 1, NO_START = 2, DENIED = 3, UNREACHABLE = 4 };

#define ROWS 2 /* one is used */

static struct single {
	struct engine engine;
	struct trio *trio;
	struct trio *trios[1];
	struct world *world;
	struct config *config,
	        *read; /* with the servers that lines stand for; as it was read, if that is another one */
	struct logger *logger;
	struct names *names;
	struct resolver *resolver;
	struct spawner *spawner;
	struct interface_address *ifs;
	size_t n_ifs;
	struct addr local, client;
	const struct section *section; /* by which it is served */
	enum exit_code code;
	struct signals signals;
	int signal; /* that ended it; 0: none */
} self;

/* ---- the log and the exit code ---- */

static enum exit_code code_of(enum end end)
{
	switch (end) {
	case END_DENIED:
	case END_LIMIT:
		return DENIED;
	case END_CONNECT_FAILED:
	case END_CONNECT_TIMEOUT:
	case END_UNRESOLVED:
		return UNREACHABLE;
	default:
		return SERVED;
	}
}

static void take_message(void *arg, enum message_type type, const void *data, size_t len)
{
	char texts[sizeof(((struct record_message *)0)->texts) + RECORD_TEXTS];
	struct record r;
	uint32_t label;

	(void)arg;
	if (type != MESSAGE_RECORD || !accesslog_read(data, len, self.world, texts, &r, &label))
		return;
	if (r.event == RECORD_CLOSE)
		self.code = code_of(r.end);
	r.format = self.section->log_format;
	if (!r.unwanted)
		logger_record(self.logger, &r);
}

/* Whatever stderr is: if it is the client's socket, nothing may be written there. */
static bool stderr_is_client(void)
{
	struct stat client, err;

	return fstat(2, &err) == 0 && S_ISSOCK(err.st_mode) && fstat(0, &client) == 0 && client.st_dev == err.st_dev &&
	       client.st_ino == err.st_ino;
}

static int start_log(void)
{
	struct log_target fallback = {.kind = LOG_TO_SYSLOG, .facility = LOG_DAEMON};
	const struct logger_ops world = {0};
	const struct config *c = self.config;
	struct buf why = BUF_INIT;

	self.logger = logger_new(c->n_logs ? c->logs : &fallback, c->n_logs ? c->n_logs : 1, &world, &why);
	if (!self.logger) {
		log_error("%s", why.s);
		buf_release(&why);
		return NO_START;
	}
	log_set_sink(logger_sink, self.logger);
	return 0;
}

/* ---- the user ---- */

static int give_up_root(void)
{
	static const int keep[] = {CAP_NET_ADMIN}; /* programs that are executed do not get it */
	const bool as_client = config_calls_as_client(self.config);
	const size_t n_keep = as_client || config_marks(self.config) ? ARRAY_LEN(keep) : 0;
	struct identity id;
	char why[160];
	int rc;

	if (as_client && !self.config->routes.by_hand) {
		log_error("\"source client\" for one connection needs \"routes by=hand\": nobody stays who could set "
		          "up the routing, "
		          "and take it away");
		return NO_START;
	}
	if (geteuid() != 0) {
		if (n_keep)
			caps_raise(CAP_NET_ADMIN, true);
		return 0;
	}
	if (!user_lookup(self.config->user ? self.config->user : "nobody", self.config->group, &id, why, sizeof(why))) {
		log_error("%s", why);
		return NO_START;
	}
	rc = user_become(&id, keep, n_keep);
	if (rc == 0 && n_keep)
		rc = caps_raise(CAP_NET_ADMIN, true);
	if (rc < 0) {
		log_error("cannot become user %s: %s", id.user, strerror(-rc));
		return NO_START;
	}
	return 0;
}

/* ---- the connection ---- */

/* stdin and stdout are one socket (as from inetd), or they are anything else. */
static bool same_socket(void)
{
	struct stat in, out;

	return fstat(0, &in) == 0 && fstat(1, &out) == 0 && S_ISSOCK(in.st_mode) && in.st_dev == out.st_dev &&
	       in.st_ino == out.st_ino;
}

static bool is_stream_socket(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM && !sock_is_listening(fd);
}

/* The descriptor to be relayed. Whatever is not a stream socket gets a socket pair and two pumps. */
static int take_connection(bool stdout_missing)
{
	int fd;

	if (stdout_missing) {
		log_warning(
		        "stdout was closed when we were started, so nobody can take what a server says: the connection "
		        "ends as if its client had reset it");
		return pump_gone();
	}
	if (same_socket() && is_stream_socket(0)) {
		fd = dup(0);
		if (fd < 0 || sock_local(fd, &self.local) < 0 || sock_peer(fd, &self.client) < 0) {
			/* the client is gone already, or it is a pair without names */
			if (fd < 0)
				return -errno;
		}
		return fd;
	}
	return pump_start(0, 1);
}

/* From here on only our copy holds the client: its end is told when we close. */
static void release_standard_streams(bool keep_stderr)
{
	proc_null_streams(keep_stderr ? STDOUT_FILENO : STDERR_FILENO);
}

static const struct section *find_section(bool any_port)
{
	if (any_port)
		return &self.config->sections[0];
	return config_find(self.config, &self.local, self.ifs, self.n_ifs);
}

/* With Accept=yes systemd passes the connection as descriptor 3, too: it must not hold it open. */
static void close_passed_sockets(void)
{
	int n = systemd_listen_fds(NULL);

	for (int fd = SYSTEMD_FIRST_FD; fd < SYSTEMD_FIRST_FD + n; fd++)
		close(fd);
}

static void discard_line(void *arg, enum log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

/* ---- the parts of the daemon, in one process ---- */

static void single_named(void *arg, const struct named *answer)
{
	(void)arg;
	if (names_write(self.world, answer))
		engine_targets_changed(&self.engine);
}

static void single_ended(void *arg)
{
	(void)arg;
	self.engine.loop.stop = true;
}

/* HUP, INT and TERM simply end it; but what we cut short ends with a reset, never with a FIN that would
 * make half a stream look whole. */
static const int ending_signals[] = {SIGHUP, SIGINT, SIGTERM, 0};

static void single_on_signal(void *arg, int sig)
{
	(void)arg;
	self.signal = sig;
	engine_end_all(&self.engine, END_STOPPED);
	self.engine.loop.stop = true;
}

/* Before any thread is started: the mask is theirs, too. */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (const int *sig = ending_signals; *sig; sig++)
		sigaddset(&set, *sig);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static _Noreturn void die_of_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, self.signal);
	raise(self.signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	_exit(128 + self.signal);
}

/* Lines that stand for many servers. */
static int take_many(void)
{
	struct config *now = many_expand(self.config, &self.engine.loop, names_resolver(self.names));
	int rc;

	if (!now)
		return -EINVAL;
	if (now == self.config)
		return 0;
	self.read = self.config;
	self.config = now;
	world_take(self.world, now);
	rc = names_set_config(self.names, now);
	return rc < 0 ? rc : 0;
}

static int start_engine(void)
{
	struct engine_setup setup = {.n_trios = 1,
	                             .trios = self.trios,
	                             .n_events = 16,
	                             .inherited = true,
	                             .all_records = true,
	                             .message = take_message};
	const struct names_ops names = {.named = single_named};
	int rc;

	self.world = world_new_private();
	self.trio = trio_new_private(ROWS);
	if (!self.world || !self.trio)
		return -ENOMEM;
	self.trios[0] = self.trio;
	setup.world = self.world;
	setup.trio = self.trio;
	rc = engine_init(&self.engine, &setup, -1);
	if (rc < 0)
		return rc;
	self.engine.idle = single_ended;
	rc = signals_watch(&self.engine.loop, &self.signals, ending_signals, single_on_signal, NULL);
	if (rc < 0)
		return rc;
	world_take(self.world, self.config);
	rc = names_new(&self.engine.loop, self.world, &names, &self.names);
	if (rc == 0)
		rc = names_set_config(self.names, self.config);
	return rc < 0 ? rc : take_many();
}

static int start_spawner(void)
{
	const struct resolver_setup names = {.loop = &self.engine.loop, .purpose = "names of clients"};
	struct spawner_setup setup = {.loop = &self.engine.loop};
	int pair[2];
	int rc = resolver_new(&names, self.config->resolvers, self.config->n_resolvers, &self.resolver);

	if (rc < 0)
		return rc;
	setup.resolver = self.resolver;
	getrlimit(RLIMIT_NOFILE, &setup.nofile);
	setup.umask = umask(0);
	umask((mode_t)setup.umask);
	rc = spawner_new(&setup, &self.spawner);
	if (rc == 0)
		rc = sock_message_pair(pair);
	if (rc < 0)
		return rc;
	engine_set_channel(&self.engine, pair[0]);
	return spawner_add_channel(self.spawner, pair[1], trio_slots(self.trio), self.trio, ROWS, NULL, NULL);
}

/* The rules, by the same way as in the daemon: packed and loaded. */
static int load_rules(void)
{
	struct config *c = self.config;
	uint32_t *labels = calloc(c->n_sections + 1, sizeof(*labels));
	struct buf block = BUF_INIT;
	struct ruleset *rules;

	for (size_t i = 0; i < c->n_sections && labels; i++)
		labels[i] = labels_add(&self.world->labels, c->sections[i].origin);
	if (!labels)
		return -ENOMEM;
	packed_make(c, labels, self.ifs, (uint32_t)self.n_ifs, &block);
	free(labels);
	rules = ruleset_load(block.s, block.len, 1, self.world);
	if (rules && self.spawner)
		spawner_set_config(self.spawner, packed_config(block.s, block.len), 1);
	buf_release(&block);
	if (!rules)
		return -EINVAL;
	engine_set_rules(&self.engine, rules);
	return 0;
}

static bool needs_programs(const struct section *s)
{
	for (size_t i = 0; i < s->n_servers; i++)
		if (s->servers[i].kind == SERVER_PROGRAM)
			return true;
	return s->acp != NULL;
}

/* A program that was started keeps the client; we wait for it, so that a parent that waits for us waits
 * for both. */
static void programs_ended(void *arg)
{
	(void)arg;
}

static void wait_for_programs(void)
{
	if (self.spawner && self.signal)
		spawner_stop(self.spawner, programs_ended, NULL);
	while (self.spawner && spawner_running(self.spawner) > 0) {
		int rc = loop_turn(&self.engine.loop, 100);

		if (rc < 0)
			loop_failed(rc);
	}
}

/* No process takes over from us, so if we must give up half a stream may not look whole. */
static void run(void)
{
	while (!self.engine.loop.stop) {
		int rc = loop_turn(&self.engine.loop, -1);

		if (rc < 0) {
			engine_end_all(&self.engine, END_LOST);
			loop_failed(rc);
		}
	}
}

static int serve(int fd, const struct section *section)
{
	uint32_t index = section->index;
	int rc = start_engine();

	if (rc == 0 && needs_programs(section))
		rc = start_spawner();
	if (rc == 0)
		rc = load_rules();
	if (rc < 0) {
		log_error("cannot start: %s", strerror(-rc));
		return NO_START;
	}
	self.code = UNREACHABLE;
	mem_serve();
	if (engine_serve(&self.engine, fd, &self.local, &self.client, &self.engine.rules->config->sections[index]) &&
	    engine_live(&self.engine) > 0)
		run();
	if (!self.signal)
		pump_finish();
	wait_for_programs();
	if (self.signal)
		die_of_signal();
	return self.code;
}

int single_run(struct config *config, const struct config_ops *world, bool any_port, bool stdout_missing)
{
	const struct section *section;
	char where[ADDR_TEXT_MAX];
	bool quiet;
	int fd, rc;

	self.config = config;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	hold_signals();
	quiet = stderr_is_client();
	if (quiet)
		log_set_sink(discard_line, NULL);
	close_passed_sockets();
	if (!any_port && !sock_is_stream(0)) { /* tried by hand: not a case for syslog */
		log_error("with \"standalone no\" a connection on stdin is served, as from inetd, but stdin is none");
		return NOT_CONFIGURED;
	}
	rc = start_log();
	if (rc == 0) {
		self.config = lists_taken(config, world);
		rc = give_up_root();
	}
	if (rc != 0)
		return rc;
	fd = take_connection(stdout_missing);
	if (fd < 0) {
		log_error("cannot serve what stdin and stdout are: %s", strerror(-fd));
		return NO_START;
	}
	self.n_ifs = netlink_addresses(&self.ifs);
	section = find_section(any_port);
	if (!section) {
		log_error("serving one connection: nothing is configured for %s", addr_format_port(&self.local, where));
		close(fd);
		return NOT_CONFIGURED;
	}
	self.section = section;
	release_standard_streams(!quiet);
	return serve(fd, section);
}
