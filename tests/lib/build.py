"""What the program under test was built with; not all builds have everything."""
import functools

from .proxy import BINARY


@functools.cache
def _has(what):
    with open(BINARY, "rb") as f:
        return what in f.read()


def has_page():
    return _has(b"MHD_start_daemon")


def has_filter():
    """Of system calls: -Dseccomp=disabled has none, and a sanitizer none that it would bear."""
    return _has(b"seccomp_load") and not is_sanitized()


def has_faults():
    return _has(b"TCPPROXY_MOVES")


def is_sanitized():
    return _has(b"__asan_init")
