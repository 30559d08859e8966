"""Real clients, and files to send through them."""

import hashlib
import os
import subprocess

from servers import command


def run(*argv):
    """A client; what it says is in the failure's message."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=40)
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}:\n{output}"
    return output


def curl(*args):
    return run(command("curl"), "-sS", "--max-time", "20", "--noproxy", "*", *args)


def send_mail(port, text, host="127.0.0.1"):
    return run(command("swaks"), "--server", f"{host}:{port}", "--from", "alice@example.com", "--to",
               "bob@example.com", "--body", text)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def some_file(path, size):
    path.write_bytes(os.urandom(size))
    return path
