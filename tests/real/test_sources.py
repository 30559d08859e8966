"""tcpproxy-servers: what etcd and Consul know becomes lists of servers, and no failure of theirs empties one."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

import servers
from servers import wait_for
from sources import PROGRAM, Between, Consul, Etcd, EtcdCluster, Lists, b64, hole

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="this build has no tcpproxy-servers")


@pytest.fixture
def etcd(start, folder):
    return Etcd(start, folder)


@pytest.fixture
def consul():
    c = Consul()
    yield c
    c.stop()


@pytest.fixture
def lists(start, folder):
    return lambda *argv, **more: Lists(start, folder, *argv, **more)


# -- etcd

def test_what_is_put_is_printed(etcd, lists):
    etcd.put("/db/one", "10.0.0.1:5432 weight=3")
    etcd.put("/db/10.0.0.2:5432")
    etcd.put("/dc/other", "10.0.0.9:1")
    out = lists("etcd", etcd.url, "/db/")
    out.wait("10.0.0.1:5432 weight=3", "10.0.0.2:5432")
    etcd.put("/db/three", "10.0.0.3:5432 backup\n")
    out.wait("10.0.0.1:5432 weight=3", "10.0.0.2:5432", "10.0.0.3:5432 backup")
    etcd.delete("/db/one")
    out.wait("10.0.0.2:5432", "10.0.0.3:5432 backup")
    etcd.put("/dc/other", "10.0.0.8:1")
    etcd.put("/db/again", "10.0.0.2:5432")
    etcd.delete("/db/three")
    out.wait("10.0.0.2:5432")
    assert len(out.all()) == 4, "printed although nothing had changed"
    etcd.delete("/db/again")
    etcd.delete("/db/10.0.0.2:5432")
    out.wait("none")
    assert out.program.output() == ""


def test_what_is_no_server_is_left_out_and_said_once(etcd, lists):
    etcd.put("/db/good", "10.0.0.1:5432")
    etcd.put("/db/bad", "10.0.0.2:5432\nexec /bin/sh")
    out = lists("etcd", etcd.url, "/db/")
    out.wait("10.0.0.1:5432")
    etcd.put("/db/worse", "/bin/sh -c id")
    etcd.put("/db/dot", ".")
    etcd.put("/db/more", "10.0.0.3:5432")
    out.wait("10.0.0.1:5432", "10.0.0.3:5432")
    out.wait_said("left out: /db/worse: \"/bin/sh\" is no server of a list")
    out.wait_said("left out: /db/bad: there is a control character in it")
    etcd.delete("/db/good")
    out.wait("10.0.0.3:5432")
    etcd.delete("/db/more")
    assert out.program.output().count("/db/bad") == 1
    out.wait_said("not one of its 3 entries is a server; the list stays as it was")
    assert out.all()[-1] == ["10.0.0.3:5432"]


def test_a_restart_of_etcd_empties_nothing(etcd, lists):
    etcd.put("/db/a", "10.0.0.1:1")
    out = lists("etcd", etcd.url, "/db/")
    out.wait("10.0.0.1:1")
    etcd.program.stop()
    out.wait_said("the list stays as it was")
    etcd.run()
    etcd.wait_well()
    etcd.put("/db/b", "10.0.0.2:1")
    out.wait("10.0.0.1:1", "10.0.0.2:1", patience=40)
    out.wait_said("answers again")
    assert [] not in out.all() and ["none"] not in out.all()


def test_another_store_that_is_empty_is_not_believed(etcd, lists, folder):
    for n in range(5):
        etcd.put("/db/a", f"10.0.0.{n}:1")
    out = lists("etcd", etcd.url, "/db/")
    out.wait("10.0.0.4:1")
    etcd.program.stop()
    os.rename(folder / "etcd.data", folder / "lost")
    etcd.run()
    etcd.wait_well()
    out.wait_said("is another store than before", patience=40)
    assert out.all() == [["10.0.0.4:1"]]
    etcd.put("/db/a", "10.0.0.7:1")
    out.wait("10.0.0.7:1", patience=40)


@pytest.mark.limit(120)
def test_what_is_compacted_away_is_not_missed(etcd, lists):
    """While it is stopped, all that has happened since is forgotten by etcd, and its watch with it."""
    etcd.put("/db/a", "10.0.0.1:1")
    out = lists("etcd", etcd.url, "/db/")
    out.wait("10.0.0.1:1")
    for n in range(3):
        os.kill(out.program.pid, signal.SIGSTOP)
        etcd.program.stop()
        etcd.run()
        etcd.wait_well()
        etcd.put("/db/b", f"10.0.1.{n}:1")
        etcd.delete("/db/a")
        etcd.compact(etcd.put("/db/c", f"10.0.2.{n}:1"))
        os.kill(out.program.pid, signal.SIGCONT)
        out.wait(f"10.0.1.{n}:1", f"10.0.2.{n}:1", patience=40)
    assert ["none"] not in out.all()


@pytest.mark.limit(120)
def test_an_etcd_that_is_stopped_is_noticed_and_the_next_one_asked(start, folder, lists):
    first, second = Etcd(start, folder, "first"), Etcd(start, folder, "second")
    first.put("/db/a", "10.0.0.1:1")
    second.put("/db/a", "10.0.0.2:1")
    out = lists("etcd", f"{first.url},{second.url}", "/db/")
    out.wait("10.0.0.1:1")
    os.kill(first.program.pid, signal.SIGSTOP)
    out.wait("10.0.0.2:1", patience=40)
    out.wait_said(f"{first.url}: ")
    os.kill(first.program.pid, signal.SIGCONT)
    second.program.stop()
    out.wait("10.0.0.1:1", patience=40)


@pytest.mark.limit(120)
def test_a_cluster_that_has_lost_its_leader_empties_nothing(start, folder, lists):
    one, two, three = EtcdCluster(start, folder).members
    one.put("/db/a", "10.0.0.1:1")
    out = lists("etcd", one.url, "/db/")
    out.wait("10.0.0.1:1")
    for member in (two, three):
        os.kill(member.program.pid, signal.SIGSTOP)
    out.wait_said("the list stays as it was", patience=40)
    assert out.all() == [["10.0.0.1:1"]]
    for member in (two, three):
        os.kill(member.program.pid, signal.SIGCONT)
    wait_for(one.is_well, "there is a leader again", 40)
    one.put("/db/b", "10.0.0.2:1")
    out.wait("10.0.0.1:1", "10.0.0.2:1", patience=60)


def test_a_watch_that_is_dead_and_silent_is_noticed(etcd, lists):
    etcd.put("/db/a", "10.0.0.1:1")
    between = Between(etcd.url)
    out = lists("etcd", between.url, "/db/")
    out.wait("10.0.0.1:1")
    etcd.put("/db/b", "10.0.0.2:1")
    out.wait("10.0.0.1:1", "10.0.0.2:1")  # it is heard
    between.silent = b"POST /v3/watch"
    etcd.put("/db/b", "10.0.0.3:1")
    out.wait("10.0.0.1:1", "10.0.0.3:1", patience=30)
    etcd.delete("/db/a")
    out.wait("10.0.0.3:1", patience=30)
    between.stop()


def test_several_urls_one_of_which_says_nothing(etcd, lists):
    etcd.put("/db/a", "10.0.0.1:1")
    out = lists("etcd", f"http://127.0.0.1:{servers.free_port()},{etcd.url}/", "/db/")
    out.wait("10.0.0.1:1")
    out.wait_said("the list stays as it was, and it is asked again")


def test_a_user_with_a_password(etcd, lists, folder):
    etcd.put("/db/a", "10.0.0.1:1")
    for path, body in (("auth/user/add", {"name": "root", "password": "r"}), ("auth/role/add", {"name": "root"}),
                       ("auth/user/grant", {"user": "root", "role": "root"}), ("auth/enable", {})):
        etcd.ask(path, **body)
    etcd.token = etcd.ask("auth/authenticate", name="root", password="r")["token"]
    secret = folder / "user"
    secret.write_text("root:wrong\n")
    out = lists("--user-file", secret, "etcd", etcd.url, "/db/")
    out.wait_said("authentication failed")
    assert out.all() == []
    secret.write_text("root:r\n")
    out.wait("10.0.0.1:1")
    etcd.put("/db/b", "10.0.0.2:1")
    out.wait("10.0.0.1:1", "10.0.0.2:1")
    token = folder / "token"
    token.write_text(etcd.token + "\n")
    again = lists("--token-file", token, "etcd", etcd.url, "/db/", name="by-token")
    again.wait("10.0.0.1:1", "10.0.0.2:1")


def test_more_keys_than_a_pool_has_servers(etcd, lists):
    for at in range(0, 4200, 100):
        etcd.ask("kv/txn", success=[{"request_put": {"key": b64(f"/db/{n:05}"), "value": b64(f"10.1.{n // 250}.{n % 250}:80")}}
                                    for n in range(at, at + 100)])
    out = lists("etcd", etcd.url, "/db/")
    wait_for(lambda: out.all() and len(out.all()[-1]) == 4096, f"4096 servers: {out.program.output()}")
    out.wait_said("left out: ", 2)


# -- a file

def test_a_file_is_kept_up_to_date(etcd, start, folder):
    file = folder / "list"
    etcd.put("/db/a", "10.0.0.1:1")
    program = start("keeper", [PROGRAM, "-o", file, "etcd", etcd.url, "/db/"])
    wait_for(lambda: file.exists() and file.read_text() == "10.0.0.1:1\n", f"the list: {program.output()}")
    etcd.delete("/db/a")
    wait_for(lambda: file.read_text() == "none\n", "no server")
    assert [p.name for p in folder.iterdir() if p.name.startswith("list")] == ["list"]


def test_a_reader_of_the_file_never_finds_half_a_list(etcd, start, folder):
    file = folder / "list"
    expected = {"none\n"}
    program = start("keeper", [PROGRAM, "-o", file, "etcd", etcd.url, "/db/"])
    wait_for(file.exists, f"a file: {program.output()}")
    for n in range(40):
        etcd.put(f"/db/{n}", f"10.0.0.{100 + n}:1")
        expected.add("".join(f"10.0.0.{100 + k}:1\n" for k in range(n + 1)))
        for _ in range(50):
            assert file.read_text() in expected
    wait_for(lambda: file.read_text().count("\n") == 40, "all of them")


# -- Consul

def test_healthy_instances(consul, lists, folder):
    consul.set(("10.0.0.1", 80, 1), ("", 81, 5), ("fd00::1", 82, 70000))
    token = folder / "token"
    token.write_text("s3cret\n")
    out = lists("--token-file", token, "consul", consul.url, "web app", "tag=blue/green")
    out.wait("10.0.0.1:80", "10.9.9.9:81 weight=5", "[fd00::1]:82 weight=1000")
    consul.wait_asked(2)
    _, path, query, headers = consul.asked[1]
    assert path == "/v1/health/service/web%20app"
    assert query == {"passing": "1", "tag": "blue/green", "index": str(consul.index), "wait": "300s"}
    assert headers["X-Consul-Token"] == "s3cret"
    consul.set(("10.0.0.2", 80, 1))
    out.wait("10.0.0.2:80")


def test_an_empty_answer_is_asked_for_twice(consul, lists):
    consul.set(("10.0.0.1", 80, 1))
    out = lists("consul", consul.url, "web")
    out.wait("10.0.0.1:80")
    consul.wait_asked(2)
    n = len(consul.asked)
    consul.set()  # it blinks
    wait_for(lambda: consul.answered == n, "it is told so")
    consul.set(("10.0.0.1", 80, 1))
    consul.wait_asked(n + 2)
    assert out.all() == [["10.0.0.1:80"]]
    consul.set()
    out.wait("none")
    assert "consistent" in [q for _, _, query, _ in consul.asked for q in query]


@pytest.mark.parametrize("index", [0, None, "x", -1])
def test_an_index_that_is_none_does_not_spin(consul, lists, index):
    consul.set_answer(lambda handler, query: consul.send(handler, '[{"Service":{"Address":"a","Port":1}}]', index))
    out = lists("consul", consul.url, "web")
    out.wait("a:1")
    consul.wait_asked(4)
    times = [at for at, *_ in consul.asked]
    assert all(b - a > 0.8 for a, b in zip(times, times[1:]))
    assert all("index" not in query for _, _, query, _ in consul.asked)


def test_an_index_that_goes_back_begins_anew(consul, lists):
    consul.set(("10.0.0.1", 80, 1), index=900)
    out = lists("consul", consul.url, "web")
    out.wait("10.0.0.1:80")
    consul.wait_asked(2)
    consul.set(("10.0.0.2", 80, 1), index=3)
    out.wait("10.0.0.2:80")
    consul.wait_asked(4)
    assert [query.get("index") for _, _, query, _ in consul.asked[:4]] == [None, "900", None, "3"]
    consul.set(("10.0.0.3", 80, 1))
    out.wait("10.0.0.3:80")


BAD = {
    "garbage": lambda c: lambda h, q: c.send(h, "<html>no</html>", 99),
    "no list": lambda c: lambda h, q: c.send(h, '{"a":1}', 99),
    "an error": lambda c: lambda h, q: c.send(h, "No cluster leader", None, 500),
    "no leader": lambda c: lambda h, q: c.send(h, "[]", 99, **{"X-Consul-KnownLeader": "false"}),
    "elsewhere": lambda c: lambda h, q: c.send(h, "[]", 99, 302, Location=c.url + "/elsewhere"),
    "not modified": lambda c: lambda h, q: c.send(h, "[]", 99, 204),
}


def torn(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'[{"Service":{"Address":"b","Port":1}}]')
    handler.close_connection = True


def endless(handler, _):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")


@pytest.mark.parametrize("what", [*BAD, "torn", "endless"])
def test_what_consul_says_wrongly_changes_nothing(consul, lists, what):
    consul.set(("10.0.0.1", 80, 1))
    out = lists("consul", consul.url, "web")
    out.wait("10.0.0.1:80")
    consul.set_answer({"torn": torn, "endless": endless}.get(what) or BAD[what](consul))
    n = len(consul.asked)
    consul.wait_asked(n + 2)
    out.wait_said("the list stays as it was")
    consul.set_answer(None)
    consul.set(("10.0.0.2", 80, 1))
    out.wait("10.0.0.2:80")
    assert out.all() == [["10.0.0.1:80"], ["10.0.0.2:80"]]
    assert not [path for _, path, _, _ in consul.asked if "elsewhere" in path]


def test_consul_behind_tls(lists, folder):
    for name, more in (("ca", ["-x509", "-subj", "/CN=ca", "-out", folder / "ca.pem"]), ("us", ["-subj", "/CN=us", "-out", folder / "us.csr"]),
                       ("it", ["-subj", "/CN=it", "-addext", "subjectAltName=IP:127.0.0.1", "-out", folder / "it.csr"])):
        subprocess.run([servers.command("openssl"), "req", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / f"{name}.key", *more],
                       check=True, capture_output=True)
    for name in ("us", "it"):
        subprocess.run([servers.command("openssl"), "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey",
                        folder / "ca.key", "-CAcreateserial", "-copy_extensions", "copyall", "-out", folder / f"{name}.pem"],
                       check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "it.pem", folder / "it.key")
    tls.load_verify_locations(folder / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    consul = Consul(tls)
    consul.set(("10.0.0.1", 80, 1))
    strange = lists("consul", consul.url, "web", name="strange")
    nameless = lists("--ca", folder / "ca.pem", "consul", consul.url, "web", name="nameless")
    known = lists("--ca", folder / "ca.pem", "--cert", folder / "us.pem", "--key", folder / "us.key", "consul", consul.url, "web")
    known.wait("10.0.0.1:80")
    strange.wait_said("SSL certificate problem")
    nameless.wait_said("the list stays as it was")
    assert strange.all() == nameless.all() == []
    consul.stop()


def test_a_source_that_is_silent_prints_nothing(lists):
    s, url = hole()
    with s:
        out = lists("consul", url, "web")
        s.accept()
        assert out.all() == []


# -- by hand

@pytest.mark.parametrize("argv, says", [
    ([], "from where?"),
    (["zookeeper", "http://h:1", "x"], "zookeeper is no source"),
    (["etcd", "http://h:1"], "write etcd URL[,URL...] PREFIX"),
    (["etcd", "http://h:1", ""], "write etcd URL[,URL...] PREFIX"),
    (["consul", "http://h:1"], "write consul URL SERVICE [tag=T]"),
    (["etcd", "h:1", "/x"], "h:1: "),
    (["etcd", "ftp://h:1", "/x"], "it begins neither with http:// nor with https://"),
    (["etcd", "http://me:pw@h:1", "/x"], "--user-file"),
    (["etcd", "http://h:1,,http://h:2", "/x"], "this is no URL"),
    (["etcd", "http://h:1/?a=b", "/x"], "nothing may follow"),
    (["etcd", "http://h:1", "/x", "tag=T"], "nothing is expected there"),
    (["consul", "http://h:1,http://h:2", "x"], "consul is asked at one URL"),
    (["--token-file", "/nowhere", "etcd", "http://h:1", "/x"], "--token-file /nowhere: No such file or directory"),
    (["--ca", "/nowhere", "etcd", "https://h:1", "/x"], "--ca /nowhere: No such file or directory"),
    (["--ca", "/etc/passwd", "etcd", "http://h:1", "/x"], "for https:// alone"),
    (["--key", "/etc/passwd", "etcd", "https://h:1", "/x"], "--cert says so"),
    (["--user-file", "/dev/null", "etcd", "http://h:1", "/x"], "its first line is empty"),
    (["--what"], "--help lists what there is"),
])
def test_what_is_wrong_with_the_command_line(argv, says):
    done = subprocess.run([PROGRAM, *argv], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert all(line.startswith("tcpproxy-servers: ") for line in done.stderr.splitlines())


def test_a_file_that_cannot_be_written():
    done = subprocess.run([PROGRAM, "-o", "/nowhere/list", "etcd", "http://127.0.0.1:1", "/x"], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr == "tcpproxy-servers: /nowhere/list: No such file or directory\n"


def test_it_ends_when_nobody_reads(consul):
    consul.set(("10.0.0.1", 80, 1))
    with subprocess.Popen([PROGRAM, "consul", consul.url, "web"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout.readline() == "10.0.0.1:80\n"
        p.stdout.close()
        assert p.wait(20) == 0


def test_help_and_version():
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, timeout=20, check=True)
    assert "usage: tcpproxy-servers" in done.stdout
    done = subprocess.run([PROGRAM, "-V"], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.startswith("tcpproxy-servers ")


# -- as the program of a pool

class Known:
    """A server that says who it is, and is known to etcd."""

    def __init__(self, start, folder, name):
        self.port = servers.free_port()
        program = folder / f"{name}.py"
        program.write_text(f"import socket\ns = socket.create_server(('127.0.0.1', {self.port}))\n"
                           f"while True:\n    c, _ = s.accept()\n    c.sendall(b'{name}')\n    c.close()\n")
        start(f"server-{name}", ["/usr/bin/python3", program]).wait_port(self.port)
        self.spelt = f"127.0.0.1:{self.port}"


def greeting(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as s:
        return s.recv(10).decode()
    return ""


@pytest.mark.limit(120)
def test_clients_reach_a_server_as_soon_as_etcd_knows_it(etcd, start, folder, proxy):
    one, two = (Known(start, folder, name) for name in ("one", "two"))
    program = folder / "tcpproxy-servers"
    shutil.copy2(PROGRAM, program)
    program.chmod(0o755)
    etcd.put("/db/one", one.spelt)
    port = proxy(config=f"port {{port}}\n\tservers program {program} etcd {etcd.url} /db/\n")
    wait_for(lambda: greeting(port) == "one", f"one: {proxy.running[-1].output()}")
    etcd.put("/db/two", f"{two.spelt} weight=2")
    wait_for(lambda: greeting(port) == "two", "two")
    etcd.delete("/db/one")
    wait_for(lambda: {greeting(port) for _ in range(4)} == {"two"}, "two alone")
    etcd.program.stop()  # nobody is lost with it
    wait_for(lambda: "the list stays as it was" in proxy.running[-1].output(), proxy.running[-1].output())
    assert {greeting(port) for _ in range(4)} == {"two"}
    etcd.run()
    etcd.wait_well()
    etcd.put("/db/one", one.spelt)
    wait_for(lambda: greeting(port) == "one", "one again", 40)
