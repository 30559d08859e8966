/* explain.c - --explain: the answer of config/explain.h, on stdout. */
#include <stdio.h>
#include <stdlib.h>

#include "cmdline/cmdline.h"
#include "os/netlink.h"

int cmdline_explain(const struct cmdline *c)
{
	struct explain q = c->explain;
	struct interface_address *ifs;
	struct buf out = BUF_INIT;
	int code;

	q.n_ifs = netlink_addresses(&ifs);
	q.ifs = ifs;
	code = config_explain(c->config, &q, &out);
	fputs(out.s, stdout);
	buf_release(&out);
	free(ifs);
	return code;
}
