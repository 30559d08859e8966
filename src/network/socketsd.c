#include "network/socketsd.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "network/claims.h"
#include "network/obstacles.h"
#include "network/routes.h"
#include "network/spaces.h"
#include "os/caps.h"
#include "os/netlink_news.h"
#include "os/nft.h"
#include "os/proc.h"
#include "os/routing.h"
#include "os/sandbox.h"
#include "os/sock.h"

#define LOOK_MS     60000 /* whether the routing is as it is to be */
#define SOON_MS     200   /* after news: several come together */
#define AGAIN_MS    100   /* a socket could not be made */
#define NO_PIDFD_MS 1000

enum {
	WATCH_CONTROL,
	WATCH_OTHER,
	WATCH_ROUTING,
	WATCH_NFT,
	WATCH_CLAIMS,
	WATCH_QUEUES = WATCH_CLAIMS + CLAIMS,
	WATCHES = WATCH_QUEUES + BLANK_KINDS_MAX
};

/* What both have in common. */
struct shared {
	atomic_int over; /* all is done: the watcher ends, too */
};

static struct socketsd {
	const struct socketsd_setup *setup;
	struct shared *shared;
	struct claims claims;
	struct routes_wanted wanted;
	int control_fd; /* -1: the supervisor has gone */
	int queues[BLANK_KINDS_MAX];
	int other;     /* pidfd of the one that watches, if we make; < 0: none */
	pid_t watcher; /* it was made, and is not known to be dead; 0: there is none */
	int routing_news, nft_news;
	int64_t look_ms;  /* when the routing is looked at next */
	int64_t again_ms; /* until then no socket is made; 0: now */
} self;

static bool sets_up(void)
{
	const struct config *c = self.setup->config;

	return (config_calls_as_client(c) || config_intercepts(c)) && !c->routes.by_hand;
}

/* ---- what is said ---- */

static void say(bool failed, const struct buf *text)
{
	struct network_said said = {.failed = failed};

	snprintf(said.text, sizeof(said.text), "%s", text->s ? text->s : "");
	if (self.control_fd >= 0)
		sock_send_message(self.control_fd, &said, sizeof(said), NULL, 0);
}

/* ---- the end ---- */

/* The process that watches sees that it is over, and ends, too. */
static _Noreturn void end(void)
{
	atomic_store(&self.shared->over, 1);
	_exit(0);
}

static _Noreturn void take_down_and_end(void)
{
	struct buf said = BUF_INIT;

	if (sets_up()) {
		routes_take_down(&self.setup->config->routes);
		routes_clean(&said); /* what others have left, too */
	}
	end();
}

/* ---- the routing ---- */

static void look(void)
{
	struct buf said = BUF_INIT;

	self.look_ms = clock_mono_ms() + LOOK_MS;
	if (!sets_up())
		return;
	routes_mend(&self.wanted, &said);
	if (said.len)
		say(false, &said);
	buf_release(&said);
}

static void hear_news(int fd)
{
	int64_t soon = clock_mono_ms() + SOON_MS;

	netlink_drop_news(fd);
	if (soon < self.look_ms)
		self.look_ms = soon;
}

/* ---- blank sockets ---- */

static int fill_there(size_t i)
{
	const struct blank_kind *kind = &self.setup->kinds[i];
	int rc;

	if (!kind->netns)
		return blank_fill(self.queues[i], kind);
	if (!spaces_enter(kind->netns)) {
		self.again_ms = clock_mono_ms() + AGAIN_MS; /* one word for all that come until then */
		return blank_fill_absent(self.queues[i]);
	}
	rc = blank_fill(self.queues[i], kind);
	spaces_leave();
	return rc;
}

/* true: somebody can still read there. */
static bool fill(size_t i)
{
	int rc = fill_there(i);

	if (rc == 0)
		return true;
	if (rc != -EPIPE && rc != -ECONNRESET) {
		self.again_ms = clock_mono_ms() + AGAIN_MS;
		return true;
	}
	close(self.queues[i]);
	self.queues[i] = -1;
	return false;
}

static bool anybody_reads(void)
{
	for (size_t k = 0; k < BLANK_KINDS_MAX; k++)
		if (self.queues[k] >= 0)
			return true;
	return false;
}

/* ---- the pair ---- */

static _Noreturn void make(void);
static _Noreturn void watch(int maker);

/* Another process to watch this one. There are never two that make sockets: who watches is born with what it needs for that, and
 * one that cannot be looked at for want of a descriptor is not taken for dead. What cannot be had is asked for again
 * within NO_PIDFD_MS. */
static void start_watcher(void)
{
	int me;

	if (self.watcher > 0)
		self.other = proc_pidfd(self.watcher);
	if (self.watcher > 0 && self.other != -ESRCH)
		return;
	self.watcher = 0;
	me = proc_pidfd(getpid());
	if (me < 0)
		return;
	self.watcher = fork();
	if (self.watcher == 0)
		watch(me);
	close(me);
	if (self.watcher > 0)
		self.other = proc_pidfd(self.watcher);
}

static _Noreturn void watch(int maker)
{
	proc_title("tcpproxy: sockets (watches)");
	if (self.routing_news >= 0)
		close(self.routing_news);
	if (self.nft_news >= 0)
		close(self.nft_news);
	while (!proc_pidfd_dead(maker))
		poll(&(struct pollfd){.fd = maker, .events = POLLIN}, 1, -1);
	close(maker);
	if (atomic_load(&self.shared->over))
		_exit(0);
	make();
}

/* ---- the life ---- */

static void hear_control(void)
{
	char word[8];
	int len = sock_recv_message(self.control_fd, word, sizeof(word), NULL, NULL);

	if (len > 0)
		take_down_and_end();
	if (len == -EAGAIN || len == -EINTR)
		return;
	close(self.control_fd);
	self.control_fd = -1;
}

static void hear_claim(int fd)
{
	if (claims_answer(fd, self.control_fd >= 0 ? self.setup->supervisor : 0)) {
		claims_drop(&self.claims);
		end();
	}
}

static void list_watches(struct pollfd p[WATCHES], bool may_make)
{
	p[WATCH_CONTROL] = (struct pollfd){.fd = self.control_fd, .events = POLLIN};
	p[WATCH_OTHER] = (struct pollfd){.fd = self.other, .events = POLLIN};
	p[WATCH_ROUTING] = (struct pollfd){.fd = self.routing_news, .events = POLLIN};
	p[WATCH_NFT] = (struct pollfd){.fd = self.nft_news, .events = POLLIN};
	for (size_t i = 0; i < CLAIMS; i++)
		p[WATCH_CLAIMS + i] = (struct pollfd){.fd = self.claims.fds[i], .events = POLLIN};
	for (size_t i = 0; i < BLANK_KINDS_MAX; i++)
		p[WATCH_QUEUES + i] = (struct pollfd){.fd = self.queues[i], .events = may_make ? POLLOUT : 0};
}

static int patience(int64_t now, bool may_make)
{
	int64_t until = self.look_ms;

	if (!may_make && self.again_ms < until)
		until = self.again_ms;
	if (self.other < 0 && now + NO_PIDFD_MS < until)
		until = now + NO_PIDFD_MS;
	return until > now ? (int)(until - now) : 0;
}

static void turn(void)
{
	struct pollfd p[WATCHES];
	int64_t now = clock_mono_ms();
	bool may_make = now >= self.again_ms;

	list_watches(p, may_make);
	if (poll(p, WATCHES, patience(now, may_make)) < 0)
		return;
	if (p[WATCH_CONTROL].revents)
		hear_control();
	if (p[WATCH_OTHER].revents) {
		close(self.other);
		self.other = -1;
		self.watcher = 0;
	}
	if (self.other < 0)
		start_watcher();
	if (p[WATCH_ROUTING].revents)
		hear_news(self.routing_news);
	if (p[WATCH_NFT].revents)
		hear_news(self.nft_news);
	for (size_t i = 0; i < CLAIMS; i++)
		if (p[WATCH_CLAIMS + i].revents)
			hear_claim(self.claims.fds[i]);
	for (size_t i = 0; i < BLANK_KINDS_MAX; i++)
		if (p[WATCH_QUEUES + i].revents)
			fill(i);
	if (clock_mono_ms() >= self.look_ms)
		look();
}

static _Noreturn void make(void)
{
	proc_title("tcpproxy: sockets");
	self.other = -1;
	self.watcher = 0;
	self.routing_news = sets_up() ? routing_watch() : -1;
	self.nft_news = sets_up() ? nft_watch() : -1;
	self.look_ms = 0;
	while (self.control_fd >= 0 || anybody_reads())
		turn();
	take_down_and_end();
}

/* ---- the beginning ---- */

/* As whom tcpproxy runs. */
static uid_t ourselves(void)
{
	return self.setup->identity ? self.setup->identity->uid : geteuid();
}

static bool begin(struct buf *text)
{
	const struct routes *r = &self.setup->config->routes;
	struct buf warnings = BUF_INIT;
	bool ok = true;

	self.claims = (struct claims){.fds = {-1, -1, -1}};
	if (sets_up())
		ok = routes_want(&self.wanted, self.setup->config, ourselves(), text) &&
		     claims_take(&self.claims, r, text) && routes_set_up(&self.wanted, text, &warnings);
	if (ok && spaces_open(self.setup->config) < 0) {
		buf_adds(text,
		         "\"netns\" cannot be had: our own network namespace cannot be opened (/proc/self/ns/net)");
		ok = false;
	}
	if (ok && config_calls_as_client(self.setup->config))
		obstacles_find(self.setup->config, &warnings);
	if (ok && warnings.len)
		buf_adds(text, warnings.s);
	buf_release(&warnings);
	return ok;
}

static bool give_up_root(void)
{
	static const int keep[] = {CAP_NET_ADMIN, CAP_SYS_ADMIN};
	const bool enters = config_enters_netns(self.setup->config);

	if (self.setup->identity && user_become(self.setup->identity, keep, enters ? 2 : 1) < 0)
		return false;
	return caps_raise(CAP_NET_ADMIN, true) == 0 && (!enters || caps_raise(CAP_SYS_ADMIN, true) == 0);
}

static void close_the_rest(void)
{
	int keep[1 + BLANK_KINDS_MAX] = {self.control_fd};

	memcpy(keep + 1, self.queues, sizeof(self.queues));
	proc_close_except(3, keep, ARRAY_LEN(keep));
}

_Noreturn void socketsd_run(const struct socketsd_setup *setup)
{
	struct buf text = BUF_INIT;
	bool ok;

	proc_title("tcpproxy: sockets");
	mem_serve();
	proc_leave_terminal();
	proc_reset_signals();
	signal(SIGTERM, SIG_IGN); /* a manager tells all processes: the supervisor is the one that ends us */
	signal(SIGCHLD, SIG_IGN); /* no watcher that has died is waited for */
	self = (struct socketsd){.setup = setup, .control_fd = setup->control_fd, .other = -1};
	memset(self.queues, -1, sizeof(self.queues));
	memcpy(self.queues, setup->queues, setup->n * sizeof(self.queues[0]));
	close_the_rest();
	proc_null_streams(2);
	self.shared = mmap(NULL, sizeof(*self.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ok = self.shared != MAP_FAILED && begin(&text);
	if (ok && !give_up_root()) {
		buf_adds(&text, "CAP_NET_ADMIN cannot be kept");
		if (sets_up())
			routes_take_down(&setup->config->routes);
		ok = false;
	}
	if (ok)
		sandbox_sockets();
	say(!ok, &text);
	buf_release(&text);
	if (!ok)
		_exit(1);
	make();
}
