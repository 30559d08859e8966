#!/bin/sh
#
# run-demo.sh - the main job, small: a forwarded port and a port served by a program.
#
# Starts a web server (busybox) on a loopback port and tcpproxy on packaging/examples/demo.conf in front of it,
# asks once through the proxy, shows what a download and an open session notice while the workers are killed, the
# configuration is read again and the program replaced (demo-takeovers.py, with a tcpproxy of its own), and stays until
# Ctrl-C (or TERM), which ends everything it started.
#
# DEMO_PORT, DEMO_HTTP_PORT and DEMO_HANDLER_PORT move the three ports (8080, 8081, 2323); TCPPROXY is the binary.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
tcpproxy=${TCPPROXY:-$top/build/tcpproxy}
conf=$top/packaging/examples/demo.conf
port=${DEMO_PORT:-8080}
http_port=${DEMO_HTTP_PORT:-8081}
handler_port=${DEMO_HANDLER_PORT:-2323}
folder=
http_pid=
proxy_pid=

say()
{
	printf '%s\n' "$@"
}

fail()
{
	echo "run-demo: $*" >&2
	exit 1
}

end()
{
	trap '' HUP INT TERM
	for pid in $proxy_pid $http_pid; do
		kill "$pid" 2>/dev/null || :
	done
	wait
	[ -z "$folder" ] || rm -rf "$folder"
}

# port_free PORT VARIABLE
port_free()
{
	case $1 in
	'' | *[!0-9]*) fail "$2=$1 is not a port number" ;;
	esac
	[ -z "$(ss -Hltn "sport = :$1")" ] ||
		fail "port $1 is in use on this machine: end what listens there (ss -ltnp 'sport = :$1')," \
			"or choose another one, for example: $2=$(($1 + 10000)) make run"
}

# answer PORT - what the web server says there
answer()
{
	curl -sS --noproxy '*' --max-time 5 "http://127.0.0.1:$1/"
}

# wait_answer PORT PID WHAT - until it answers, or its process is gone
wait_answer()
{
	tries=100
	until answer "$1" >/dev/null 2>&1; do
		kill -0 "$2" 2>/dev/null || fail "$3 ended; its message stands above"
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "$3 does not answer on port $1"
		sleep 0.1
	done
}

[ -x "$tcpproxy" ] || fail "$tcpproxy is not built: run make first"
for program in busybox curl ss; do
	command -v $program >/dev/null || fail "$program is not installed: run tools/deps.sh run as root"
done
port_free "$port" DEMO_PORT
port_free "$http_port" DEMO_HTTP_PORT
port_free "$handler_port" DEMO_HANDLER_PORT

trap end EXIT
trap 'exit 0' HUP INT TERM
folder=$(mktemp -d /tmp/tcpproxy-demo.XXXXXX)
chmod 755 "$folder"

if [ "$port $http_port $handler_port" != "8080 8081 2323" ]; then
	sed -e "s/^port 8080\$/port $port/" -e "s/^port 2323\$/port $handler_port/" \
		-e "s/127\.0\.0\.1:8081/127.0.0.1:$http_port/" "$conf" >"$folder/demo.conf"
	conf=$folder/demo.conf
fi

say "" \
	"The demo: 127.0.0.1:$port is forwarded to a web server on 127.0.0.1:$http_port," \
	"          127.0.0.1:$handler_port is served by a program. Configuration: $conf" \
	"" \
	"Starting the web server and tcpproxy; Ctrl-C ends both." \
	""

# A copy, so that it can be replaced, and be executed by the user whom it becomes.
cp "$tcpproxy" "$folder/tcpproxy"
mkdir "$folder/www"
echo "Hello from the web server behind tcpproxy." >"$folder/www/index.html"
user=
[ "$(id -u)" != 0 ] || user="-u nobody"
# shellcheck disable=SC2086 # an option and its value
busybox httpd -f -p "127.0.0.1:$http_port" $user -h "$folder/www" &
http_pid=$!
wait_answer "$http_port" "$http_pid" "the web server"

"$folder/tcpproxy" -f "$conf" &
proxy_pid=$!
wait_answer "$port" "$proxy_pid" tcpproxy

say "" \
	"\$ curl http://127.0.0.1:$port/" \
	"$(answer "$port")" \
	"" \
	"\$ tools/demo-takeovers.py"
TCPPROXY=$folder/tcpproxy "$top/tools/demo-takeovers.py" || fail "something was dropped"

say "" \
	"It works. Try, from another terminal:" \
	"  curl http://127.0.0.1:$port/" \
	"  nc 127.0.0.1 $handler_port" \
	"  $tcpproxy --explain 127.0.0.1 127.0.0.1:$port -f $conf" \
	"  kill -HUP $proxy_pid        after a change of $conf" \
	"The log, one line for each connection, is what follows here. Ctrl-C ends the demo." \
	""

wait "$proxy_pid" && code=0 || code=$?
proxy_pid=
fail "tcpproxy ended by itself (exit code $code)"
