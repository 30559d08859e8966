"""HAProxy, nginx and Dovecot speak the PROXY protocol with us, HAProxy and nginx on both sides."""
import pytest

import servers
from clients import curl, run
from servers import unpacked

SOURCE = "127.0.0.9"  # of the client


def haproxy(start, folder, name, config):
    binary = unpacked("haproxy", "usr/sbin/haproxy")
    file = folder / f"{name}.cfg"
    file.write_text(f"""
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
{config}
""")
    return start(name, [binary, "-db", "-f", file])


def web(start, folder, words):
    """An nginx that answers with the client's address as it knows it."""
    return servers.Nginx(start, folder, listen=words, more="""
location /who { return 200 "$remote_addr $proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_port\\n"; }
set_real_ip_from 127.0.0.0/8;
real_ip_header proxy_protocol;
""")


def who(port):
    return curl("--interface", SOURCE, f"http://127.0.0.1:{port}/who").split()


@pytest.mark.parametrize("version", ["v1", "v2", "v2 crc unique-id tlv=0xE0:x"])
def test_nginx_is_told_by_us(start, folder, proxy, version):
    nginx = web(start, folder, "proxy_protocol")
    port = proxy("-o", f"send-proxy {version}", f"127.0.0.1:{nginx.port}")
    address, announced, server_port = who(port)
    assert address == SOURCE and announced.startswith(f"{SOURCE}:") and int(server_port) == port


@pytest.mark.parametrize("version", ["v1", "v2", "v2 unique-id crc"])
def test_haproxy_is_told_by_us(start, folder, proxy, version):
    inner = servers.free_port()
    haproxy(start, folder, "haproxy", f"""
listen it
  bind 127.0.0.1:{inner} accept-proxy
  mode http
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst_port] %[fc_pp_unique_id]\\n"
""").wait_port(inner)
    port = proxy("-o", f"send-proxy {version}", f"127.0.0.1:{inner}")
    address, server_port, *uid = who(port)
    assert address == SOURCE and int(server_port) == port
    assert (len(uid) == 1 and len(uid[0]) == 32) == ("unique-id" in version)


@pytest.mark.parametrize("words", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_tells_us(start, folder, proxy, words):
    nginx = web(start, folder, "proxy_protocol")
    ours = proxy(config=f"""
port {{port}}
accept-proxy from 127.0.0.1
server 127.0.0.1:{nginx.port}
send-proxy v2 pass
""")
    outer = servers.free_port()
    haproxy(start, folder, "haproxy", f"""
frontend it
  bind 127.0.0.1:{outer}
  unique-id-format %rt-%Ts
  default_backend us
backend us
  server us 127.0.0.1:{ours} {words}
""").wait_port(outer)
    address, announced, server_port = who(outer)
    assert address == SOURCE and announced.startswith(f"{SOURCE}:") and int(server_port) == outer
    record = servers.wait_for(lambda: [x for x in proxy.running[0].output().splitlines() if " close id=" in x], "a record")[0]
    assert f" client={SOURCE}:" in record and " via=127.0.0.1:" in record
    assert (" uid=" in record) == ("unique-id" in words)


def test_checks_of_haproxy_are_no_errors(start, folder, proxy):
    """With a header of its own (LOCAL), and by only connecting."""
    nginx = web(start, folder, "proxy_protocol")
    ours = proxy(config=f"""
port {{port}}
accept-proxy from 127.0.0.1
server 127.0.0.1:{nginx.port}
send-proxy v2
""")
    outer, stats = servers.free_port(), servers.free_port()
    haproxy(start, folder, "haproxy", f"""
listen it
  bind 127.0.0.1:{outer}
  server us 127.0.0.1:{ours} send-proxy-v2 check check-send-proxy inter 100ms
listen stats
  mode http
  bind 127.0.0.1:{stats}
  stats enable
  stats uri /
""").wait_port(outer)
    servers.wait_for(lambda: ",UP," in curl(f"http://127.0.0.1:{stats}/;csv"), "it is up")
    assert who(outer)[0] == SOURCE
    assert "bad-proxy" not in proxy.running[0].output()


def test_our_checks_of_nginx(start, folder, proxy):
    nginx = web(start, folder, "proxy_protocol")
    admin = folder / "admin.sock"
    port = proxy(config=f"""
admin unix:{admin}
port {{port}}
server 127.0.0.1:{nginx.port}
check every=100ms http /who
send-proxy v1
""")
    ctl = servers.TCPPROXY.with_name("tcpproxyctl")
    servers.wait_for(lambda: " up " in run(ctl, "-s", admin, "servers"), "it is up")
    assert who(port)[0] == SOURCE


def test_nginx_tells_us(start, folder, proxy):
    stream = unpacked("libnginx-mod-stream", "usr/lib/nginx/modules/ngx_stream_module.so")
    nginx = web(start, folder, "")
    ours = proxy("-o", "accept-proxy from 127.0.0.1", f"127.0.0.1:{nginx.port}")
    outer = servers.free_port()
    (folder / "stream.conf").write_text(f"""
load_module {stream};
daemon off;
pid {folder}/stream.pid;
error_log stderr;
events {{}}
stream {{
  server {{
    listen 127.0.0.1:{outer};
    proxy_pass 127.0.0.1:{ours};
    proxy_protocol on;
  }}
}}
""")
    start("stream", [unpacked("nginx", "usr/sbin/nginx"), "-e", "stderr", "-c", folder / "stream.conf"]).wait_port(outer)
    curl("--interface", SOURCE, f"http://127.0.0.1:{outer}/")
    record = servers.wait_for(lambda: [x for x in proxy.running[0].output().splitlines() if " close id=" in x], "a record")[0]
    assert f" client={SOURCE}:" in record and f" announced=127.0.0.1:{outer}" in record


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_dovecot_is_told_by_us(start, folder, proxy, version):
    """A server that speaks first."""
    dovecot = servers.Dovecot(start, folder, "From: a@example.com\nSubject: hello\n\nfetched\n", header=True)
    port = proxy("-o", f"send-proxy {version}", f"127.0.0.1:{dovecot.port}")
    assert "fetched" in curl("--interface", SOURCE, "--user", "joe:secret", f"pop3://127.0.0.1:{port}/1")
    log = folder / "dovecot.log"
    servers.wait_for(lambda: f"rip={SOURCE}" in log.read_text(errors="replace"), "it knows who that was")
