#!/bin/sh
# Thousands of kills: members of trios from outside, then workers that end themselves between any two steps, in an
# ordinary build and under AddressSanitizer. About fifteen minutes.
#
#   BUILD      where the program was built (default: build); BUILD-faults and BUILD-faults-sanitized are made
#   KILLS      from outside (default: 10000)
#   SEED       of the connections (default: 1)
#   TAKEOVERS  of the sessions of real clients (default: 100)
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
KILLS=${KILLS:-10000}
SEED=${SEED:-1}
TAKEOVERS=${TAKEOVERS:-100}
failed=0

build() { # directory, meson options...
	directory=$1
	shift
	[ -f "$directory/build.ninja" ] || meson setup "$directory" "$@" >/dev/null || exit 1
	ninja -C "$directory" --quiet tcpproxy || exit 1
}

torture() { # program, arguments...
	program=$(realpath "$1/tcpproxy")
	shift
	TCPPROXY=$program /usr/bin/python3 tests/torture/kills.py --seed "$SEED" "$@" || failed=1
}

build "$BUILD"
build "$BUILD-faults" -Dfaults=true
build "$BUILD-faults-sanitized" -Dfaults=true --buildtype=debug -Db_sanitize=address,undefined -Db_lundef=false

torture "$BUILD" --kills "$KILLS"
torture "$BUILD-faults" --kills 3000 --faults 1000 --slots 24
torture "$BUILD-faults" --kills 3000 --faults 5000
torture "$BUILD-faults" --kills 1000 --faults 20000
torture "$BUILD-faults-sanitized" --kills 500 --faults 5000

# Sessions of real clients, each through a hundred kills, reloads and upgrades.
TCPPROXY=$(realpath "$BUILD/tcpproxy") TAKEOVERS=$TAKEOVERS /usr/bin/python3 -m pytest -q -p no:cacheprovider \
	tests/real/test_takeovers.py || failed=1
exit $failed
