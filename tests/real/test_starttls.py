"""starttls with real servers and clients: each is sent by the name in its hello to the server that has the certificate of that name,
and checks it."""
import signal
import subprocess

import pytest

import servers
from clients import curl, run
from servers import command

NAME = "a.example.com"


@pytest.fixture
def certificate(folder):
    return servers.Certificate(folder, NAME)


@pytest.fixture
def front(proxy):
    """front(PROTOCOL, PORT): a port that sends those who ask for NAME to the server there, and nobody else."""
    def start_front(protocol, port):
        return proxy(config=f"port {{port}}\nstarttls {protocol}\nsni {NAME}\nserver 127.0.0.1:{port}\n")
    return start_front


def psql(postgres, port, certificate, more=""):
    return [postgres.client(), "-qAtX", "-v", "ON_ERROR_STOP=1",
            f"host={NAME} hostaddr=127.0.0.1 port={port} user=nobody dbname=postgres sslmode=verify-full sslrootcert={certificate.file} {more}"]


def test_psql(start, folder, front, certificate):
    postgres = servers.Postgres(start, folder, certificate)
    port = front("postgres", postgres.port)
    assert run(*psql(postgres, port, certificate), "-c", "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()") == "t|TLSv1.3\n"


def test_psql_without_tls(start, folder, proxy, certificate):
    """There is no name to go by: the port's own server, which here is one that wants TLS, and says so."""
    postgres = servers.Postgres(start, folder, certificate)
    port = proxy(config=f"port {{port}}\nstarttls postgres\nserver 127.0.0.1:{postgres.port}\nsni {NAME}\nserver 127.0.0.1:1\n")
    argv = [postgres.client(), "-qAtX", f"host=127.0.0.1 port={port} user=nobody dbname=postgres sslmode=disable", "-c", "select 1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "no encryption" in done.stderr


def test_psql_cancels(start, folder, front, certificate):
    """On a connection of its own, which begins with nothing that names a server."""
    postgres = servers.Postgres(start, folder, certificate)
    port = front("postgres", postgres.port)
    argv = psql(postgres, port, certificate, "application_name=sleeper")
    asked = [*psql(postgres, port, certificate), "-c", "select count(*) from pg_stat_activity where application_name = 'sleeper' and wait_event = 'PgSleep'"]
    with subprocess.Popen([*argv, "-c", "select pg_sleep(60)"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as sleeper:
        servers.wait_for(lambda: run(*asked) == "1\n", "it sleeps")
        sleeper.send_signal(signal.SIGINT)
        said, _ = sleeper.communicate(timeout=20)
    assert "canceling statement due to user request" in said


def test_exim(start, folder, front, certificate):
    exim = servers.Exim(start, folder, certificate=certificate)
    port = front("smtp", exim.ports[0])
    (folder / "text").write_text("From: a@example.com\nTo: b@example.com\nSubject: x\n\nbehind TLS\n")
    curl("--connect-to", f"{NAME}:25:127.0.0.1:{port}", "--cacert", certificate.file, "--ssl-reqd", f"smtp://{NAME}:25/me", "--mail-from", "a@example.com",
         "--mail-rcpt", "b@example.com", "--upload-file", folder / "text")
    mail = servers.wait_for(lambda: exim.mailbox.exists() and exim.mailbox.read_text(), "the mail is delivered")
    assert "behind TLS" in mail and "TLS1.3" in mail


@pytest.mark.parametrize("protocol", ["pop3", "imap"])
def test_dovecot(start, folder, front, certificate, protocol):
    dovecot = servers.Dovecot(start, folder, "From: a@example.com\nSubject: hello\n\nfetched behind TLS\n", imap=True, certificate=certificate)
    port = front(protocol, dovecot.port if protocol == "pop3" else dovecot.imap_port)
    url = f"pop3://{NAME}:1000/1" if protocol == "pop3" else f"imap://{NAME}:1000/INBOX;UID=1"
    said = curl("--connect-to", f"{NAME}:1000:127.0.0.1:{port}", "--cacert", certificate.file, "--ssl-reqd", "--user", "joe:secret", url)
    assert "fetched behind TLS" in said


@pytest.mark.parametrize("protocol", ["smtp", "pop3", "imap", "postgres"])
def test_openssl(start, folder, front, certificate, protocol):
    """Its words differ from those of the programs above."""
    server = {"smtp": lambda: servers.Exim(start, folder, certificate=certificate).ports[0],
              "pop3": lambda: servers.Dovecot(start, folder, "\n", certificate=certificate).port,
              "imap": lambda: servers.Dovecot(start, folder, "\n", imap=True, certificate=certificate).imap_port,
              "postgres": lambda: servers.Postgres(start, folder, certificate).port}[protocol]()
    port = front(protocol, server)
    said = run(command("openssl"), "s_client", "-starttls", protocol, "-connect", f"127.0.0.1:{port}", "-servername", NAME, "-CAfile", certificate.file,
               "-verify_return_error", "-verify_hostname", NAME, "-brief")
    assert "Verification: OK" in said
