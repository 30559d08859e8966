"""The protocols the README names, each with a real server and a real client through the proxy."""

import warnings

import servers
from clients import curl, digest, run, send_mail, some_file
from servers import command, unpacked

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Debian 12 has it
    import nntplib


def test_smtp(start, folder, proxy):
    exim = servers.Exim(start, folder)
    port = proxy(f"127.0.0.1:{exim.ports[0]}")
    talk = send_mail(port, "through the proxy")
    assert f"220 mail.internal.com port {exim.ports[0]}" in talk
    mail = servers.wait_for(lambda: exim.mailbox.exists() and exim.mailbox.read_text(), "the mail is delivered")
    assert "through the proxy" in mail


def test_smtp_by_interface(start, folder, proxy):
    """The configuration of the README with two real mail servers."""
    exim = servers.Exim(start, folder, ports=2)
    inside, outside = exim.ports
    port = proxy(config=f"""
port {{port}}
interface 127.0.0.1
server 127.0.0.1:{inside}
interface 127.0.0.2
server 127.0.0.1:{outside}
""")
    assert f"220 mail.internal.com port {inside}" in send_mail(port, "one")
    assert f"220 mail.internal.com port {outside}" in send_mail(port, "two", host="127.0.0.2")


def test_pop3(start, folder, proxy):
    message = "From: a@example.com\nSubject: hello\n\nfetched through the proxy\n"
    dovecot = servers.Dovecot(start, folder, message)
    port = proxy(f"127.0.0.1:{dovecot.port}")
    assert "fetched through the proxy" in curl("--user", "joe:secret", f"pop3://127.0.0.1:{port}/1")


def post_and_read(port, group):
    """Posts one article and reads it back; the server's answer to the posting."""
    article = f"From: a@example.com\r\nNewsgroups: {group}\r\nSubject: hello\r\n\r\nwritten and read\r\n"
    with nntplib.NNTP("127.0.0.1", port, timeout=20) as news:
        answer = news.post(article.encode())
        _, count, first, _, _ = news.group(group)
        assert count == 1
        _, info = news.article(str(first))
        assert b"written and read" in info.lines
    return answer


def test_nntp(start, folder, proxy):
    news = servers.News(folder, "news")
    server = servers.free_port()
    start("news", [command("tcpsvd"), "-u", "news:news", "127.0.0.1", server, news.handler]).wait_port(server)
    post_and_read(proxy(f"127.0.0.1:{server}"), news.group)


def test_nntp_as_ucspi_handler(folder, proxy):
    """A program made for tcpserver runs as our handler; it is told the client's address."""
    news = servers.News(folder, "nobody")
    assert "posted from 127.0.0.1" in post_and_read(proxy(news.handler), news.group)


def test_smb(start, folder, proxy):
    samba = servers.Samba(start, folder)
    port = proxy(f"127.0.0.1:{samba.port}")
    some_file(samba.share / "down", 3_000_000).chmod(0o644)
    some_file(folder / "up", 3_000_000)
    run(command("smbclient"), "-s", samba.config, "-N", "-p", port, "//127.0.0.1/pub", "-c",
        f"get down {folder}/down; put {folder}/up up")
    assert digest(folder / "down") == digest(samba.share / "down")
    assert digest(samba.share / "up") == digest(folder / "up")


def test_http(start, folder, proxy):
    nginx = servers.Nginx(start, folder)
    some_file(nginx.root / "big", 20_000_000)
    (nginx.root / "small").write_text("hello\n")
    port = proxy(f"127.0.0.1:{nginx.port}")
    assert curl(f"http://127.0.0.1:{port}/small") == "hello\n"
    curl("-o", folder / "got", f"http://127.0.0.1:{port}/big")
    assert digest(folder / "got") == digest(nginx.root / "big")


def test_gopher_as_handler(folder, proxy):
    """gophernicus wants an inetd; `exec` is one."""
    program = folder / "gophernicus"
    program.write_bytes(unpacked("gophernicus", "usr/sbin/gophernicus").read_bytes())
    program.chmod(0o755)
    root = folder / "root"
    root.mkdir()
    (root / "hello.txt").write_text("hello gopher\n")
    port = proxy(config=f"port {{port}}\nexec {program} -nf -r {root} -h localhost -p {{port}}\n")
    assert "hello.txt" in curl(f"gopher://127.0.0.1:{port}/")
    assert "hello gopher" in curl(f"gopher://127.0.0.1:{port}/0/hello.txt")


def test_ssh(start, folder, proxy):
    sshd = servers.Sshd(start, folder)
    port = proxy(f"127.0.0.1:{sshd.port}")
    options = sshd.options()
    assert run(command("ssh"), *options, "-p", port, "root@127.0.0.1", "echo hello") == "hello\n"
    some_file(folder / "up", 5_000_000)
    run(command("scp"), "-q", *options, "-P", port, folder / "up", f"root@127.0.0.1:{folder}/there")
    assert digest(folder / "there") == digest(folder / "up")


def test_ssh_proxy_command(start, folder, binary):
    sshd = servers.Sshd(start, folder)
    options = sshd.options(f"ProxyCommand={binary} 127.0.0.1:{sshd.port}")
    assert run(command("ssh"), *options, "root@real", "echo hello") == "hello\n"
    some_file(folder / "up", 5_000_000)
    run(command("scp"), "-q", *options, folder / "up", f"root@real:{folder}/there")
    assert digest(folder / "there") == digest(folder / "up")
    run(command("scp"), "-q", *options, f"root@real:{folder}/there", folder / "back")
    assert digest(folder / "back") == digest(folder / "up")
