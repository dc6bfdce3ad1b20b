"""Trees that are there before they are checked out: the server's side of lazy_server.

On where /dev/fuse can be opened, FUSE maps ids (Linux 6.12) and this process may mount; never inside a container, where
that would mount on the host's kernel what the host's people do not expect. Everywhere else a step waits for its
checkout.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.errors import StepwellError
from stepwell.repos.process import environment, git_version
from stepwell_runners import syscalls as sys_
from stepwell_runners.lazy_tree import GIT, TREE
from stepwell_runners.link import spawn

_SECONDS = 20.0
_OLDEST_GIT = (2, 36)  # which has `cat-file --batch-command`
_FIRST_PIDS = "pid:[4026531836]"  # PROC_PID_INIT_INO: the one pid namespace that no container made


@dataclass(frozen=True)
class Served:
    """A tree below a mount; `name` is what it is dropped by."""

    name: str
    place: Path

    @property
    def files(self) -> Path:
        """The tree."""
        return self.place / os.fsdecode(TREE)

    @property
    def git(self) -> Path:
        """A directory with `.git/index`, to be laid over the tree."""
        return self.place / os.fsdecode(GIT)

    @property
    def is_alive(self) -> bool:
        """Whether its process answers."""
        try:
            os.statvfs(self.place)
        except OSError:
            return False
        return True


class Lazy:
    """Serves trees below <state>/lazy. Any thread may call; nothing raises but what it says."""

    def __init__(self, state: Path) -> None:
        self._state = state.resolve()
        self.folder = self._state / "lazy"
        self.problem: str | None = "it has not been started"
        self._lock = threading.Lock()
        self._asking = ThreadPoolExecutor(1, "lazy-ask")
        self._starting: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._spare: Future[Served] | None = None  # an index to come, for nobody yet
        self._spare_lock = threading.Lock()

    def start(self) -> None:
        """Remove what a killed server left mounted; then begin to start, if this host can.

        To be called before a mounter is started, which is to see what is mounted here later.
        """
        self.clean()
        self.problem = _unfit()
        if self.problem is not None:
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        place = os.fsencode(self.folder)
        try:
            sys_.mount(place, place, None, sys_.MS_BIND)
            sys_.mount(b"none", place, None, sys_.MS_PRIVATE)
            sys_.mount(b"none", place, None, sys_.MS_SHARED)
        except OSError as error:
            self.problem = str(error)
            return
        self.problem = "it is starting"
        self._starting = threading.Thread(target=self._begin, name="lazy-start", daemon=True)
        self._starting.start()

    def ready(self) -> str | None:
        """Wait until it has started; why it has not, None when it has."""
        if self._starting is not None:
            self._starting.join()
        return self.problem

    def _begin(self) -> None:
        try:
            self._spawn()
        except OSError as error:
            self._end()
            self.problem = str(error)
        else:
            self.problem = None

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = spawn("stepwell_runners.lazy_server", theirs.fileno(), {"PATH": os.environ.get("PATH", "")})
        self._control = ours
        ours.settimeout(_SECONDS)
        ours.send(json.dumps({"folder": str(self.folder), "environment": environment()}).encode())
        reply = json.loads(ours.recv(1 << 16) or b'{"failed": "the process that serves trees has ended"}')
        if "failed" in reply:
            raise OSError(reply["failed"])

    def serve(self, repository: Path, tree: str, seconds: int, checkout: Path, index: Path) -> Served:
        """Mount a tree that will be at `checkout` later, all its files of this time. Raises OSError."""
        what = {
            "repository": str(repository), "tree": tree, "seconds": seconds,
            "checkout": str(checkout), "index": str(index), "scratch": str(self._state / "trees"),
        }  # fmt: skip
        name = self._request({"serve": what})["name"]
        return Served(name, self.folder / name)

    def serve_index(self) -> "Future[Served]":
        """Begin to mount a directory with a `.git/index` to come, or take one made ahead; the result raises OSError."""
        with self._spare_lock:
            coming, self._spare = self._spare, None
        is_alive = self._process is not None and self._process.poll() is None
        if coming is None or not is_alive or (coming.done() and coming.exception()):
            return self._begin_index()
        return coming

    def prepare_index(self) -> None:
        """Begin to make the next one ahead: a server that has needed one will need another."""
        with self._spare_lock:
            self._spare = self._spare or self._begin_index()

    def settled(self) -> None:
        """Wait until one made ahead is there, if it has been begun."""
        self._asking.submit(int).result()

    def _begin_index(self) -> "Future[Served]":
        coming = self._asking.submit(self.serve, Path(), "", 0, Path(), Path())
        self._asking.submit(_look_at, coming)
        return coming

    def filled(self, served: Served, ok: bool, index: Path | None = None) -> None:
        """Say how the checkout ended, or where the index is that was to come. Raises OSError."""
        self._request({"filled": served.name, "ok": ok, "index": str(index or "")})

    def drop(self, served: Served) -> None:
        """Take the path of a tree away; isolates that have it keep it."""
        with contextlib.suppress(OSError):  # then it is gone with its process
            self._request({"drop": served.name})

    def close(self) -> None:
        """End everything, and unmount it."""
        self.ready()
        self._end()
        self.problem = "it has been stopped"
        self.clean()

    def _end(self) -> None:
        with self._lock:
            control, self._control = self._control, None
            process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def clean(self) -> None:
        """Unmount everything below the folder, and the folder."""
        if not self.folder.exists():
            return
        with contextlib.suppress(OSError):  # not mounted
            while True:  # one server after the other may have been killed
                sys_.unmount(os.fsencode(self.folder))
        for left in self.folder.iterdir():
            with contextlib.suppress(OSError):  # where the folder itself could not be mounted
                sys_.unmount(os.fsencode(left))
            with contextlib.suppress(OSError):  # an empty directory more is no reason not to start
                left.rmdir()

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._control is None:
                raise OSError("trees are not served")
            try:
                self._control.send(json.dumps(message).encode())
                reply = self._control.recv(1 << 16)
            except OSError:
                reply = b""
        if not reply:
            self.problem = "the process that serves trees has ended"
            raise OSError(self.problem)
        answer: dict[str, Any] = json.loads(reply)
        if "failed" in answer:
            raise OSError(answer["failed"])
        return answer


def _look_at(coming: "Future[Served]") -> None:
    """Ask for what an overlay will ask for when it is mounted: the kernel keeps the answers."""
    with contextlib.suppress(OSError):  # there is no such attribute, which is one of the answers
        os.getxattr(coming.result().git, "trusted.overlay.opaque")


def _unfit() -> str | None:
    """Why this host cannot serve trees, if that can be seen."""
    if os.geteuid() != 0:
        return "it takes root"
    if in_container():
        return "Stepwell runs in a container"
    try:
        if git_version() < _OLDEST_GIT:
            return "it takes git 2.36"
    except StepwellError as error:
        return str(error)
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/fuse cannot be opened ({error.strerror})"
    return None


def in_container() -> bool:
    """Say whether this process is in a container, as far as one can tell from inside.

    A file as /.dockerenv alone says little: machines are made from images of containers too.
    """
    if "container" in os.environ or str(Path("/proc/self/ns/pid").readlink()) != _FIRST_PIDS:
        return True
    is_marked = any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv")))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    kinds = [line.partition(" - ")[2].split()[0] for line in mounts if line.split()[4] == "/"]
    return is_marked and kinds[-1:] in (["overlay"], ["btrfs"], ["zfs"])
