#!/bin/sh
# Every test there is; `make test` calls it after building. The last line is the sum over all kinds:
# "N passed, N failed, N skipped".
#
#   BUILD      where the program was built (default: build)
#   SANITIZED  where it is built once more with AddressSanitizer and UBSan (default: BUILD-sanitized)
#              (and a third time, by clang, in BUILD-clang, with its shared memory laid out as by another version; and with faults, in BUILD-faults)
#   JOBS       tests at a time (default: 3)
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
SANITIZED=${SANITIZED:-$BUILD-sanitized}
JOBS=${JOBS:-3}
RESULTS=$BUILD/results
mkdir -p "$RESULTS"
rm -f "$RESULTS"/*.xml
UNDER= # what runs pytest, and so all that it starts
PYTEST="/usr/bin/python3 -m pytest -q -p no:cacheprovider --tb=short -r fEs"

broken=0 # a step that breaks before it can count is one failure
step() { # title, command...
	printf '\n== %s\n' "$1"
	shift
	"$@"
}

build() { # directory, meson options...
	directory=$1
	shift
	[ -f "$directory/build.ninja" ] || meson setup "$directory" "$@" >"$RESULTS/setup.log" 2>&1 || return 1
	ninja -C "$directory" --quiet
}

step 'building with warnings as errors, and with sanitizers' true
build "$BUILD" || broken=1
CC=clang build "$BUILD-clang" --werror -Dtests=false -Dmemory_layout=3 || broken=1
build "$BUILD-faults" -Dtests=false -Dfaults=true || broken=1
build "$SANITIZED" --werror --buildtype=debug -Db_sanitize=address,undefined -Db_lundef=false || broken=1

for which in "$BUILD" "$SANITIZED"; do
	step "unit tests in $which" /usr/bin/python3 tools/run-unit.py "$which" "$RESULTS" || broken=1
done

run_pytest() { # name, program, arguments...
	name=$1
	program=$(realpath "$2")
	shift 2
	TCPPROXY=$program OTHER_LAYOUT=$(realpath "$BUILD-clang/tcpproxy") $UNDER $PYTEST --junitxml="$RESULTS/$name.xml" "$@"
	rc=$?
	[ $rc -le 1 ] || [ $rc -eq 5 ] || broken=1
}

step 'configuration texts and messages' run_pytest golden "$BUILD/tcpproxy" -n "$JOBS" tests/golden
step 'documentation, layers' run_pytest lint "$BUILD/tcpproxy" -n "$JOBS" --dist loadgroup tests/lint tests/man
step 'end to end' run_pytest e2e "$BUILD/tcpproxy" -n "$JOBS" tests/e2e
if [ -x "$BUILD/tests/oldkernel" ] && [ "$(id -u)" = 0 ]; then
	step 'end to end, as on an old kernel' true
	UNDER=$BUILD/tests/oldkernel
	run_pytest oldkernel "$BUILD/tcpproxy" -n "$JOBS" tests/e2e/test_01_running.py tests/e2e/test_07_reload.py \
		tests/e2e/test_08_signals.py tests/e2e/test_12_handlers.py tests/e2e/test_16_never_dropped.py tests/e2e/test_17_upgrade.py
	UNDER=
fi
# the longest tests first: else all wait for them at the end
for way in copy batch splice peek; do
	step "streams, each moved by $way" true
	export TCPPROXY_FLOW=$way
	run_pytest "streams-$way" "$BUILD-faults/tcpproxy" -n "$JOBS" \
		tests/torture/test_torture.py tests/e2e/test_09_ends_of_streams.py tests/e2e/test_10_bytes.py -k 'not notices and not faithful'
	unset TCPPROXY_FLOW
done
step 'planted faults' run_pytest planted "$BUILD-faults/tcpproxy" -n "$JOBS" tests/e2e/test_37_planted.py \
	tests/e2e/test_35_loops.py tests/e2e/test_21_steering.py tests/e2e/test_63_protocol.py -k 'planted or moves'
step 'network namespaces' run_pytest net "$BUILD/tcpproxy" tests/net
step 'real servers and clients' run_pytest real "$BUILD/tcpproxy" -n 2 --dist loadfile tests/real
step 'torture' run_pytest torture "$BUILD/tcpproxy" -n 2 --dist loadfile tests/torture
step 'streams, programs and torture under sanitizers' run_pytest sanitized "$SANITIZED/tcpproxy" -n "$JOBS" \
	tests/e2e/test_03_one_connection.py tests/e2e/test_07_reload.py tests/e2e/test_09_ends_of_streams.py \
	tests/e2e/test_10_bytes.py tests/e2e/test_12_handlers.py tests/e2e/test_13_access_programs.py \
	tests/torture

exec /usr/bin/python3 tools/sum-results.py "$RESULTS" $broken
