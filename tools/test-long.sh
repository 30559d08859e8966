#!/bin/sh
# More than 28,000 kills: members of trios from outside, at their system calls, in the middle of upgrades, with the
# supervisor killed and started again; then members that end themselves between any two steps, in an ordinary build
# and under AddressSanitizer, and connections that change workers meanwhile; servers of every state while processes are
# killed. Last, 100,000 idle connections, 600 restarts by systemd, and all tests from outside as on an old kernel. More than half an
# hour.
#
#   BUILD   where the program was built (default: build); BUILD-faults and BUILD-faults-sanitized are made
#   SHARE   of the kills, in percent (default: 100)
#   SEED    of the connections (default: 1)
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
SHARE=${SHARE:-100}
SEED=${SEED:-1}
failed=0

build() { # directory, meson options...
	directory=$1
	shift
	[ -f "$directory/build.ninja" ] || meson setup "$directory" "$@" >/dev/null || exit 1
	ninja -C "$directory" --quiet tcpproxy tcpproxyctl || exit 1
}

torture() { # program, kills, arguments...
	program=$(realpath "$1/tcpproxy")
	kills=$(($2 * SHARE / 100))
	shift 2
	echo "== $kills kills $*"
	TCPPROXY=$program /usr/bin/python3 tests/torture/kills.py --seed "$SEED" --kills "$kills" "$@" || failed=1
}

build "$BUILD"
build "$BUILD-faults" -Dfaults=true
# "make test" builds the program alone with clang; here its tests, too
[ -f "$BUILD-clang-tests/build.ninja" ] || CC=clang meson setup "$BUILD-clang-tests" --werror >/dev/null || exit 1
ninja -C "$BUILD-clang-tests" --quiet || failed=1
build "$BUILD-faults-sanitized" -Dfaults=true --buildtype=debug -Db_sanitize=address,undefined -Db_lundef=false

# letters: see tests/torture/killer.c
torture "$BUILD" 5000
torture "$BUILD" 2000 --whom pb
torture "$BUILD" 1500 --whom mmmmmmw2dsuhpb --slots 24
torture "$BUILD" 500 --whom mmw2dhpbu --slots 12 --programs 24
torture "$BUILD" 300 --whom mmmwdS --slots 24
torture "$BUILD" 1000 --headers --slots 24
torture "$BUILD" 500 --source-client --slots 24
torture "$BUILD-faults" 1000 --source-client --faults 1000 --slots 24
torture "$BUILD" 100 --whom U --slots 12
torture "$BUILD-faults" 2000 --faults 1000 --slots 24
torture "$BUILD-faults" 2000 --faults 5000
torture "$BUILD-faults" 9000 --faults 1000 --headers --slots 12
torture "$BUILD-faults" 1000 --faults 5000 --keeper-faults 30 --slots 24
torture "$BUILD-faults" 500 --whom w --keeper-faults 12
torture "$BUILD-faults" 500 --whom k --keeper-faults 60 --spare-faults 200
torture "$BUILD-faults" 1000 --moves 20
torture "$BUILD-faults" 500 --moves 20 --faults 5000
torture "$BUILD-faults" 500 --faults 3000 --slots 6 --programs 12
export TCPPROXY_FLOW=batch
torture "$BUILD-faults" 1000 --faults 2000
torture "$BUILD-faults" 500 --whom w --moves 20
torture "$BUILD-faults" 500 --whom pb
unset TCPPROXY_FLOW
torture "$BUILD-faults-sanitized" 500 --faults 5000
torture "$BUILD-faults-sanitized" 300 --whom mmw2dshpb --slots 24
echo '== everything that is known of servers at once'
TCPPROXY=$(realpath "$BUILD/tcpproxy") /usr/bin/python3 tests/torture/everything.py --seed "$SEED" --kills $((2000 * SHARE / 100)) || failed=1
TCPPROXY=$(realpath "$BUILD-faults-sanitized/tcpproxy") /usr/bin/python3 tests/torture/everything.py --seed "$SEED" \
	--kills $((200 * SHARE / 100)) || failed=1
echo '== what is said before TLS, while workers die'
TCPPROXY=$(realpath "$BUILD/tcpproxy") /usr/bin/python3 tests/torture/talks.py --seed "$SEED" --kills $((500 * SHARE / 100)) || failed=1
TCPPROXY=$(realpath "$BUILD-faults/tcpproxy") /usr/bin/python3 tests/torture/talks.py --seed "$SEED" --faults 400 \
	--kills $((2000 * SHARE / 100)) || failed=1
echo '== upgrades from earlier commits, and back'
TCPPROXY=$(realpath "$BUILD/tcpproxy") /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/history || failed=1
echo '== 100,000 idle connections'
CONNECTIONS=100000 TCPPROXY=$(realpath "$BUILD/tcpproxy") /usr/bin/python3 -m pytest -q -p no:cacheprovider \
	tests/e2e/test_27_many.py -k idle || failed=1
echo '== restarts by systemd'
RESTARTS=50 TCPPROXY=$(realpath "$BUILD/tcpproxy") /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/real/test_restart.py \
	-k every_admin || failed=1
echo '== as on an old kernel'
ninja -C "$BUILD" --quiet && TCPPROXY=$(realpath "$BUILD/tcpproxy") "$BUILD/tests/oldkernel" /usr/bin/python3 -m pytest -q -p no:cacheprovider \
	-n 2 tests/e2e || failed=1
exit $failed
