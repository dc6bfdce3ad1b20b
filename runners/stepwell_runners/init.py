# ruff: noqa: PTH123
"""Process 1 of an isolate with a command: starts it, reaps, reports, and by ending takes everything else along.

It learns what to run over its own socket, when the wall is up. The command cannot reach that socket: it is closed on
exec, and process 1 cannot be traced.
"""

import base64
import json
import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from stepwell_runners import syscalls as sys_

COLLECT_BYTES = 1 << 20
_OUTPUT = 4
_FULL = 64 << 10  # bytes left
_ASKED = {signal.SIGUSR1: signal.SIGSTOP, signal.SIGUSR2: signal.SIGCONT}  # by the host: see nameless.py
_DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


def serve(sock: socket.socket, walled: bool) -> None:
    """Read one order from the host, carry it out and report."""
    order = _receive(sock)
    if not walled:
        sys_.prctl(sys_.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGTERM, _end_all)
    else:
        for number, sent in _ASKED.items():
            signal.signal(number, partial(_tell_all, sent))
    started = time.monotonic()
    for name, content in order["files"].items():
        _write_private(f"{order['private']}/{name}", base64.b64decode(content))
    status = _run(order["argv"], order["env"], order["cwd"])
    report = {"status": status, "seconds": time.monotonic() - started, "collected": _collect(order["collect"])}
    report["tmp_full"] = walled and _is_full("/tmp")  # noqa: S108
    if not walled:
        kill_descendants()
    sock.sendall(json.dumps(report).encode() + b"\n")


def _receive(sock: socket.socket) -> dict[str, Any]:
    with sock.makefile("rb") as stream:
        line = stream.readline()
    if not line.endswith(b"\n"):
        os._exit(0)  # the host has lost interest
    return dict(json.loads(line))


def _write_private(path: str, content: bytes) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)


def _run(argv: list[str], env: Mapping[str, str], cwd: str) -> int:
    """Start and wait; the wait status of the command, or the one a shell would give when it cannot start."""
    try:
        os.chdir(cwd)
    except OSError as error:
        return _refuse(f"cannot enter the directory {cwd!r}: {error.strerror}", 127)
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None:
        return _refuse(f"{argv[0]}: command not found", 127)
    try:
        child = os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, _OUTPUT, 1), (os.POSIX_SPAWN_DUP2, _OUTPUT, 2)],
            setsigdef=_DEFAULTS,
            setsigmask=(),
        )
    except OSError as error:
        return _refuse(f"{argv[0]}: {error.strerror}", 126)
    os.close(_OUTPUT)
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _refuse(text: str, code: int) -> int:
    os.write(_OUTPUT, f"stepwell: {text}\n".encode())
    os.close(_OUTPUT)
    return code << 8


def _is_full(path: str) -> bool:
    left = os.statvfs(path)
    return left.f_bavail * left.f_frsize < _FULL or left.f_favail == 0


def _collect(paths: Iterable[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        content = _read_bounded(path)
        if content is not None:
            found[path] = base64.b64encode(content).decode()
    return found


def _read_bounded(path: str) -> bytes | None:
    """Content of a regular file, up to the bound and one byte more; a command may have left anything in its place.

    A link is not followed: it could lead to what process 1 may read and the command may not, like its /proc/self/maps.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(COLLECT_BYTES + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _tell_all(number: int, *_: object) -> None:
    with suppress(ProcessLookupError):  # there is none
        os.kill(-1, number)


def _end_all(*_: object) -> None:
    kill_descendants()
    os._exit(128 + signal.SIGKILL)


def kill_descendants() -> None:
    """Kill everything below this process, for want of a pid namespace: stop first, so that nothing forks away."""
    for act in (signal.SIGSTOP, signal.SIGKILL):
        known: set[int] = set()
        while found := set(_descendants(os.getpid())) - known:
            for pid in found:
                _signal(pid, act)
            known |= found
    _reap()


def _descendants(pid: int) -> Iterable[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield child
        yield from _descendants(child)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself


def _reap() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return
