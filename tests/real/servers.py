"""Real servers and the processes of a test.

Every server runs from a folder of its own, on free loopback ports, as a process of the test; its output
is kept in that folder. Servers come from where tools/deps.sh has unpacked them, clients from the system;
a test whose program is missing is skipped by that program's name.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("TCPPROXY_REAL", TOP / "build/real"))
TCPPROXY = Path(os.environ.get("TCPPROXY", TOP / "build/tcpproxy")).resolve()
EXAMPLES = TOP / "packaging/examples"
PATIENCE = 20.0  # seconds until something that should happen is called a failure
POLL = 0.02


def command(name):
    """Path of an installed program, or a skip."""
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        pytest.skip(f"{name} is not installed (tools/deps.sh test)")
    return path


def unpacked(package, path="."):
    """Path inside an unpacked package, or a skip."""
    there = REAL / package / path
    if not there.exists():
        pytest.skip(f"{package} is not unpacked (tools/deps.sh test)")
    return there


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what, patience=PATIENCE):
    """The condition's first true value."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {patience} s"
        time.sleep(POLL)


def listens(port):
    """Whether somebody listens at this port, on any address; who would call to find out would be a client, in the log, too."""
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/thread-self/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def members(folder):
    """{pid: title} of the processes of a tcpproxy that was started in this folder: each is a session of its own."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if title.startswith("tcpproxy: ") and os.readlink(entry / "cwd") == str(folder):
                found[int(entry.name)] = title
    return found


class Program:
    """A process of the test, in its own session, with its output in FOLDER/NAME.log."""

    def __init__(self, name, argv, folder, env=None):
        self.name, self.argv, self.env = name, argv, env
        self.folder = folder
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=folder, start_new_session=True,
                                            env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def ended(self):
        """Whether it has ended; it stays a zombie until stop(), so its id is nobody else's."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait_port(self, port):
        def ready():
            assert not self.ended(), f"{self.name} ended:\n{self.output()}"
            return listens(port)
        wait_for(ready, f"{self.name} listens on {port}")
        return self

    def stop(self):
        """Ends it and what it started. Returns its exit code."""
        if self.process.returncode is not None:
            return self.process.returncode
        os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            wait_for(self.ended, f"{self.name} ends")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        print(f"--- {self.name}: exit {self.process.wait()}\n{self.output()}", end="")
        return self.process.returncode


def accounts(folder, *names):
    """Environment in which these accounts exist, though the system has none of them."""
    users = Path("/etc/passwd").read_text()
    groups = Path("/etc/group").read_text()
    for number, name in enumerate(names, 60100):
        users += f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"
        groups += f"{name}:x:{number}:\n"
    (folder / "passwd").write_text(users)
    (folder / "group").write_text(groups)
    if not list(Path("/usr/lib").glob("*/libnss_wrapper.so")):
        pytest.skip("libnss-wrapper is not installed (tools/deps.sh test)")
    return {"LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(folder / "group")}


def give(path, user):
    """Everything below path belongs to the user."""
    entry = pwd.getpwnam(user)
    for p in [path, *path.rglob("*")]:
        os.chown(p, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


class Certificate:
    """Of NAME, by itself, for servers of every user: `file` and `key`."""

    def __init__(self, folder, name):
        self.file, self.key = folder / "cert.pem", folder / "key.pem"
        subprocess.run([command("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", self.key, "-out", self.file],
                       check=True, capture_output=True)
        self.key.chmod(0o644)


class Exim:
    """SMTP. Greets with the port on which it was reached, keeps mail in one mbox. STARTTLS with a certificate."""

    def __init__(self, start, folder, ports=1, certificate=None):
        self.ports = [free_port() for _ in range(ports)]
        self.mailbox = folder / "mail/box"
        binary = unpacked("exim4-daemon-light", "usr/sbin/exim4")
        env = accounts(folder, "Debian-exim")
        for name in ("spool", "mail"):
            (folder / name).mkdir()
            os.chown(folder / name, 60100, 60100)
        tls = "tls_advertise_hosts ="
        if certificate:
            tls += f" *\ntls_certificate = {certificate.file}\ntls_privatekey = {certificate.key}"
        (folder / "exim.conf").write_text(f"""
exim_path = {binary}
primary_hostname = mail.internal.com
smtp_banner = $primary_hostname port $received_port
spool_directory = {folder}/spool
log_file_path = {folder}/spool/log-%s
keep_environment = LD_PRELOAD:NSS_WRAPPER_PASSWD:NSS_WRAPPER_GROUP
local_interfaces = <; {" ; ".join(f"127.0.0.1.{p}" for p in self.ports)}
daemon_smtp_ports = {self.ports[0]}
{tls}
host_lookup =
rfc1413_query_timeout = 0s
deliver_drop_privilege
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin acl
begin routers
all:
  driver = accept
  transport = mbox
begin transports
mbox:
  driver = appendfile
  file = {self.mailbox}
""")
        program = start("exim", [binary, "-C", folder / "exim.conf", "-bdf", "-oP", folder / "exim.pid"], env)
        for port in self.ports:
            program.wait_port(port)


class Dovecot:
    """POP3, and IMAP if that is wanted. One mailbox with one message, for any user with the password `secret`. header: at POP3
    the PROXY protocol comes first. STLS and STARTTLS with a certificate, and nothing without TLS then."""

    def __init__(self, start, folder, message, imap=False, header=False, certificate=None):
        self.port, self.imap_port = free_port(), free_port() if imap else 0
        core = unpacked("dovecot-core", "usr/lib/dovecot")
        pop3 = unpacked("dovecot-pop3d", "usr/lib/dovecot")
        programs = folder / "libexec"
        shutil.copytree(core, programs, symlinks=True)
        shutil.copytree(pop3, programs, symlinks=True, dirs_exist_ok=True)
        if imap:
            shutil.copytree(unpacked("dovecot-imapd", "usr/lib/dovecot"), programs, symlinks=True, dirs_exist_ok=True)
        self._move_modules(programs, folder)
        (folder / "mail").mkdir()
        (folder / "mail/inbox").write_text(f"From a@example.com Thu Jan  1 00:00:00 2026\n{message}\n")
        give(folder / "mail", "mail")
        tls = "ssl = no\ndisable_plaintext_auth = no"
        if certificate:
            tls = f"ssl = required\nssl_cert = <{certificate.file}\nssl_key = <{certificate.key}"
        (folder / "dovecot.conf").write_text(f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols = {"imap pop3" if imap else "pop3"}
listen = 127.0.0.1
haproxy_trusted_networks = 127.0.0.0/8
{tls}
libexec_dir = {programs}
login_plugin_dir = {programs}/modules/login
mail_plugin_dir = {programs}/modules
default_internal_user = mail
default_internal_group = mail
default_login_user = nobody
first_valid_uid = 1
import_environment = LD_LIBRARY_PATH
mail_location = mbox:{folder}/mail:INBOX={folder}/mail/inbox
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail
}}
service config {{
  executable = config -c {folder}/dovecot.conf
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {self.port}
    haproxy = {"yes" if header else "no"}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
{self._imap_login() if imap else ""}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
""")
        # dovecot itself looks for doveconf in /usr/bin only; doveconf can start dovecot, too.
        base = REAL / "dovecot-core/usr"
        start("dovecot", [base / "bin/doveconf", "-c", folder / "dovecot.conf", "-f", "service=master",
                          "-e", base / "sbin/dovecot", "-F"],
              {"LD_LIBRARY_PATH": f"{programs}:{programs}/modules/old-stats"}).wait_port(self.port)

    def _imap_login(self):
        return f"""service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}"""

    @staticmethod
    def _move_modules(programs, folder):
        """The library knows its folder of modules by a fixed path: put a link of ours in its place."""
        library = (programs / "libdovecot.so.0").resolve()
        fixed = b"/usr/lib/dovecot/modules\0"
        link = folder / "m"
        link.symlink_to(programs / "modules")
        data = library.read_bytes()
        assert fixed in data and len(str(link)) < len(fixed)
        library.write_bytes(data.replace(fixed, str(link).encode().ljust(len(fixed), b"\0")))


class News:
    """A spool of the small news server sn with one local group; `handler` is what serves one client."""

    def __init__(self, folder, user):
        self.group = "local.test"
        self.spool = folder / "spool"
        self.spool.mkdir()
        shutil.copytree(unpacked("sn", "usr/sbin"), folder / "sn", symlinks=True)
        self.handler = folder / "news-handler"
        self.handler.write_text(f"""#!/bin/sh
export SNROOT={self.spool} POSTING_OK=1 PATH={folder}/sn:$PATH
exec {folder}/sn/snntpd.bin
""")
        self.handler.chmod(0o755)
        # sn gives the client's address of the UCSPI environment to its posting script.
        post = self.spool / ".SNPOST"
        post.write_text('#!/bin/sh\nsnsend || exit 1\necho "posted from $TCPREMOTEIP"\n')
        post.chmod(0o755)
        give(self.spool, user)
        subprocess.run(["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups",
                        folder / "sn/snnewgroup", self.group],
                       env={**os.environ, "SNROOT": str(self.spool)}, check=True, capture_output=True)


class Samba:
    """SMB. One share `pub` for guests, which is the folder `share`."""

    def __init__(self, start, folder):
        self.port = free_port()
        self.share = folder / "share"
        self.config = folder / "smb.conf"
        self.share.mkdir()
        self.share.chmod(0o777)
        state = folder / "state"
        state.mkdir()
        self.config.write_text(f"""
[global]
server role = standalone server
smb ports = {self.port}
interfaces = 127.0.0.1/8
bind interfaces only = yes
disable netbios = yes
map to guest = bad user
guest account = nobody
load printers = no
printcap name = /dev/null
lock directory = {state}
state directory = {state}
cache directory = {state}
private dir = {state}
pid directory = {state}
ncalrpc dir = {state}/rpc
log file = {folder}/messages
[pub]
path = {self.share}
guest ok = yes
read only = no
""")
        libraries = next(unpacked("samba", "usr/lib").glob("*/samba"))
        start("smbd", [unpacked("samba", "usr/sbin/smbd"), "-F", "--no-process-group", "-s", self.config],
              {"LD_LIBRARY_PATH": str(libraries)}).wait_port(self.port)


class Nginx:
    """HTTP. Serves the folder `root`. listen: words behind the address; more: further directives of the server."""

    def __init__(self, start, folder, listen="", more=""):
        self.port = free_port()
        self.root = folder / "root"
        self.root.mkdir()
        temporary = "".join(f"{name}_temp_path {folder}/temp-{name};\n"
                            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(f"""
daemon off;
user nobody nogroup;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
{temporary}
access_log off;
sendfile on;
server {{
    listen 127.0.0.1:{self.port} {listen};
    root {self.root};
    {more}
}}
}}
""")
        start("nginx", [unpacked("nginx", "usr/sbin/nginx"), "-p", folder, "-e", "stderr",
                        "-c", folder / "nginx.conf"]).wait_port(self.port)


class Sshd:
    """SSH. root may log in with the key file `key`."""

    def __init__(self, start, folder, address="127.0.0.1"):
        self.port = free_port()
        self.key = folder / "key"
        self.folder = folder
        for name in ("host", "key"):
            subprocess.run([command("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "sshd_config").write_text(f"""
ListenAddress {address}:{self.port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
Subsystem sftp internal-sftp
""")
        (folder / "known").write_text("real " + (folder / "host.pub").read_text())
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its fixed, empty place to be locked into
        start("sshd", [unpacked("openssh-server", "usr/sbin/sshd"), "-D", "-e", "-f", folder / "sshd_config"],
              accounts(folder, "sshd")).wait_port(self.port)

    def options(self, *more):
        """For ssh and scp: this key, this host key, nobody's configuration."""
        options = ["-F", "none", "-i", str(self.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
                   "-o", f"UserKnownHostsFile={self.folder}/known", "-o", "HostKeyAlias=real"]
        for option in more:
            options += ["-o", option]
        return options


class Rsync:
    """rsync's daemon. Its module `tree` is the folder `tree`, read-only."""

    program = "usr/bin/rsync"

    def __init__(self, start, folder):
        self.port = free_port()
        self.tree = folder / "tree"
        self.tree.mkdir()
        (folder / "rsyncd.conf").write_text(f"""
address = 127.0.0.1
port = {self.port}
use chroot = no
uid = root
gid = root
[tree]
path = {self.tree}
""")
        start("rsyncd", [unpacked("rsync", self.program), "--daemon", "--no-detach",
                         "--config", folder / "rsyncd.conf"]).wait_port(self.port)

    def client(self):
        return unpacked("rsync", self.program)


class Redis:
    """A redis server that keeps nothing on disk. Debian's is one program with several names."""

    def __init__(self, start, folder, *options):
        self.port = free_port()
        server = folder / "redis-server"
        server.symlink_to(unpacked("redis-tools", "usr/bin/redis-check-rdb"))
        start("redis", [server, "--bind", "127.0.0.1", "--port", self.port, "--save", "", "--appendonly", "no",
                        "--dir", folder, *options]).wait_port(self.port)

    def client(self):
        return unpacked("redis-tools", "usr/bin/redis-cli")


class Postgres:
    """A database of the user nobody; anybody may connect as that user; `check` needs a password, others are not let in.
    With a certificate only by TLS."""

    def __init__(self, start, folder, certificate=None):
        programs = unpacked("postgresql-15", "usr/lib/postgresql/15/bin")
        self.port = free_port()
        data = folder / "data"
        data.mkdir()
        give(data, "nobody")
        nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        subprocess.run([*nobody, programs / "initdb", "--no-sync", "--auth=trust", "--locale=C", "--encoding=UTF8",
                        "--username=nobody", "-D", data], check=True, capture_output=True, cwd="/")
        kind = "hostssl" if certificate else "host"
        (data / "pg_hba.conf").write_text(f"{kind} all nobody 127.0.0.1/32 trust\n{kind} all check 127.0.0.1/32 scram-sha-256\n")
        if certificate:
            key = data / "key.pem"  # which must be nobody else's
            key.write_bytes(certificate.key.read_bytes())
            give(key, "nobody")
            key.chmod(0o600)
            with open(data / "postgresql.conf", "a") as settings:
                settings.write(f"ssl = on\nssl_cert_file = '{certificate.file}'\nssl_key_file = '{key}'\n")
        start("postgres", [*nobody, programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", self.port,
                           "-k", "", "-F"]).wait_port(self.port)

    def client(self):
        return unpacked("postgresql-client-15", "usr/lib/postgresql/15/bin/psql")


class MariaDB:
    """A database in which the user `check` has no password and no right. Who breaks off `errors` connections in a row is
    blocked; but only those who have a name, which is not so of 127.0.0.1: 127.0.0.9 is `client.test`."""

    def __init__(self, start, folder, errors=10):
        self.port = free_port()
        share = unpacked("mariadb-server-core", "usr/share/mysql")
        data = folder / "data"
        data.mkdir()
        give(data, "nobody")
        argv = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
                unpacked("mariadb-server-core", "usr/sbin/mariadbd"), "--no-defaults", f"--datadir={data}",
                f"--lc-messages-dir={share}", f"--character-sets-dir={share}/charsets"]
        tables = "".join((share / name).read_text() for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql"))
        subprocess.run([*argv, "--bootstrap"], input=f"CREATE DATABASE mysql;\nUSE mysql;\n{tables}\nFLUSH PRIVILEGES;\n"
                       "CREATE USER 'check'@'%';\n",  # a statement a line
                       text=True, check=True, capture_output=True, cwd="/")
        (folder / "hosts").write_text("127.0.0.9 client.test\n")
        start("mariadb", [*argv, "--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={folder}/data/socket",
                          f"--max-connect-errors={errors}", "--log-warnings=4"],
              {"LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_HOSTS": str(folder / "hosts")}).wait_port(self.port)


class Digest:
    """Reads until the client's end of stream, then answers with the SHA-256 sum: what arrives only when each
    direction of a connection ends by itself."""

    def __init__(self, start):
        self.port = free_port()
        start("digest", [command("tcpsvd"), "127.0.0.1", self.port, command("sha256sum")]).wait_port(self.port)
