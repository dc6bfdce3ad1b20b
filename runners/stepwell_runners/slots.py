"""Slots: places in containers that wait, into which a workspace is mounted at its use.

    slots/           a mount of its own, shared, so that what is mounted below it appears in containers
    slots/<name>/    ws → /workspace, files → /run/files, git → the origin's objects

A container binds the three as `rslave`. dockerd must see this server's mounts: it does where both are in one mount
namespace, and not where Stepwell itself is in a container. Nobody can tell beforehand, so `is_seen_by` tries it.
"""

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import Invalid
from stepwell_runners import syscalls as sys_
from stepwell_runners.reduce import open_beneath
from stepwell_runners.run_forks import OBJECTS
from stepwell_runners.spec import FILES, TOOLS, WORKSPACE, Overlay
from stepwell_runners.warm_containers import CannotWait

GIT_OBJECTS = f"{TOOLS}/{OBJECTS}"
_MOUNTED = ("ws", "git")


@dataclass(frozen=True)
class Slot:
    """One container's places."""

    place: Path

    @property
    def files(self) -> Path:
        """Private files, on the host."""
        return self.place / "files"

    @property
    def volumes(self) -> dict[str, dict[str, str]]:
        """What its container binds."""
        return {
            str(self.place / "ws"): {"bind": WORKSPACE, "mode": "rw,rslave"},
            str(self.place / "git"): {"bind": GIT_OBJECTS, "mode": "ro,rslave"},
            str(self.files): {"bind": FILES, "mode": "rw"},
        }

    def lay(self, mount: Overlay, objects: Path | None) -> None:
        """Mount a workspace, which its container sees from now on. An overlay that is volatile mounts only once."""
        if objects is not None:
            tree = sys_.open_tree(os.fsencode(objects), recursive=False)
            try:
                sys_.mount_setattr(tree, sys_.ATTR_RDONLY | sys_.ATTR_NOSUID | sys_.ATTR_NODEV, recursive=False)
                sys_.move_mount(tree, os.fsencode(self.place / "git"))
            finally:
                os.close(tree)
        flags = sys_.MS_NOSUID | sys_.MS_NODEV
        options = os.fsencode(overlay_options(mount))
        sys_.mount(b"overlay", os.fsencode(self.place / "ws"), b"overlay", flags, options)

    def is_seen_by(self, pid: int) -> bool:
        """Try whether this process of the slot's container sees what is mounted here after its start."""
        place, mark = os.fsencode(self.place / "ws"), f"stepwell-{self.place.name}"
        sys_.mount(mark.encode(), place, b"tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, b"size=4k")
        try:
            seen = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        except OSError:
            return False
        finally:
            sys_.unmount(place)
        return any(f" {WORKSPACE} " in line and f" {mark} " in line for line in seen)

    def clear(self) -> None:
        """Unmount what was laid, and remove the place. The container is gone, or was never made."""
        for name in _MOUNTED:
            with contextlib.suppress(OSError):  # nothing was laid there
                sys_.unmount(os.fsencode(self.place / name))
        shutil.rmtree(self.place, ignore_errors=True)


class Slots:
    """The slots below a state directory. Blocks; called from threads."""

    def __init__(self, state: Path) -> None:
        self.folder = state.resolve() / "slots"
        self._lock = threading.Lock()
        self._is_shared = False

    def make(self, name: str) -> Slot:
        """Make an empty slot. Raises CannotWait where this process may not mount."""
        with self._lock:
            if not self._is_shared:
                try:
                    self._share()
                except OSError as error:
                    raise CannotWait(f"This server may not mount ({error}).") from error
        slot = Slot(self.folder / name)
        slot.place.mkdir()
        for part in _MOUNTED:
            (slot.place / part).mkdir()
        open_files(slot.files)
        return slot

    def slot(self, name: str) -> Slot:
        """Return the slot of this name."""
        return Slot(self.folder / name)

    def recover(self, kept: Collection[str] = ()) -> None:
        """Unmount and remove all slots but the `kept`, which containers still use."""
        if not self.folder.exists():
            return
        for place in self.folder.iterdir():
            if place.name not in kept:
                Slot(place).clear()
        self._is_shared = bool(kept)
        if not kept:
            with contextlib.suppress(OSError):  # the server before this one never mounted it
                sys_.unmount(os.fsencode(self.folder))

    def close(self) -> None:
        """Take the mount away, with whatever is left below it."""
        with self._lock:
            if self._is_shared:
                self._is_shared = False
                sys_.unmount(os.fsencode(self.folder))

    def _share(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        place = os.fsencode(self.folder)
        sys_.mount(place, place, None, sys_.MS_BIND)
        try:
            sys_.mount(b"none", place, None, sys_.MS_PRIVATE)  # a group of its own, not that of the mount below
            sys_.mount(b"none", place, None, sys_.MS_SHARED)
        except OSError:
            sys_.unmount(place)
            raise
        self._is_shared = True


def overlay_options(mount: Overlay) -> str:
    """Return the options that mount an overlay. Raises Invalid for paths that these cannot hold."""
    paths = [str(path) for path in (*mount.lowers, mount.upper, mount.work)]
    if any(bad in path for path in paths for bad in ',:"\\'):
        raise Invalid("Container steps need a state directory whose path has no comma, colon, quote or backslash.")
    lowers = ":".join(paths[:-2])
    same = ",".join(f"{key}={value}" for key, value in sys_.OVERLAY)
    return f"lowerdir={lowers},upperdir={paths[-2]},workdir={paths[-1]},{same},volatile"


def open_files(folder: Path) -> None:
    """Make a directory for private files; the one above is the runner's alone."""
    folder.parent.chmod(0o700)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Lay private files where the container sees them. Raises Invalid for a name that is there already.

    What waits in a container is a stranger's program too: a link that it has left there would lead us anywhere.
    """
    open_files(folder)
    for name, content in files.items():
        try:
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        except FileExistsError as error:
            raise Invalid(
                f"The image's sh has made {FILES}/{name} before it was told what to run, and a private file of that "
                "name belongs there. Use an image whose sh does not, or give the secret as a variable."
            ) from error
        with os.fdopen(descriptor, "wb") as writing:
            writing.write(content)
            os.fchmod(descriptor, 0o444)


def read_files(folder: Path, names: tuple[str, ...], most_bytes: int) -> dict[str, bytes]:
    """Return the regular files of these names; a command may have left anything in that place."""
    found = {}
    for name in names:
        try:
            descriptor = open_beneath(folder, name)
        except OSError:
            continue
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        with os.fdopen(descriptor, "rb") as reading:
            found[name] = reading.read(most_bytes + 1)
    return found
