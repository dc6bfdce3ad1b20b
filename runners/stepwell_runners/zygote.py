"""The process from which isolates are forked: `python -s -P -S -m stepwell_runners.zygote CONTROL_FD`.

Exec'ed fresh and single-threaded, so that no lock, connection, key or tenant's data is ever in its memory; already in
the isolates' read-only root and, where the host allows, in a user namespace in which real root does not exist. What
makes a boot fast is what is already done here: the imports, the root, the list of system calls, a frozen heap, and, as
soon as there is no order, code that has been run (stepwell.authoring.warming).

Control socket (SEQPACKET, JSON): first the configuration, answered by {"up": true} or {"failed": …}; then {"id"} with
the isolate's socket, answered by {"id", "pid"} and a pidfd or {"id", "failed"}; and {"id", "status"} whenever an
isolate and all its processes are gone. End of file ends the zygote, and its death ends every isolate.

An isolate's own socket: it says {"blank": true}, may be told to rehearse what it may be claimed for and says
{"rehearsed": true}, is claimed by an order in one line, perhaps followed by descriptors (the output of a command, then
mounts), and says {"ready": true} when the wall is up, or at any time {"failed": …}. Only then it is told what to run.
`-I` would also ignore PYTHONHASHSEED, which the replay needs; `-S` keeps site-packages out.
"""

import base64
import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stepwell_runners import house, init, root, wall
from stepwell_runners import syscalls as sys_

_PRELOADED = (
    *("asyncio", "base64", "collections", "concurrent.futures.thread", "contextlib", "copy", "dataclasses", "datetime"),
    *("decimal", "encodings.idna", "enum", "functools", "hashlib", "hmac", "inspect", "itertools", "json", "logging"),
    *("math", "operator", "pathlib", "random", "re", "secrets", "shlex", "statistics", "string", "subprocess"),
    *("tempfile", "textwrap", "threading", "time", "traceback", "types", "typing", "urllib.parse", "uuid", "warnings"),
    "zoneinfo",
)
REHEARSE = b"rehearse"
_plain: Any = signal._signal  # type: ignore[attr-defined]  # makes no enums, which take a new process 0.1 ms
_SYS_ADMIN, _SETUID, _SETGID, _SETPCAP, _NET_ADMIN = 21, 7, 6, 8, 12


def main() -> int:
    """Become a zygote and serve until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        plan, part = prepare(json.loads(control.recv(1 << 20)))
    except Exception as error:
        control.send(json.dumps({"failed": describe(error)}).encode())
        return 1
    freeze()
    gc.disable()
    control.send(b'{"up": true}')
    Zygote(control, plan, part).serve()
    return 0


def freeze() -> None:
    """Let no collection look at what is there now: it would write to pages that isolates share."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Part:
    """What isolates play, from the module of their entry; the others are optional."""

    serve: Callable[[socket.socket], object]
    warm_up: Callable[[], Iterable[object]] = tuple
    rehearse: Callable[[], object] = tuple


def prepare(config: dict[str, Any]) -> tuple[wall.Plan, Part]:
    """Enter root and house, import what isolates need, give up what is not needed."""
    mode: wall.Mode = config["mode"]
    environment: dict[str, str] = config["environment"]
    os.environ.clear()
    os.environ.update(environment)
    with contextlib.suppress(ValueError):  # only root may raise what the host has set to 0
        resource.setrlimit(resource.RLIMIT_CORE, (wall.NO_CORE, wall.NO_CORE))
    if mode == "user":
        house.enter_as_user(sys_.NEWNS)
    elif mode != "none":
        sys_.unshare(sys_.NEWNS)
    if mode != "none":
        root.build(config["interpreter"], config["prefixes"], config["library"], with_proc=mode != "root")
    if mode == "house":
        house.enter_as_root()
    elif mode == "root":
        sys_.set_capabilities((_SYS_ADMIN, _SETUID, _SETGID, _SETPCAP, _NET_ADMIN))
    part = _import_entry(config)
    early, late = (sys_.Filter(base64.b64decode(text)) for text in config["seccomp"])
    plan = wall.Plan(mode, early, late, config["landlock"])
    wall.inherit(plan)
    return plan, part


def _import_entry(config: dict[str, Any]) -> Part:
    """Import for the isolates, from where they will find it, and forget where this process came from."""
    standard = [path for path in sys.path if path not in config["origins"]]
    libraries = [f"{root.STEPWELL}/lib"] if config["mode"] != "none" else config["library_roots"]
    sys.path[:] = [*standard, *libraries]
    for name in _PRELOADED:
        importlib.import_module(name)
    sys.executable = config["interpreter"]
    name, _, function = config["entry"].partition(":")
    module = importlib.import_module(name)
    return Part(getattr(module, function), getattr(module, "warm_up", tuple), getattr(module, "rehearse", tuple))


def describe(error: BaseException) -> dict[str, Any]:
    """An error as the host is told of it: the step of the wall, the errno, the text."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.name for frame in frames if frame.filename.endswith(("wall.py", "root.py", "house.py"))]
    return {
        "step": inside[-1] if inside else "start",
        "errno": getattr(error, "errno", None),
        "text": f"{type(error).__name__}: {error}",
    }


class Zygote:
    """Forks isolates on order and tells when they are gone."""

    def __init__(
        self,
        control: socket.socket,
        plan: wall.Plan,
        part: Part,
    ) -> None:
        self.control = control
        self.plan = plan
        self.part = part
        self.warming: Iterator[object] | None = iter(part.warm_up())
        self.isolates: dict[int, int] = {}  # pid → id

    def serve(self) -> None:
        """Wait for orders and for deaths; warm up meanwhile."""
        woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes the socket
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(0 if self.warming else None)}
            if not ready:
                self.warm()
            if woken in ready:
                os.read(woken, 4096)
                self.reap()
            if self.control.fileno() in ready and not self.take_order():
                return

    def warm(self) -> None:
        """Do the next small part of what makes isolates quick."""
        try:
            over = self.warming is None or next(self.warming, None) is None
        except Exception:  # isolates are slower then, and right
            traceback.print_exc()
            over = True
        if over:
            self.warming = None
            freeze()

    def reap(self) -> None:
        """Report every isolate whose process 1 has ended; the kernel has killed all others in it by then."""
        while self.isolates:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            identity = self.isolates.pop(pid, None)
            if identity is not None:
                self.control.send(json.dumps({"id": identity, "status": status}).encode())

    def take_order(self) -> bool:
        """Fork one isolate. False at end of file."""
        message, descriptors, _, _ = socket.recv_fds(self.control, 1 << 16, 1)
        if not message:
            return False
        identity = json.loads(message)["id"]
        try:
            pid, pidfd = self.fork()
        except OSError as error:
            self.control.send(json.dumps({"id": identity, "failed": describe(error)}).encode())
        else:
            if pid == 0:
                self.become_isolate(descriptors[0])
            self.isolates[pid] = identity
            socket.send_fds(self.control, [json.dumps({"id": identity, "pid": pid}).encode()], [pidfd])
            os.close(pidfd)
        os.close(descriptors[0])
        return True

    def fork(self) -> tuple[int, int]:
        """Fork, into namespaces of its own where there is a wall."""
        return sys_.fork_into(0 if self.plan.mode == "none" else wall.NAMESPACES)

    def become_isolate(self, sock: int) -> None:
        """Never returns: be a blank, raise the wall, say so, serve, end."""
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT):
                _plain.signal(number, _plain.SIG_DFL)
            command = self.shut_in(sock)
            if command:
                init.serve(socket.socket(fileno=wall.SOCKET), walled=self.plan.mode != "none")
            else:
                gc.enable()
                self.part.serve(socket.socket(fileno=wall.SOCKET))
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        finally:
            os._exit(status & 0xFF)

    def shut_in(self, sock: int) -> bool:
        """Wait for an order and build the wall around this process; whether the order is for a command."""
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        wall.keep_descriptors([sock])  # a blank must not hold the zygote's end of the control socket
        try:
            begun = wall.begin(self.plan)
            os.write(wall.SOCKET, b'{"blank": true}\n')
            order, descriptors = self.receive()
            output = descriptors.pop(0) if order.command else None
            wall.seal(self.plan, order, begun, output, descriptors)
        except Exception as error:
            os.write(wall.SOCKET, json.dumps({"failed": describe(error)}).encode() + b"\n")
            os._exit(71)
        os.write(wall.SOCKET, b'{"ready": true}\n')
        return order.command

    def receive(self) -> tuple[wall.Order, list[int]]:
        """Wait, perhaps for long, until somebody claims this isolate, and then for the descriptors of the order."""
        text = b""
        descriptors: list[int] = []
        order: wall.Order | None = None
        channel = socket.socket(fileno=wall.SOCKET)
        while order is None or len(descriptors) < order.descriptors:
            chunk, received, _, _ = socket.recv_fds(channel, 1 << 16, 253, socket.MSG_CMSG_CLOEXEC)
            if not chunk:
                os._exit(0)  # nobody ever will
            text += chunk
            descriptors += received
            while order is None and b"\n" in text:
                line, _, text = text.partition(b"\n")
                if line == REHEARSE:
                    self.part.rehearse()
                    os.write(wall.SOCKET, b'{"rehearsed": true}\n')
                else:
                    order = wall.Order(**json.loads(line))
        channel.detach()
        return order, descriptors


if __name__ == "__main__":
    sys.exit(main())
