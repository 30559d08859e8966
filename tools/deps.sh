#!/bin/sh
#
# deps.sh - install what building, running the demo and testing need, on Debian 12.
#
#   tools/deps.sh {build|run|test|all}     ("all" is "test": the later sets contain the earlier)
#   tools/deps.sh bench                    the programs that tcpproxy is compared with
#
# Libraries, compilers and clients are installed with apt. Servers that the tests run are not: installed, they
# would start at the next boot, want accounts of their own and push each other out (two mail servers, two
# inetds). They are only downloaded and unpacked, each into its own folder below build/real, and run from there.
#
# Exit 0: all is there, or all but some test programs (said on stderr; their tests are skipped by name).
# Exit 1: something that building or the demo needs cannot be had, or this is not root.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${TCPPROXY_REAL:-$top/build/real}
policy=/usr/sbin/policy-rc.d

build="gcc libc6-dev make meson ninja-build pkg-config libc-ares-dev libcap-dev libseccomp-dev liburing-dev libjansson-dev
	libcurl4-openssl-dev libncurses-dev libcmocka-dev libmicrohttpd-dev libjs-dygraphs libmnl-dev libnftables-dev"
run="curl netcat-openbsd iproute2 python3"
test="python3 python3-pytest python3-pytest-xdist mandoc psmisc procps socat strace systemd clang clang-format libclang-rt-14-dev netbase libnss-wrapper
	openssh-client openssh-sftp-server openssl gnutls-bin redis-tools swaks smbclient wrk tmux tshark ipsvd ucspi-tcp
	chromium chromium-driver python3-selenium nftables"
unpack="exim4-daemon-light dovecot-core dovecot-pop3d dovecot-imapd mariadb-server-core sn samba nginx libnginx-mod-stream haproxy gophernicus openssh-server xinetd
	openbsd-inetd rsync redis-tools postgresql-15 postgresql-client-15 logrotate prometheus etcd-server"
bench="iproute2 python3 socat systemd procps"
peers="haproxy nginx libnginx-mod-stream rinetd redir xinetd simpleproxy pen nftables"

say()
{
	echo "deps: $*" >&2
}

# missing PACKAGE... - those of the packages that are not installed
missing()
{
	have=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' "$@" 2>/dev/null || :) "
	for p in "$@"; do
		case "$have" in
		*" installed=$p "*) ;;
		*) printf '%s ' "$p" ;;
		esac
	done
}

# Packages for which another one may stand in: either gives the same program.
demo_server()
{
	command -v busybox >/dev/null || echo busybox
}

# Nothing may start by itself while it is being installed; a policy that is already there stays.
forbid_starts()
{
	if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
}

apt()
{
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 \
		-o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@" >&2
}

updated=
update()
{
	if [ -z "$updated" ]; then
		updated=yes
		apt update || say "apt-get update failed; trying with the lists that are there"
	fi
}

# --no-remove: what the machine's owner has chosen stays.
install()
{
	[ "$(id -u)" = 0 ] || {
		say "not root; please install: $*"
		exit 1
	}
	update
	forbid_starts
	apt install -y --no-install-recommends --no-remove "$@"
}

# The part that must succeed.
require()
{
	# shellcheck disable=SC2046,SC2086 # lists of words
	set -- $(missing $1) ${2-}
	[ $# = 0 ] || install "$@" || {
		say "cannot install: $*"
		say "see apt's message above; a Debian 12 mirror must be reachable (/etc/apt/sources.list)"
		exit 1
	}
}

# All at once is quick; when that fails, one after the other, so that one bad package costs one test only.
try()
{
	# shellcheck disable=SC2046 # a list of words
	set -- $(missing "$@")
	[ $# = 0 ] || install "$@" || for p in "$@"; do
		install "$p" || say "no $p: what needs it will be skipped"
	done
}

# unpack_one PACKAGE - into $cache/PACKAGE, whole or not at all; what libraries it wants is noted beside it.
unpack_one()
{
	new=$cache/$1.new
	rm -rf "$new"
	mkdir -p "$new"
	if (cd "$new" && apt download "$1") && dpkg-deb -x "$new"/*.deb "$new/root"; then
		dpkg-deb -f "$new"/*.deb Pre-Depends Depends | tr ',' '\n' | sed 's/^[A-Z][-A-Za-z]*: *//; s/^ *//; s/[ (:|].*//' |
			grep '^lib.*[0-9]' >"$cache/$1.libs" || :
		# Nobody is to find a setuid program here.
		chmod -R u-s,g-s "$new/root"
		mv "$new/root" "$cache/$1"
	else
		say "no $1: what needs it will be skipped"
	fi
	rm -rf "$new"
}

unpack()
{
	for p in "$@"; do
		[ -d "$cache/$p" ] || {
			[ "$(id -u)" != 0 ] || update
			unpack_one "$p"
		}
	done
	# shellcheck disable=SC2046 # a list of words
	[ -z "$(cat "$cache"/*.libs 2>/dev/null)" ] || try $(sort -u "$cache"/*.libs)
}

command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || {
	say "this is not a Debian system; please install: a C compiler, meson, ninja, pkg-config and the headers" \
		"of c-ares, libcap, libseccomp, ncurses, jansson and cmocka"
	exit 1
}

case "${1-}" in
build)
	require "$build"
	;;
run)
	require "$build $run" "$(demo_server)"
	;;
test | all)
	require "$build $run" "$(demo_server)"
	# shellcheck disable=SC2086 # lists of words
	try $test
	# shellcheck disable=SC2086
	unpack $unpack
	;;
bench)
	# shellcheck disable=SC2086 # lists of words
	require "$build $bench"
	# shellcheck disable=SC2086
	unpack $peers
	;;
*)
	echo "usage: tools/deps.sh {build|run|test|all|bench}" >&2
	exit 1
	;;
esac
