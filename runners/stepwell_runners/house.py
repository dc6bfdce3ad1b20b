"""User namespaces: the house the zygote and the mounter live in, and the ones that only hold an id mapping.

Real root is not mapped inside the house, so a broken zygote is a nobody on the host. As root the house has 65,536 ids
of its own from BASE on, one for each tenant; as an ordinary user it has one, the user's, and all tenants share it.
"""

import os
import signal
from pathlib import Path

from stepwell_runners.syscalls import NEWUSER, unshare

BASE, SIZE = 200_000, 65_536  # ids of the house as the host sees them
FIRST_TENANT = 1_000  # the first tenant's id inside the house
INSIDE = 1_000  # every tenant's id as its own isolate sees it


def host_id(index: int) -> int:
    """The uid on the host of the tenant with this index."""
    if not 0 <= index < SIZE - FIRST_TENANT - 1:
        raise ValueError(f"tenant index {index} is outside the {SIZE - FIRST_TENANT - 1} ids of the house")
    return BASE + FIRST_TENANT + index


def enter_as_root() -> None:
    """Enter a house with a range of ids. Only a process that stays outside may map a range: a short-lived child."""
    ready_read, ready_write = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            os.close(ready_write)
            if os.read(ready_read, 1):
                _write_maps(f"/proc/{parent}", f"0 {BASE} {SIZE}")
                status = 0
        finally:
            os._exit(status)
    unshare(NEWUSER)
    os.write(ready_write, b"1")
    os.close(ready_write)
    os.close(ready_read)
    if os.waitpid(helper, 0)[1]:
        raise OSError(1, "the helper could not write the id map", "uid_map")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def enter_as_user(namespaces: int = 0) -> None:
    """Enter a house in which the ordinary user is the only id, and root."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(NEWUSER | namespaces)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def mapping(owner: int) -> int:
    """A descriptor of a user namespace that shows disk owner 0 as `owner` on the host.

    Id 1 carries root itself: an overlay creates its work directory as root, and without an id for root on the
    upper mount the overlay would silently be read-only.
    """
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            unshare(NEWUSER)
            os.write(ready_write, b"1")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(ready_write)
        if not os.read(ready_read, 1):
            raise OSError(1, "no user namespace for an id mapping", "unshare")
        _write_maps(f"/proc/{child}", f"0 {owner} 1\n1 0 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _write_maps(process: str, ids: str) -> None:
    Path(f"{process}/uid_map").write_text(ids)
    Path(f"{process}/gid_map").write_text(ids)
