/*
 * obstacles.c - what was found to be in the way (docs/source-client.md has the measurements):
 *
 *   rules that catch marked packets before ours; lo that is down; where `routes by=hand` is, what is missing
 *   src_valid_mark    the answers of servers elsewhere carry the mark when the kernel looks whether their source is plausible, and it finds
 *                     that this is an address of its own: dropped. wg-quick sets it
 *   rp_filter 1       they are dropped if they do not come by the interface that leads to the server
 *   masquerading      servers elsewhere see this machine's address after all
 */
#include "network/obstacles.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/nft.h"
#include "os/routing.h"
#include "os/sock.h"
#include "os/sysctl.h"

/* ---- rules ---- */

struct rules_look {
	const struct routes *routes;
	struct buf *lines;
	int family;
	bool leads; /* by=hand: a rule leads the mark to a table */
	uint32_t table;
};

static bool catches(const struct routing_rule *rule, const struct routes *r)
{
	return !rule->others && (r->mark & rule->mask) == rule->mark;
}

static void look_at(void *arg, const struct routing_rule *rule)
{
	struct rules_look *l = arg;

	if (rule->priority == 0 || !catches(rule, l->routes)) /* 0: the addresses of this machine */
		return;
	if (l->routes->by_hand) {
		if (!l->leads && rule->mark) {
			l->leads = true;
			l->table = rule->table;
		}
		return;
	}
	if (rule->priority < l->routes->priority)
		buf_addf(l->lines,
		         "another rule at priority %u catches them (ip %s rule): \"routes priority=N\" puts ours "
		         "before it\n",
		         rule->priority, l->family == AF_INET6 ? "-6" : "-4");
}

static void look_at_rules(const struct routes *r, int family, struct buf *lines)
{
	struct rules_look l = {.routes = r, .lines = lines, .family = family};
	const char *word = family == AF_INET6 ? "-6" : "-4";
	unsigned ours = 0, others = 0;

	routing_rules(family, look_at, &l);
	if (!r->by_hand)
		return;
	if (!l.leads) {
		buf_addf(lines,
		         "routes by=hand, but no rule leads the mark 0x%x/0x%x to a table (ip %s rule add fwmark "
		         "0x%x/0x%x lookup N)\n",
		         r->mark, r->mask, word, r->mark, r->mask);
		return;
	}
	routing_count(family, l.table, &ours, &others);
	if (ours + others == 0)
		buf_addf(lines,
		         "routes by=hand, but table %u has no route (ip %s route add local default dev lo table %u)\n",
		         l.table, word, l.table);
}

/* ---- numbers of the kernel's ---- */

static long number_of(const char *family, const char *device, const char *name)
{
	char *path = mem_printf("net/%s/conf/%s/%s", family, device, name);
	long now = 0;

	if (sysctl_get(path, &now) < 0)
		now = 0;
	free(path);
	return now;
}

/* The one of all and that of the device: the greater counts, says the kernel. */
static void look_at_device(const char *device, struct buf *lines)
{
	long rp = number_of("ipv4", device, "rp_filter"), all = number_of("ipv4", "all", "rp_filter");

	if (rp == 1 && all < 2)
		buf_addf(lines,
		         "net.ipv4.conf.%s.rp_filter is 1: answers of servers there are dropped; it must be 0 or 2 "
		         "(unless all of "
		         "them come by the interface that leads to the servers)\n",
		         device);
	else if (all == 1 && rp < 2)
		buf_addf(lines,
		         "net.ipv4.conf.all.rp_filter is 1: answers of servers at %s are dropped; it must be 0 or 2 "
		         "(unless all of "
		         "them come by the interface that leads to the servers)\n",
		         device);
	if (number_of("ipv4", device, "src_valid_mark") || number_of("ipv4", "all", "src_valid_mark"))
		buf_addf(lines,
		         "net.ipv4.conf.%s.src_valid_mark is 1: answers of servers there are dropped; it must be 0\n",
		         number_of("ipv4", device, "src_valid_mark") ? device : "all");
}

static void look_at_hand_made_numbers(struct buf *lines)
{
	static const char *const paths[] = {"net/ipv4/tcp_fwmark_accept", "net/ipv4/fwmark_reflect"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		long now = 0;

		if (sysctl_get(paths[i], &now) == 0 && now == 0)
			buf_addf(lines,
			         "routes by=hand, but %s is 0: servers of this machine do not answer; it must be 1\n",
			         paths[i]);
	}
}

/* ---- servers ---- */

struct device_list {
	char names[32][IF_NAMESIZE];
	size_t n;
};

static bool is_new(struct device_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->names[i], name))
			return false;
	if (l->n < ARRAY_LEN(l->names))
		snprintf(l->names[l->n++], IF_NAMESIZE, "%s", name);
	return true;
}

static void look_at_server(const struct server *server, struct device_list *seen, struct buf *lines)
{
	char device[IF_NAMESIZE], text[ADDR_TEXT_MAX];
	bool here, direct;

	if (server->kind != SERVER_HOST || server->addr.family == AF_UNSPEC ||
	    routing_way(&server->addr, device, &here, &direct) < 0 || here)
		return;
	if (!direct)
		buf_addf(lines,
		         "%s is reached through %s, but its answers may take another way: we must be its gateway\n",
		         addr_format(&server->addr, text), device);
	if (server->addr.family == AF_INET && is_new(seen, device))
		look_at_device(device, lines);
}

/* ---- others' rules of the firewall ---- */

static void look_at_firewall(struct buf *lines)
{
	struct buf text = BUF_INIT;
	char *save = NULL;
	bool source_nat = false, told = false;

	nft_run("list ruleset", &text);
	for (char *line = text.s ? strtok_r(text.s, "\n", &save) : NULL; line && !told;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strstr(line, "type nat hook"))
			source_nat = strstr(line, "postrouting") != NULL;
		told = source_nat && (strstr(line, "masquerade") || strstr(line, "snat "));
		if (told)
			buf_addf(lines,
			         "a rule of nft changes the source of what leaves (%s): servers elsewhere may see this "
			         "machine's "
			         "address, not the client's\n",
			         line + strspn(line, " \t"));
	}
	buf_release(&text);
}

/* ---- all ---- */

static bool lo_is_up(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &r) == 0 && r.ifr_flags & IFF_UP;

	if (fd >= 0)
		close(fd);
	return up;
}

void obstacles_find(const struct config *c, struct buf *lines)
{
	struct device_list seen = {.n = 0};

	if (!lo_is_up())
		buf_adds(lines, "lo is down (ip link set lo up): answers cannot come to us\n");
	look_at_rules(&c->routes, AF_INET, lines);
	look_at_rules(&c->routes, AF_INET6, lines);
	if (c->routes.by_hand)
		look_at_hand_made_numbers(lines);
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; c->sections[i].source_client && k < c->sections[i].n_servers; k++)
			look_at_server(&c->sections[i].servers[k], &seen, lines);
	look_at_firewall(lines);
}
