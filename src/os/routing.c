#include "os/routing.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include "base/mem.h"
#include "os/netlink_news.h"

#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif

static unsigned last_number;

/* ---- asking ---- */

static int hear(struct mnl_socket *nl, unsigned number, mnl_cb_t each, void *arg)
{
	static char answer[32768]; /* the kernel's messages of a list are no longer */
	ssize_t n;
	int rc = MNL_CB_OK;

	while (rc > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(nl, answer, sizeof(answer));
		if (n < 0)
			return -errno;
		rc = mnl_cb_run(answer, (size_t)n, number, mnl_socket_get_portid(nl), each, arg);
	}
	return rc < 0 ? -errno : 0;
}

/* Asks, and hears all that is answered; a list has the kernel leave out what was not asked for. */
static int ask(struct nlmsghdr *question, mnl_cb_t each, void *arg)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int on = 1, rc = 0;

	if (!nl)
		return -errno;
	question->nlmsg_seq = ++last_number;
	mnl_socket_setsockopt(nl, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(nl, question, question->nlmsg_len) < 0)
		rc = -errno;
	if (rc == 0)
		rc = hear(nl, question->nlmsg_seq, each, arg);
	mnl_socket_close(nl);
	return rc;
}

/* ---- rules ---- */

struct rule_list {
	void (*each)(void *arg, const struct routing_rule *rule);
	void *arg;
};

static int take_attribute(const struct nlattr *a, void *arg)
{
	struct routing_rule *rule = arg;

	switch (mnl_attr_get_type(a)) {
	case FRA_PRIORITY:
		rule->priority = mnl_attr_get_u32(a);
		break;
	case FRA_FWMARK:
		rule->mark = mnl_attr_get_u32(a);
		break;
	case FRA_FWMASK:
		rule->mask = mnl_attr_get_u32(a);
		break;
	case FRA_TABLE:
		rule->table = mnl_attr_get_u32(a);
		break;
	case FRA_PROTOCOL:
		rule->protocol = mnl_attr_get_u8(a);
		break;
	case FRA_SRC:
	case FRA_DST:
	case FRA_IIFNAME:
	case FRA_OIFNAME:
	case FRA_L3MDEV:
	case FRA_UID_RANGE:
	case FRA_IP_PROTO:
	case FRA_SPORT_RANGE:
	case FRA_DPORT_RANGE:
		rule->others = true;
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int take_rule(const struct nlmsghdr *m, void *arg)
{
	const struct fib_rule_hdr *h = mnl_nlmsg_get_payload(m);
	struct routing_rule rule = {.family = h->family, .table = h->table, .others = h->flags & FIB_RULE_INVERT};
	struct rule_list *list = arg;

	mnl_attr_parse(m, sizeof(*h), take_attribute, &rule);
	list->each(list->arg, &rule);
	return MNL_CB_OK;
}

int routing_rules(int family, void (*each)(void *arg, const struct routing_rule *rule), void *arg)
{
	char buffer[256] = {0};
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *h = mnl_nlmsg_put_extra_header(m, sizeof(*h));
	struct rule_list list = {.each = each, .arg = arg};

	m->nlmsg_type = RTM_GETRULE;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->family = (uint8_t)family;
	return ask(m, take_rule, &list);
}

static int change_rule(uint16_t type, uint16_t flags, const struct routing_rule *rule)
{
	char buffer[256] = {0};
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct fib_rule_hdr *h = mnl_nlmsg_put_extra_header(m, sizeof(*h));

	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	h->family = (uint8_t)rule->family;
	h->action = FR_ACT_TO_TBL;
	h->table = RT_TABLE_UNSPEC;
	mnl_attr_put_u32(m, FRA_PRIORITY, rule->priority);
	mnl_attr_put_u32(m, FRA_FWMARK, rule->mark);
	mnl_attr_put_u32(m, FRA_FWMASK, rule->mask);
	mnl_attr_put_u32(m, FRA_TABLE, rule->table);
	mnl_attr_put_u8(m, FRA_PROTOCOL, rule->protocol);
	return ask(m, NULL, NULL);
}

int routing_add_rule(const struct routing_rule *rule)
{
	return change_rule(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
}

int routing_remove_rule(const struct routing_rule *rule)
{
	return change_rule(RTM_DELRULE, 0, rule);
}

/* ---- routes ---- */

static struct rtmsg *put_route(struct nlmsghdr *m, int family, uint32_t table)
{
	struct rtmsg *r = mnl_nlmsg_put_extra_header(m, sizeof(*r));

	r->rtm_family = (uint8_t)family;
	r->rtm_table = RT_TABLE_UNSPEC;
	mnl_attr_put_u32(m, RTA_TABLE, table);
	return r;
}

static int change_local(uint16_t type, uint16_t flags, int family, uint32_t table)
{
	char buffer[256] = {0};
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct rtmsg *r = put_route(m, family, table);
	unsigned lo = if_nametoindex("lo");

	if (lo == 0)
		return -errno;
	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	r->rtm_protocol = ROUTING_OURS;
	r->rtm_scope = RT_SCOPE_HOST;
	r->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(m, RTA_OIF, lo);
	return ask(m, NULL, NULL);
}

int routing_add_local(int family, uint32_t table)
{
	return change_local(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, family, table);
}

int routing_remove_local(int family, uint32_t table)
{
	return change_local(RTM_DELROUTE, 0, family, table);
}

struct route_count {
	uint32_t table;
	unsigned *ours, *others;
};

static int take_table(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) == RTA_TABLE)
		*(uint32_t *)arg = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

/* Older kernels give all tables. */
static int count_route(const struct nlmsghdr *m, void *arg)
{
	const struct rtmsg *r = mnl_nlmsg_get_payload(m);
	struct route_count *count = arg;
	uint32_t table = r->rtm_table;

	mnl_attr_parse(m, sizeof(*r), take_table, &table);
	if (table != count->table)
		return MNL_CB_OK;
	if (r->rtm_protocol == ROUTING_OURS && r->rtm_type == RTN_LOCAL && r->rtm_dst_len == 0)
		(*count->ours)++;
	else
		(*count->others)++;
	return MNL_CB_OK;
}

int routing_count(int family, uint32_t table, unsigned *ret_ours, unsigned *ret_others)
{
	char buffer[256] = {0};
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct route_count count = {.table = table, .ours = ret_ours, .others = ret_others};
	int rc;

	m->nlmsg_type = RTM_GETROUTE;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	put_route(m, family, table);
	*ret_ours = *ret_others = 0;
	rc = ask(m, count_route, &count);
	return rc == -ENOENT ? 0 : rc; /* there is no such table */
}

struct way {
	uint32_t device;
	bool here, gateway;
};

static int take_way_attribute(const struct nlattr *a, void *arg)
{
	struct way *way = arg;

	if (mnl_attr_get_type(a) == RTA_OIF)
		way->device = mnl_attr_get_u32(a);
	else if (mnl_attr_get_type(a) == RTA_GATEWAY)
		way->gateway = true;
	return MNL_CB_OK;
}

static int take_way(const struct nlmsghdr *m, void *arg)
{
	const struct rtmsg *r = mnl_nlmsg_get_payload(m);
	struct way *way = arg;

	way->here = r->rtm_type == RTN_LOCAL;
	mnl_attr_parse(m, sizeof(*r), take_way_attribute, way);
	return MNL_CB_STOP;
}

int routing_way(const struct addr *to, char *device, bool *here, bool *direct)
{
	char buffer[256] = {0};
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct rtmsg *r = mnl_nlmsg_put_extra_header(m, sizeof(*r));
	size_t len = to->family == AF_INET6 ? 16 : 4;
	struct way way = {0};
	int rc;

	m->nlmsg_type = RTM_GETROUTE;
	m->nlmsg_flags = NLM_F_REQUEST;
	r->rtm_family = (uint8_t)to->family;
	r->rtm_dst_len = (uint8_t)(8 * len);
	mnl_attr_put(m, RTA_DST, len, to->ip);
	if (to->scope)
		mnl_attr_put_u32(m, RTA_OIF, to->scope);
	rc = ask(m, take_way, &way);
	if (rc < 0)
		return rc;
	*here = way.here;
	*direct = !way.gateway;
	return if_indextoname(way.device, device) ? 0 : -errno;
}

/* ---- news ---- */

int routing_watch(void)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_RULE, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_RULE,
	                             RTNLGRP_IPV6_ROUTE};

	return netlink_watch(NETLINK_ROUTE, groups, ARRAY_LEN(groups));
}
