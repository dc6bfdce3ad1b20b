# ruff: noqa: PTH102
"""The process that makes mounts and hands them out as descriptors: `python -s -P -S -m stepwell_runners.mounter FD`.

The zygote never learns a path. Layers go into the overlay as descriptors too, so that no host path appears in the
isolate's mountinfo. As root it stays outside the house (an id mapping inside is refused) and shows the disk's owner as
the tenant; as an ordinary user it lives in a house of its own and the overlay keeps its marks in `user.` attributes.
The two forms of marks are never mixed: an overlay of one kind brings files deleted by the other back.

Kernels before 6.13 take no layers by descriptor: there they are attached for a moment in the mounter's own mount
namespace, under short names, and that is what mountinfo shows.

Control socket (SEQPACKET, JSON): the configuration, answered by {"up": true}; then {"id", "owner", "mounts"}, answered
by {"id"} and one descriptor per mount, or {"id", "failed"}. A request may bring a socket along: then the descriptors go
there, with one newline, and whoever waits for them need not wait for the engine to pass them on.
"""

import errno
import json
import os
import socket
import sys
import threading
from collections import OrderedDict
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

from stepwell_runners import house
from stepwell_runners import syscalls as sys_
from stepwell_runners.zygote import describe

HUNG_UP = "handing over"  # the step that fails when the one who was to have the mounts is gone
_KEPT_MAPPINGS = 512
_MOST_SPENT = 128  # descriptors that wait to be closed
_SCRATCH = b"/sys"  # hides nothing the mounter needs, and only from the mounter
_SAFE = sys_.ATTR_NOSUID | sys_.ATTR_NODEV


def main() -> int:
    """Serve until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    config = json.loads(control.recv(1 << 16))
    try:
        if config["root"]:
            sys_.unshare(sys_.NEWNS)
        else:
            house.enter_as_user(sys_.NEWNS)
        sys_.mount(b"none", b"/", None, sys_.MS_REC | sys_.MS_SLAVE)
    except OSError as error:
        control.send(json.dumps({"failed": describe(error)}).encode())
        return 1
    control.send(b'{"up": true}')
    mounter = Mounter(config["root"], config["by_descriptor"])
    while True:
        message, targets, _, _ = socket.recv_fds(control, 1 << 20, 1, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return 0
        mounter.answer(control, json.loads(message), socket.socket(fileno=targets[0]) if targets else None)


class Mounter:
    """Makes detached mounts; keeps one id mapping per tenant."""

    def __init__(self, root: bool, by_descriptor: bool) -> None:
        self.root = root
        self.by_descriptor = by_descriptor
        self.mappings: OrderedDict[int, int] = OrderedDict()  # owner → user namespace
        self._spent: SimpleQueue[int] = SimpleQueue()
        threading.Thread(target=self._close_spent, daemon=True).start()

    def answer(self, control: socket.socket, request: dict[str, Any], target: socket.socket | None) -> None:
        """Make all mounts of one request, or none, and send them to `target` or with the answer.

        What was needed on the way is closed behind, where no other request waits for it: with each mount that nobody
        has any more the kernel waits for all processors.
        """
        made: list[int] = []
        spent: list[int] = []
        with ExitStack() as stack:
            if target is not None:
                stack.callback(target.close)
            try:
                for mount in request["mounts"]:
                    made.append(self.make(mount, request["owner"], spent))
                answer: dict[str, Any] = {"id": request["id"]}
                if target is not None:
                    answer |= _hand_over(target, made)
                socket.send_fds(control, [json.dumps(answer).encode()], made if target is None else [])
            except OSError as error:
                control.send(json.dumps({"id": request["id"], "failed": describe(error)}).encode())
            finally:
                for descriptor in made:  # now, or this process would be the last to have it mounted
                    os.close(descriptor)
                self._close_behind(spent)

    def _close_behind(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            if self._spent.qsize() < _MOST_SPENT:
                self._spent.put(descriptor)
            else:
                os.close(descriptor)

    def _close_spent(self) -> None:
        while True:
            os.close(self._spent.get())

    def make(self, mount: dict[str, Any], owner: int, spent: list[int]) -> int:
        """A directory, or an overlay when there are `lowers`; what is not needed any more goes with `spent`."""
        if "lowers" not in mount:
            return self.tree(mount["path"], owner, _SAFE | (sys_.ATTR_RDONLY if mount["read_only"] else 0))
        if self.by_descriptor:
            try:
                return self.overlay(mount, owner, spent)
            except OSError as error:
                if error.errno != errno.EINVAL or error.filename != "fsconfig lowerdir+":
                    raise
                self.by_descriptor = False
        return self.overlay_by_name(mount, owner)

    def overlay_by_name(self, mount: dict[str, Any], owner: int) -> int:
        """The same for older kernels: layers attached as `0`, `1`, … and `w` on a tmpfs that lives for this call."""
        with ExitStack() as stack:
            sys_.mount(b"tmpfs", _SCRATCH, b"tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, b"mode=700,size=64k")
            stack.callback(sys_.unmount, _SCRATCH)
            stack.callback(os.chdir, "/")
            os.chdir(_SCRATCH)
            lowers = {str(number): path for number, path in enumerate(mount["lowers"])}
            places, options = dict(lowers), {"lowerdir": ":".join(lowers)}
            if "upper" in mount:
                common = places["w"] = os.path.commonpath((mount["upper"], mount["work"]))
                options |= {f"{key}dir": f"w/{os.path.relpath(mount[key], common)}" for key in ("upper", "work")}
            for name, path in places.items():
                os.mkdir(name)
                sys_.move_mount(_owned(stack, self.tree(path, owner, 0)), name.encode())
            flags = ["volatile"] * ("upper" in mount) + ["userxattr"] * (not self.root)
            text = ",".join([*(f"{key}={value}" for key, value in (options | dict(sys_.OVERLAY)).items()), *flags])
            kind = sys_.MS_NOSUID | sys_.MS_NODEV | (0 if "upper" in mount else sys_.MS_RDONLY)
            os.mkdir("m")
            sys_.mount(b"overlay", b"m", b"overlay", kind, text.encode())
            return sys_.open_tree(b"m", recursive=False)

    def overlay(self, mount: dict[str, Any], owner: int, spent: list[int]) -> int:
        """An overlay of layers that are passed by descriptor; upper and work must be seen through the same mount.

        Without an upper it is read-only.
        """
        spent.append(context := sys_.fsopen("overlay"))
        for path in mount["lowers"]:
            spent.append(lower := self.tree(path, owner, 0))
            sys_.fsconfig_fd(context, "lowerdir+", lower)
        if "upper" in mount:
            common = f"{os.path.commonpath((mount['upper'], mount['work']))}/"
            spent.append(writable := self.tree(common, owner, 0))
            for key in ("upper", "work"):
                inside = os.open(mount[key].removeprefix(common), os.O_PATH | os.O_DIRECTORY, dir_fd=writable)
                spent.append(inside)
                sys_.fsconfig_fd(context, f"{key}dir", inside)
            sys_.fsconfig_flag(context, "volatile")
        for key, value in sys_.OVERLAY:
            sys_.fsconfig_string(context, key, value)
        if not self.root:
            sys_.fsconfig_flag(context, "userxattr")
        return sys_.fsmount(context, _SAFE | (0 if "upper" in mount else sys_.ATTR_RDONLY), "overlay")

    def tree(self, path: str, owner: int, attributes: int) -> int:
        """A clone of the mount at `path`, owned by the tenant."""
        tree = sys_.open_tree(path.encode(), recursive=False)
        try:
            if self.root:
                sys_.mount_setattr(tree, attributes | sys_.ATTR_IDMAP, self.mapping(owner), recursive=False)
            elif attributes:
                sys_.mount_setattr(tree, attributes, recursive=False)
        except OSError:
            os.close(tree)
            raise
        return tree

    def mapping(self, owner: int) -> int:
        """The user namespace that holds this tenant's mapping; making one takes 2 ms."""
        if owner not in self.mappings:
            self.mappings[owner] = house.mapping(owner)
            if len(self.mappings) > _KEPT_MAPPINGS:
                os.close(self.mappings.popitem(last=False)[1])
        self.mappings.move_to_end(owner)
        return self.mappings[owner]


def _hand_over(target: socket.socket, trees: list[int]) -> dict[str, Any]:
    """Send mounts to who waits for them; what to answer when nobody does any more."""
    try:
        socket.send_fds(target, [b"\n"], trees)
    except OSError as error:
        return {"failed": {"step": HUNG_UP, "errno": error.errno, "text": str(error)}}
    return {}


def _owned(stack: ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


if __name__ == "__main__":
    sys.exit(main())
