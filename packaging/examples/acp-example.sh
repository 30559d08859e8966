#!/bin/sh
# acp-example.sh - let in who has a name (exit 0), tell the others why not (what is printed here reaches the client)
[ "$PROXY_CLIENTNAME" != "$PROXY_CLIENT" ] || { printf '554 no name for %s\r\n' "$PROXY_CLIENT"; exit 1; }
