#include "network/routes.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "network/caught.h"
#include "network/claims.h"
#include "os/nft.h"
#include "os/routing.h"
#include "os/sysctl.h"

/* Numbers of the kernel's that are to be 1; the second has one of each family. */
static const struct number {
	const char *path, *chain;
	bool v6;
} numbers[] = {
        {"net/ipv4/tcp_fwmark_accept", "put-back-ipv4-tcp_fwmark_accept", false},
        {"net/ipv4/fwmark_reflect", "put-back-ipv4-fwmark_reflect", false},
        {"net/ipv6/fwmark_reflect", "put-back-ipv6-fwmark_reflect", true},
};

static const char *family_name(int family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

/* The families that this kernel has; returns how many. */
static size_t families(int ret[2])
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ret[0] = AF_INET;
	ret[1] = AF_INET6;
	if (fd < 0)
		return 1;
	close(fd);
	return 2;
}

/* ---- the rule and the route ---- */

static struct routing_rule our_rule(const struct routes *r, int family)
{
	return (struct routing_rule){.family = family,
	                             .priority = r->priority,
	                             .mark = r->mark,
	                             .mask = r->mask,
	                             .table = r->table,
	                             .protocol = ROUTING_OURS};
}

/* Of the rules that we have made for this table: one that is as it is to be, and others, of an earlier configuration. */
struct found {
	struct routing_rule wanted;
	bool right;
	struct routing_rule old[16];
	size_t n_old;
};

static void look_at_rule(void *arg, const struct routing_rule *rule)
{
	struct found *f = arg;
	const struct routing_rule *w = &f->wanted;

	if (rule->protocol != ROUTING_OURS || rule->table != w->table || rule->others)
		return;
	if (rule->priority == w->priority && rule->mark == w->mark && rule->mask == w->mask && !f->right)
		f->right = true;
	else if (f->n_old < ARRAY_LEN(f->old))
		f->old[f->n_old++] = *rule;
}

/* Those of earlier configurations are taken away. *was: it was there already. */
static int put_rule(const struct routes *r, int family, bool *was)
{
	struct found f = {.wanted = our_rule(r, family)};
	int rc = routing_rules(family, look_at_rule, &f);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < f.n_old; i++) {
		f.old[i].family = family;
		routing_remove_rule(&f.old[i]);
	}
	*was = f.right;
	rc = f.right ? 0 : routing_add_rule(&f.wanted);
	return rc == -EEXIST ? 0 : rc;
}

static int put_route(const struct routes *r, int family, bool *was)
{
	int rc = routing_add_local(family, r->table);

	*was = rc == -EEXIST;
	return *was ? 0 : rc;
}

static bool table_is_free(const struct routes *r, int family, struct buf *why)
{
	unsigned ours, others;
	int rc = routing_count(family, r->table, &ours, &others);

	if (rc < 0)
		buf_addf(why, "the routes of table %u (%s) cannot be read: %s", r->table, family_name(family),
		         strerror(-rc));
	else if (others > 0)
		buf_addf(why,
		         "the routing table %u has routes that are not ours (ip %s route show table %u): \"routes "
		         "table=N\" "
		         "chooses another",
		         r->table, family == AF_INET6 ? "-6" : "-4", r->table);
	return rc == 0 && others == 0;
}

static void remove_routing(const struct routes *r)
{
	int list[2];
	size_t n = families(list);

	for (size_t i = 0; i < n; i++) {
		struct found f = {.wanted = our_rule(r, list[i])};

		routing_rules(list[i], look_at_rule, &f);
		for (size_t k = 0; k < f.n_old; k++) {
			f.old[k].family = list[i];
			routing_remove_rule(&f.old[k]);
		}
		if (f.right)
			routing_remove_rule(&f.wanted);
		routing_remove_local(list[i], r->table);
	}
}

/* Returns a line of what was missing, which may be empty. */
static bool put_routing(const struct routes *r, struct buf *missing, struct buf *why)
{
	int list[2], rc = 0;
	size_t n = families(list);

	for (size_t i = 0; i < n; i++) {
		bool had_route = false, had_rule = false;

		rc = put_route(r, list[i], &had_route);
		if (rc == 0)
			rc = put_rule(r, list[i], &had_rule);
		if (rc < 0) {
			buf_addf(why, "the routing of %s cannot be changed: %s", family_name(list[i]), strerror(-rc));
			return false;
		}
		if (!had_route)
			buf_addf(missing, "%s route", family_name(list[i]));
		if (!had_rule)
			buf_addf(missing, "%s%s rule", missing->len ? ", " : "", family_name(list[i]));
	}
	return true;
}

/* ---- numbers of the kernel's ---- */

static void tell_of_number(const struct number *n, int rc, struct buf *warnings)
{
	if (rc < 0 && !(rc == -ENOENT && n->v6))
		buf_addf(warnings,
		         "%s cannot be set to 1: %s: servers of this machine cannot be called from the "
		         "clients' addresses\n",
		         n->path, strerror(-rc));
}

/* A bit for each that is 0. */
static unsigned find_zeros(struct buf *warnings)
{
	unsigned found = 0;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		long now = 0;
		int rc = sysctl_get(numbers[i].path, &now);

		found |= rc == 0 && now == 0 ? 1u << i : 0;
		tell_of_number(&numbers[i], rc, warnings);
	}
	return found;
}

/* It is written down before: who dies in between has them put back to what they are. Returns those that are 1 now. */
static unsigned set_to_one(unsigned which, struct buf *warnings)
{
	unsigned set = 0;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int rc = which >> i & 1 ? sysctl_set(numbers[i].path, 1) : -ENOENT;

		set |= rc == 0 ? 1u << i : 0;
		if (which >> i & 1)
			tell_of_number(&numbers[i], rc, warnings);
	}
	return set;
}

static void put_back(unsigned changed)
{
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (changed >> i & 1)
			sysctl_set(numbers[i].path, 0);
}

/* ---- the table of nft ---- */

static void add_notes(struct buf *commands, const char *table, unsigned changed)
{
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (changed >> i & 1)
			buf_addf(commands, "add chain inet %s %s\n", table, numbers[i].chain);
}

static const char *table_name(const struct routes *r)
{
	static char name[32];

	snprintf(name, sizeof(name), "tcpproxy-%u", r->table);
	return name;
}

/* What one of us has written down there. *there: has the table all that is wanted? */
static unsigned read_notes(const char *table, const struct routes_wanted *w, bool *there)
{
	char *command = mem_printf("list table inet %s", table);
	struct buf out = BUF_INIT;
	const char *text;
	unsigned changed = 0;

	*there = !nft_run(command, &out);
	text = out.s ? out.s : "";
	if (w && w->routing)
		*there = *there && strstr(text, "socket transparent");
	if (w && w->caught)
		*there = *there && strstr(text, w->stamp);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (strstr(text, numbers[i].chain))
			changed |= 1u << i;
	buf_release(&out);
	free(command);
	return changed;
}

/* Replaced as a whole, at once. NULL, or why not. */
static const char *put_table(const struct routes_wanted *w, unsigned changed)
{
	const struct routes *r = w->routes;
	const char *name = table_name(r), *why;
	struct buf commands = BUF_INIT;

	buf_addf(&commands, "add table inet %s\ndelete table inet %s\nadd table inet %s\n", name, name, name);
	if (w->routing)
		buf_addf(&commands,
		         "add chain inet %s prerouting { type filter hook prerouting priority -150; policy accept; }\n"
		         "add rule inet %s prerouting socket transparent 1 meta mark set meta mark and 0x%x or 0x%x\n",
		         name, name, ~r->mask, r->mark);
	if (w->caught)
		buf_adds(&commands, w->caught);
	add_notes(&commands, name, changed);
	why = nft_run(commands.s, NULL);
	buf_release(&commands);
	return why;
}

/* Another table of ours (its name is malloc()ed), NULL: there is none. */
static char *other_table(const struct routes *r)
{
	struct buf text = BUF_INIT;
	char *found = NULL, *save = NULL;

	nft_run("list tables inet", &text);
	for (char *line = text.s ? strtok_r(text.s, "\n", &save) : NULL; line && !found;
	     line = strtok_r(NULL, "\n", &save)) {
		const char *name = strstr(line, "tcpproxy-");

		if (name && strcmp(name, table_name(r)))
			found = mem_strdup(name);
	}
	buf_release(&text);
	return found;
}

/* Its notes go to another one of us, which needs what they are about. */
static bool hand_notes_on(const struct routes *r, unsigned changed)
{
	char *other = changed ? other_table(r) : NULL;
	struct buf commands = BUF_INIT;

	if (!other)
		return false;
	add_notes(&commands, other, changed);
	nft_run(commands.s, NULL);
	buf_release(&commands);
	free(other);
	return true;
}

static void remove_table(const struct routes *r)
{
	char *command = mem_printf("delete table inet %s", table_name(r));

	nft_run(command, NULL);
	free(command);
}

/* ---- all of it ---- */

/* The numbers that were changed, and are to be put back; known to this process, in case the table is gone. */
static unsigned ours_to_put_back;

bool routes_want(struct routes_wanted *w, const struct config *c, uid_t ourselves, struct buf *why)
{
	struct buf commands = BUF_INIT;
	bool ok = true;

	*w = (struct routes_wanted){.routes = &c->routes,
	                            .routing = config_calls_as_client(c) || config_intercepts_by(c, INTERCEPT_TPROXY),
	                            .numbers = config_calls_as_client(c)};
	if (config_intercepts(c))
		ok = caught_add(c, ourselves, table_name(&c->routes), &commands, w->stamp, why);
	w->caught = commands.s;
	return ok;
}

/* A rule of nft is all that some need, and others can do without. */
static bool table_is_put(const struct routes_wanted *w, unsigned notes, struct buf *why, struct buf *warnings)
{
	const char *refused = put_table(w, notes);

	if (refused && w->caught) {
		buf_addf(why, "nft: %s: connections cannot be intercepted", refused);
		return false;
	}
	if (refused)
		buf_addf(warnings, "nft: %s: servers of other machines cannot be called from the clients' addresses\n",
		         refused);
	return true;
}

bool routes_set_up(const struct routes_wanted *w, struct buf *why, struct buf *warnings)
{
	const struct routes *r = w->routes;
	struct buf missing = BUF_INIT;
	bool ok = true, there;
	unsigned zeros;
	int list[2];
	size_t n = families(list);

	for (size_t i = 0; i < n && ok && w->routing; i++)
		ok = table_is_free(r, list[i], why);
	if (!ok)
		return false;
	if (w->routing)
		ok = put_routing(r, &missing, why);
	buf_release(&missing);
	zeros = ok && w->numbers ? find_zeros(warnings) : 0;
	ours_to_put_back |= read_notes(table_name(r), w, &there) | zeros;
	ok = ok && table_is_put(w, ours_to_put_back, why, warnings);
	if (ok)
		set_to_one(zeros, warnings);
	else
		remove_routing(r);
	return ok;
}

void routes_take_down(const struct routes *r)
{
	bool there;

	ours_to_put_back |= read_notes(table_name(r), NULL, &there);
	if (!hand_notes_on(r, ours_to_put_back))
		put_back(ours_to_put_back);
	remove_table(r);
	remove_routing(r);
	ours_to_put_back = 0;
}

/* ---- what others have left ---- */

#define LEFT_MAX 64

struct left {
	uint32_t tables[LEFT_MAX];
	size_t n;
};

static void add_left(struct left *l, uint32_t table)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->tables[i] == table)
			return;
	if (table && l->n < LEFT_MAX)
		l->tables[l->n++] = table;
}

static void note_left(void *arg, const struct routing_rule *rule)
{
	if (rule->protocol == ROUTING_OURS && !rule->others)
		add_left(arg, rule->table);
}

static void find_left(struct left *l)
{
	struct buf text = BUF_INIT;
	char *save = NULL;

	routing_rules(AF_INET, note_left, l);
	routing_rules(AF_INET6, note_left, l);
	nft_run("list tables inet", &text);
	for (char *line = text.s ? strtok_r(text.s, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		const char *name = strstr(line, "tcpproxy-");
		uint64_t table;

		if (name && text_parse_uint(name + strlen("tcpproxy-"), UINT32_MAX, &table))
			add_left(l, (uint32_t)table);
	}
	buf_release(&text);
}

void routes_clean(struct buf *said)
{
	struct left l = {.n = 0};

	find_left(&l);
	for (size_t i = 0; i < l.n; i++) {
		const struct routes r = {.table = l.tables[i]};

		if (claims_table_is_used(r.table)) {
			buf_addf(said, "table %u is used by a tcpproxy that lives, and stays\n", r.table);
			continue;
		}
		routes_take_down(&r);
		buf_addf(said, "table %u, its rules and what belonged to it were taken away\n", r.table);
	}
}

void routes_mend(const struct routes_wanted *w, struct buf *said)
{
	const struct routes *r = w->routes;
	struct buf missing = BUF_INIT, why = BUF_INIT, warnings = BUF_INIT;
	const char *refused = NULL;
	unsigned zeros, notes, set;
	bool there;

	if (w->routing && !put_routing(r, &missing, &why))
		buf_addf(said, "%s\n", why.s);
	zeros = w->numbers ? find_zeros(&warnings) : 0;
	notes = read_notes(table_name(r), w, &there);
	ours_to_put_back |= notes | zeros;
	if (!there || ours_to_put_back & ~notes)
		refused = put_table(w, ours_to_put_back);
	set = set_to_one(zeros, &warnings);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (set >> i & 1)
			buf_addf(&missing, "%s%s", missing.len ? ", " : "", numbers[i].path);
	if (!there && !refused)
		buf_addf(&missing, "%stable inet %s of nft", missing.len ? ", " : "", table_name(r));
	if (missing.len)
		buf_addf(said, "somebody has taken away what \"%s\" needs, and it was put back: %s\n",
		         w->numbers ? "source client" : "intercept", missing.s);
	buf_release(&missing);
	buf_release(&why);
	buf_release(&warnings);
}
