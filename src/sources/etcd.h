/*
 * etcd.h - the keys below a prefix of etcd (v3, by its JSON gateway), as a list that is kept fresh.
 *
 * The list is asked for, then a watch begins behind the revision that it was of; whatever the watch tells is a reason to ask for the
 * list again, so that no event that is lost, doubled or out of order can bend it. As a watch may be dead and silent, what has changed
 * last is asked for meanwhile; that takes a leader, too. Each 5 minutes all begins anew.
 */
#ifndef SOURCES_ETCD_H
#define SOURCES_ETCD_H

#include "sources/http.h"
#include "sources/options.h"
#include "sources/output.h"
#include "sources/retry.h"

struct etcd {
	struct loop *loop;
	struct http *http;
	struct output *output;
	const struct options *options;
	size_t url;        /* the one that is asked now */
	unsigned tried;    /* URLs that have failed since we have last waited */
	struct buf range;  /* which keys, as JSON */
	struct buf header; /* "Authorization: ...", or empty */
	struct buf why;    /* of the failure that is just being told */
	struct call login, list, watch, probe;
	struct timer begin; /* all of it anew */
	struct timer look;  /* the list again, soon: the watch has told something */
	struct timer tick;  /* is it still there? */
	struct retry retry;
	bool stale; /* the list that is under way is older than what the watch has told */
	bool had_servers;
	bool whole;                 /* all keys were in it */
	uint64_t cluster, revision; /* of the last list that was believed */
	uint64_t newest, count;     /* the last change in it, its keys */
	int64_t logged_in_ms, begun_ms;
};

/* Everything is borrowed. */
void etcd_start(struct etcd *e, struct loop *loop, struct http *http, struct output *output,
                const struct options *options);

#endif
