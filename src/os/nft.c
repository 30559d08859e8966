#include "os/nft.h"

#include <dlfcn.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include "os/netlink_news.h"

#define LIBRARY "libnftables.so.1"

#define NFT_FUNCTIONS(F)         \
	F(ctx_new)               \
	F(ctx_free)              \
	F(ctx_buffer_error)      \
	F(ctx_buffer_output)     \
	F(ctx_get_error_buffer)  \
	F(ctx_get_output_buffer) \
	F(run_cmd_from_buffer)

static struct {
	void *library;
#define F(name) __typeof__(&nft_##name) name;
	NFT_FUNCTIONS(F)
#undef F
} nft;

static const char *load(void)
{
	if (nft.library)
		return NULL;
	nft.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!nft.library)
		return dlerror();
#define F(name)                                                 \
	*(void **)&nft.name = dlsym(nft.library, "nft_" #name); \
	if (!nft.name) {                                        \
		nft.library = NULL;                             \
		return dlerror();                               \
	}
	NFT_FUNCTIONS(F)
#undef F
	return NULL;
}

/* Its first line: what follows shows the command. */
static const char *first_line(const char *text)
{
	static char line[256];

	snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
	return line[0] ? line : "it was refused without a word";
}

const char *nft_run(const char *commands, struct buf *out)
{
	const char *why = load();
	struct nft_ctx *ctx;

	if (why)
		return why;
	ctx = nft.ctx_new(NFT_CTX_DEFAULT);
	if (!ctx)
		return "libnftables cannot begin";
	nft.ctx_buffer_error(ctx);
	nft.ctx_buffer_output(ctx);
	if (nft.run_cmd_from_buffer(ctx, commands) != 0)
		why = first_line(nft.ctx_get_error_buffer(ctx));
	else if (out)
		buf_adds(out, nft.ctx_get_output_buffer(ctx));
	nft.ctx_free(ctx);
	return why;
}

int nft_watch(void)
{
	static const int group = NFNLGRP_NFTABLES;

	return netlink_watch(NETLINK_NETFILTER, &group, 1);
}
