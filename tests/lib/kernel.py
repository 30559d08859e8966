"""What the kernel under the tests has. tests/oldkernel makes one that lacks things."""
import ctypes
import errno
import functools
import os
import socket
import struct

from .proxy import BINARY

OLD_KERNEL = os.path.join(os.path.dirname(BINARY), "tests/oldkernel")
"""Runs a command as on an old kernel; built beside the program under test, with its tests."""

NO_FILES = 'no landlock here: nobody ("tcpproxy: files") does for the service user what only root may'

_LANDLOCK_CREATE_RULESET, _VERSION = 444, 1


@functools.cache
def has_landlock():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION) >= 1


PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000
SOCKET = {"x86_64": 41, "aarch64": 198}

_libc = ctypes.CDLL(None, use_errno=True)


def without_ipv6():
    """As on a kernel that was started with ipv6.disable=1: there is no such family."""
    code = [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 3, SOCKET[os.uname().machine]),
            (LOAD, 0, 0, 16), (JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
            (RETURN, 0, 0, RET_ERRNO | errno.EAFNOSUPPORT), (RETURN, 0, 0, RET_ALLOW)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters))
    if _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
