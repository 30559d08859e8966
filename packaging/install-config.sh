#!/bin/sh
# install-config.sh SOURCE TARGET - what `make install` does with a file of /etc: one that is there already is
# its owner's, and stays.
set -eu
target=${DESTDIR-}$2
if [ -e "$target" ] || [ -L "$target" ]; then
	exit 0
fi
if mkdir -p "$(dirname "$target")" 2>/dev/null && install -m 644 "$1" "$target" 2>/dev/null; then
	echo "Installing $target"
else
	echo "tcpproxy: cannot write $target, go on without it; see $1" >&2
fi
