#!/bin/sh
# Lets each fuzz target try for so many seconds, one after the other; `make fuzz` calls it. A line for each says what came of it.
# What it learns is kept in FUZZ/corpus/NAME for the next time; what it finds in FUZZ/found/NAME-*.
#
#   fuzz.sh [SECONDS [TARGET...]]
#   FUZZ    where the targets are built (default: build-fuzz)
set -u
cd "$(dirname "$0")/.."
FUZZ=${FUZZ:-build-fuzz}
seconds=${1:-60}
[ $# = 0 ] || shift
[ $# -gt 0 ] || set -- $(ls tests/fuzz/fuzz_*.c | sed 's/.*fuzz_//; s/\.c$//')

[ -f "$FUZZ/build.ninja" ] || CC=clang meson setup "$FUZZ" -Dfuzz=true >/dev/null || exit 1
mkdir -p "$FUZZ/found"
ninja -C "$FUZZ" --quiet fuzz-targets >"$FUZZ/found/build.log" 2>&1 || {
	cat "$FUZZ/found/build.log"
	exit 1
}

try() { # name
	corpus=$FUZZ/corpus/$1
	log=$FUZZ/found/$1.log
	seeds=tests/fuzz/$1
	[ "$1" != config ] || seeds="$seeds tests/golden tests/golden/broken"
	mkdir -p "$corpus"
	# shellcheck disable=SC2086 # a list of folders
	"$FUZZ/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
		-artifact_prefix="$FUZZ/found/$1-" "$corpus" $seeds >"$log" 2>&1
	rc=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	kept=$(ls "$corpus" | wc -l)
	if [ $rc = 0 ]; then
		echo "$1: $runs runs, $kept inputs kept, nothing found"
	else
		echo "$1: FAULT after ${runs:-some} runs, see $log"
	fi
	return $rc
}

bad=0
for name; do
	try "$name" || bad=1
done
exit $bad
