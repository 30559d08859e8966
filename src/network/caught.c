#include "network/caught.h"

#include <stdio.h>
#include "os/user.h"

/* Elsewhere, and only one. */
#define NOT_OURS "fib daddr type != { local, broadcast, multicast, anycast }"

static void add_ports(const struct interception *i, struct buf *out)
{
	buf_adds(out, " tcp dport {");
	for (size_t k = 0; k < i->n_to; k++)
		buf_addf(out, i->to[k].first == i->to[k].last ? "%s %u" : "%s %u-%u", k ? "," : "", i->to[k].first,
		         i->to[k].last);
	buf_adds(out, " }");
}

static void add_devices(const struct interception *i, struct buf *out)
{
	if (!i->on)
		return;
	buf_adds(out, " iifname {");
	for (char **on = i->on; *on; on++)
		buf_addf(out, "%s \"%s\"", on == i->on ? "" : ",", *on);
	buf_adds(out, " }");
}

/* One rule; from NULL: whoever. */
static void add_rule(const struct config *c, const struct service *service, const struct interception *i,
                     const struct cidr *from, const char *table, struct buf *out)
{
	const char *family = !from ? "" : from->net.family == AF_INET6 ? "ip6 " : "ip ";
	bool tproxy = service->intercept == INTERCEPT_TPROXY;
	char text[ADDR_TEXT_MAX];

	buf_addf(out, "add rule inet %s %s", table, tproxy ? "intercept-tproxy" : "intercept-redirect");
	add_devices(i, out);
	if (from)
		buf_addf(out, " %ssaddr %s", family, cidr_format(from, text));
	buf_adds(out, " " NOT_OURS);
	add_ports(i, out);
	if (tproxy)
		buf_addf(out, " meta mark set meta mark and 0x%x or 0x%x tproxy %sto :%u", ~c->routes.mask,
		         c->routes.mark, family, service_first_port(service));
	else
		buf_addf(out, " redirect to :%u", service_first_port(service));
	buf_addc(out, '\n');
}

/* Of a user of this machine. */
static bool add_rule_of(const struct service *service, const struct interception *i, uid_t ourselves, const char *table,
                        struct buf *out, struct buf *why)
{
	struct identity id;
	char text[160];

	if (!user_lookup(i->of, NULL, &id, text, sizeof(text))) {
		buf_addf(why, "\"intercept redirect of %s\": %s", i->of, text);
		return false;
	}
	if (id.uid == ourselves) {
		buf_addf(why,
		         "\"intercept redirect of %s\": that is the user as which tcpproxy runs: its own connections "
		         "would "
		         "be caught (\"user\" gives it another)",
		         i->of);
		return false;
	}
	buf_addf(out, "add rule inet %s intercept-redirect-own meta skuid %u " NOT_OURS, table, (unsigned)id.uid);
	add_ports(i, out);
	buf_addf(out, " redirect to :%u\n", service_first_port(service));
	return true;
}

static bool add_service(const struct config *c, const struct service *service, uid_t ourselves, const char *table,
                        struct buf *out, struct buf *why)
{
	bool ok = true;

	for (size_t k = 0; k < service->n_interceptions && ok; k++) {
		const struct interception *i = &service->interceptions[k];

		if (i->of)
			ok = add_rule_of(service, i, ourselves, table, out, why);
		else if (i->n_from == 0)
			add_rule(c, service, i, NULL, table, out);
		for (size_t n = 0; n < i->n_from; n++)
			add_rule(c, service, i, &i->from[n], table, out);
	}
	return ok;
}

bool caught_add(const struct config *c, uid_t ourselves, const char *table, struct buf *commands, char stamp[32],
                struct buf *why)
{
	bool ok = true;

	snprintf(stamp, 32, "intercept-%08x", config_interceptions_number(c));
	buf_addf(commands, "add chain inet %s %s\n", table, stamp);
	if (config_intercepts_by(c, INTERCEPT_TPROXY))
		buf_addf(commands,
		         "add chain inet %s intercept-tproxy { type filter hook prerouting priority -151; policy "
		         "accept; }\n",
		         table);
	if (config_intercepts_by(c, INTERCEPT_REDIRECT))
		buf_addf(commands,
		         "add chain inet %s intercept-redirect { type nat hook prerouting priority -100; policy "
		         "accept; }\n"
		         "add chain inet %s intercept-redirect-own { type nat hook output priority -100; policy "
		         "accept; }\n",
		         table, table);
	for (size_t i = 0; i < c->n_services && ok; i++)
		ok = add_service(c, &c->services[i], ourselves, table, commands, why);
	return ok;
}
