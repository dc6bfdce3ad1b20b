"""The process that serves trees before they are checked out: `python … -m stepwell_runners.lazy_server FD`.

It mounts each tree in the server's own mount namespace and forks a process for it, which ends with its last mount. So
one tenant's tree cannot hold up another's, and what it takes of memory is given back. One is made ahead, its mount
attached nowhere: until its process knows the tree, questions would wait. When the server dies, its end of
the control socket closes and everything here goes, mounts included, that of the folder too; if this one is killed as
well, the next server unmounts what it finds.

Control socket (SEQPACKET, JSON): the configuration, answered by {"up": true} or {"failed": text}; then one request at
a time: {"serve": {…}}, answered by {"name": …}; {"filled": name, "ok": bool, "index": path} and {"drop": name}, by {}.
Instead of these {"failed": text}. Who serves an index alone is told only by `filled` where it is.
"""

import contextlib
import errno
import gc
import json
import os
import secrets
import signal
import socket
import stat
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stepwell_runners import fuse
from stepwell_runners import syscalls as sys_
from stepwell_runners.lazy_objects import MissingObject, Objects
from stepwell_runners.lazy_spools import Spools, read_at
from stepwell_runners.lazy_tree import Checkout, LazyTree, Node, Refused, Waits

SMALL = 1 << 20  # bytes of a file that is read as a whole
_AHEAD_BYTES, _AHEAD_FILES = 1 << 20, 128
_KEPT_BYTES = 16 << 20
_PAUSE = 0.1  # seconds from a mount to the next one made ahead


def main() -> int:
    """Serve until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    config = json.loads(control.recv(1 << 16))
    mounted = os.open(config["folder"], os.O_PATH | os.O_CLOEXEC)  # this mount, whatever is mounted here later
    server = Server(config, control)
    gc.freeze()
    try:
        reply = server.prepare()
        control.send(json.dumps(reply or {"up": True}).encode())
        while reply is None and (message := _next(control, server)):
            request = json.loads(message)
            control.send(json.dumps(server.answer(request)).encode())
            control.settimeout(_PAUSE if "serve" in request else None)
    except ConnectionError:
        pass
    server.close()
    with contextlib.suppress(OSError):  # it is gone already
        sys_.unmount(f"/proc/self/fd/{mounted}".encode())
    return 0


def _next(control: socket.socket, server: "Server") -> bytes:
    """Wait for a request; make the next mount ahead when the one just served is no longer in anybody's way."""
    while True:
        try:
            return control.recv(1 << 16)
        except TimeoutError:
            server.prepare()
            control.settimeout(None)


class Server:
    """One child process for each tree."""

    def __init__(self, config: dict[str, Any], control: socket.socket) -> None:
        self._folder = Path(config["folder"])
        self._environment: dict[str, str] = config["environment"]
        self._control = control
        self._children: dict[str, socket.socket] = {}
        self._ahead: tuple[str, int] | None = None  # its name, and its mount
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended

    def prepare(self) -> dict[str, Any] | None:
        """Mount one ahead. Why that failed: the next request tries again."""
        try:
            self._ahead = self._ahead or self._fork()
        except OSError as error:
            return {"failed": str(error)}
        return None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        try:
            if "serve" in request:
                return {"name": self._serve(request["serve"])}
            if "filled" in request:
                word = b"1" + os.fsencode(request["index"]) if request["ok"] else b"0"
                self._children[request["filled"]].send(word)
            else:
                self._drop(request["drop"])
        except (OSError, KeyError) as error:
            return {"failed": f"{type(error).__name__}: {error}"}
        return {}

    def close(self) -> None:
        """Take everything away."""
        if self._ahead is not None:
            os.close(self._ahead[1])
        for name in list(self._children):
            with contextlib.suppress(OSError):
                self._drop(name)

    def _serve(self, what: dict[str, Any]) -> str:
        (name, mounted), self._ahead = self._ahead or self._fork(), None
        place = self._folder / name
        try:
            place.mkdir()
            self._children[name].send(json.dumps(what).encode())
            sys_.move_mount(mounted, os.fsencode(place))
        except OSError:
            self._drop(name)
            raise
        finally:
            os.close(mounted)
        return name

    def _fork(self) -> tuple[str, int]:
        """Make a mount, and return when the kernel has agreed with the process behind it."""
        name = secrets.token_hex(6)
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._children[name] = ours
        mounted = -1
        try:
            mounted = _mount(device)
            if os.fork() == 0:
                os.close(mounted)  # or it would keep itself alive
                _child(self, device, theirs)
            theirs.close()
            if ours.recv(1) != b"1":
                raise OSError(errno.EPROTO, "this kernel's FUSE is too old")
        except OSError:
            if mounted >= 0:
                os.close(mounted)
            self._drop(name)
            raise
        finally:
            theirs.close()
            os.close(device)
        return name, mounted

    def _drop(self, name: str) -> None:
        """Take a tree's path away; who has it mounted keeps it."""
        if child := self._children.pop(name, None):
            child.close()
        place = self._folder / name
        with contextlib.suppress(OSError):
            sys_.unmount(os.fsencode(place))
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()

    def become(self, config: dict[str, Any], told: socket.socket) -> "Service":
        """In the child: serve this tree; without one, only the index to come."""
        objects = Objects(Path(config["repository"]), self._environment, Path(config["scratch"]))
        if config["tree"]:
            objects.start()
        checkout = Checkout(Path(config["checkout"]), Path(config["index"]))
        return Service(LazyTree(objects, config["tree"], config["seconds"], checkout), told)

    def leave(self) -> None:
        """In the child: let go of everything that belongs to others."""
        self._control.close()
        if self._ahead is not None:
            os.close(self._ahead[1])
        for other in self._children.values():
            other.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _mount(device: int) -> int:
    context = sys_.fsopen("fuse")
    try:
        for key, value in fuse.mount_options(device):
            if value is None:
                sys_.fsconfig_flag(context, key)
            else:
                sys_.fsconfig_string(context, key, value)
        attributes = sys_.ATTR_RDONLY | sys_.ATTR_NOSUID | sys_.ATTR_NODEV
        return sys_.fsmount(context, attributes, "fuse")
    finally:
        os.close(context)


def _child(server: Server, device: int, told: socket.socket) -> None:
    status = 1
    try:
        sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
        server.leave()
        connection = fuse.Device(device)
        if connection.begin():
            told.send(b"1")
            if config := told.recv(1 << 16):
                server.become(json.loads(config), told).run(connection)
            status = 0
    finally:
        os._exit(status)


class Service:
    """Answers the kernel about one tree."""

    def __init__(self, tree: LazyTree, told: socket.socket) -> None:
        self._tree = tree
        self._told = told
        self._lock = threading.Lock()
        self._parked: list[fuse.Request] = []
        self._kept: OrderedDict[int, bytes] = OrderedDict()  # contents read ahead
        self._kept_bytes = 0
        self._spools = Spools(tree.objects)
        self._large = ThreadPoolExecutor(1)
        self._device: fuse.Device

    def run(self, device: fuse.Device) -> None:
        """Serve until the last mount is gone."""
        self._device = device
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := device.next()) is not None:
            with self._lock:
                self._handle(request)

    def _listen(self) -> None:
        """Hear how the checkout ended, and answer whoever waited for it."""
        word = self._told.recv(1 << 13)  # none when it was dropped before: then nobody looks any more
        with self._lock:
            if index := word[1:]:
                self._tree.checkout.index = Path(os.fsdecode(index))
            self._tree.checkout.ok = word.startswith(b"1")
            parked, self._parked = self._parked, []
            for request in parked:
                self._handle(request)

    def _handle(self, request: fuse.Request) -> None:
        try:
            self._answer(request)
        except Waits:
            self._parked.append(request)
        except (Refused, MissingObject):
            self._device.refuse(request.unique, errno.EIO)
        except OSError as error:
            self._device.refuse(request.unique, error.errno or errno.EIO)

    def _answer(self, request: fuse.Request) -> None:
        device, tree = self._device, self._tree
        opcode, unique = request.opcode, request.unique
        if opcode == fuse.READ:
            self._read(request)
        elif opcode == fuse.LOOKUP:
            found = tree.names(tree.node(request.node)).get(request.body.rstrip(b"\0"))
            device.answer(unique, fuse.no_entry() if found is None else fuse.entry(tree.attributes(found)))
        elif opcode in (fuse.READDIR, fuse.READDIRPLUS):
            self._list(request)
        elif opcode == fuse.GETATTR:
            device.answer(unique, fuse.attributes(tree.attributes(tree.node(request.node))))
        elif opcode == fuse.READLINK:
            device.answer(unique, self._link(tree.node(request.node)))
        elif opcode == fuse.STATFS:
            device.answer(unique, fuse.file_system())
        elif opcode not in fuse.SILENT:
            device.refuse(unique, errno.ENOSYS)

    def _list(self, request: fuse.Request) -> None:
        tree = self._tree
        folder = tree.node(request.node)
        offset, size = fuse.asked_range(request)
        itself = fuse.Attributes(folder.number, folder.mode, 0, 0)
        names = [(b".", folder), (b"..", folder), *tree.names(folder).items()][offset:]
        entries = ((name, itself if node is folder else self._shown(node)) for name, node in names)
        plus = request.opcode == fuse.READDIRPLUS
        self._device.answer(request.unique, fuse.listing(entries, offset, size, plus=plus))

    def _shown(self, node: Node) -> fuse.Attributes:
        """In a listing nobody waits: what has to, is asked for again by its name."""
        try:
            return self._tree.attributes(node)
        except Waits:
            return fuse.Attributes(node.number, node.mode, fuse.UNKNOWN, 0)

    def _link(self, node: Node) -> bytes:
        if not stat.S_ISLNK(node.mode):
            raise OSError(errno.EINVAL, "no link")
        place = self._tree.file(node)
        if place is not None:
            return os.fsencode(place.readlink())
        if node.size >= 4096:
            raise OSError(errno.ENAMETOOLONG, "a link's target")
        return self._tree.objects.contents([node.id])[0]

    def _read(self, request: fuse.Request) -> None:
        node = self._tree.node(request.node)
        offset, size = fuse.asked_range(request)
        place = self._tree.file(node)
        if place is not None or node.size > SMALL:
            self._large.submit(self._read_large, request.unique, node, place, (offset, size))
            return
        content = self._content(node)
        self._device.answer(request.unique, content[offset : offset + size])
        if offset + size >= len(content):
            self._forget(node.number)  # the kernel has it now

    def _content(self, node: Node) -> bytes:
        if node.number not in self._kept:
            wanted = self._ahead(node)
            for one, content in zip(wanted, self._tree.objects.contents([one.id for one in wanted]), strict=True):
                self._kept[one.number] = content
                self._kept_bytes += len(content)
        content = self._kept[node.number]
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))
        return content

    def _forget(self, number: int) -> None:
        self._kept_bytes -= len(self._kept.pop(number, b""))

    def _ahead(self, node: Node) -> Sequence[Node]:
        """The file itself; with those after it when its directory seems to be read as a whole."""
        folder = node.above
        if folder is None:
            return (node,)
        folder.reads += 1
        if folder.reads <= 2:
            return (node,)
        wanted, size = [node], node.size
        for other in folder.files[node.place + 1 : node.place + _AHEAD_FILES]:
            size += other.size
            if size > _AHEAD_BYTES:
                break
            if other.number not in self._kept and not stat.S_ISLNK(other.mode):
                wanted.append(other)
        return wanted

    def _read_large(self, unique: int, node: Node, place: Path | None, asked: tuple[int, int]) -> None:
        """In a thread: it may take long until a large object is unpacked."""
        try:
            if place is not None:
                descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    self._device.answer(unique, read_at(descriptor, *asked))
                finally:
                    os.close(descriptor)
            else:
                self._device.answer(unique, self._spools.read(node.id, *asked, of=node.size))
        except MissingObject:
            self._device.refuse(unique, errno.EIO)
        except OSError as error:
            self._device.refuse(unique, error.errno or errno.EIO)


if __name__ == "__main__":
    sys.exit(main())
