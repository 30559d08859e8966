"""A real web server under load, and what happens meanwhile."""

import os
import signal
import subprocess

import servers
from clients import curl, digest, run, some_file
from servers import command


def test_http_load(start, folder, proxy):
    nginx = servers.Nginx(start, folder)
    (nginx.root / "small").write_text("hello\n")
    port = proxy(f"127.0.0.1:{nginx.port}")
    report = run(command("wrk"), "-t1", "-c32", "-d1s", f"http://127.0.0.1:{port}/small")
    assert "Socket errors" not in report and "Non-2xx" not in report
    assert " 0 requests" not in report


def test_http_load_during_reloads(start, folder, proxy):
    """No client is refused while the configuration is read again and again."""
    nginx = servers.Nginx(start, folder)
    (nginx.root / "small").write_text("hello\n")
    port = proxy(config=f"port {{port}}\ninterface 127.0.0.1\nserver 127.0.0.1:{nginx.port}\n")
    load = subprocess.Popen([command("wrk"), "-t1", "-c32", "-d2s", "-H", "Connection: close",
                             f"http://127.0.0.1:{port}/small"], stdout=subprocess.PIPE, text=True)
    while load.poll() is None:
        os.kill(proxy.running[0].pid, signal.SIGHUP)
        try:
            load.wait(0.1)
        except subprocess.TimeoutExpired:
            pass
    report = load.stdout.read()
    load.stdout.close()
    assert load.returncode == 0 and " requests in " in report, report
    assert "Socket errors" not in report and "Non-2xx" not in report, report


def workers(proxy):
    return [pid for pid, title in servers.members(proxy.folder).items() if title.startswith("tcpproxy: worker")]


def kill_workers(proxy):
    for pid in servers.wait_for(lambda: workers(proxy), "workers are there"):
        os.kill(pid, signal.SIGKILL)


def test_transfer_survives_reload(start, folder, proxy):
    nginx = servers.Nginx(start, folder)
    some_file(nginx.root / "big", 30_000_000)
    port = proxy(config=f"port {{port}}\ninterface 127.0.0.1\nserver 127.0.0.1:{nginx.port}\n")
    url = f"http://127.0.0.1:{port}/big"
    download = start("curl", [command("curl"), "-sS", "--limit-rate", "15M", "-o", folder / "got", url])
    servers.wait_for(lambda: (folder / "got").exists() and (folder / "got").stat().st_size > 1_000_000,
                     "the download is under way")
    os.kill(proxy.running[0].pid, signal.SIGHUP)
    curl("-o", folder / "next", url)
    servers.wait_for(download.ended, "the download ends")
    assert digest(folder / "got") == digest(nginx.root / "big") == digest(folder / "next")


def test_killed_workers_are_replaced(start, folder, proxy):
    nginx = servers.Nginx(start, folder)
    (nginx.root / "small").write_text("hello\n")
    port = proxy(f"127.0.0.1:{nginx.port}")
    for _ in range(3):
        kill_workers(proxy.running[0])
        assert curl("--max-time", "4", f"http://127.0.0.1:{port}/small") == "hello\n"
