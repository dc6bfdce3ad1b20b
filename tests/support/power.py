"""A disk whose power is cut: an ext4 of its own on a loop device, copied at points of what happens on it.

What has reached the device at a moment is in the backing file; what only the kernel's memory holds is not, and a copy
of that file is the disk as a power cut leaves it. Each point is cut twice, for a disk may also keep more than was asked
for: the second time ext4 has just written its journal on somebody else's behalf, so that names and sizes are there and
contents need not be.

Needs root and loop devices.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell.store import durable

SIZE = 24 << 20


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """Mount a disk; its journal is played back as after a power cut."""
    at.mkdir(exist_ok=True)
    # Nothing is written back because time went by: commit=600, and the test is over before pages are 30 s old.
    done = subprocess.run(["mount", "-o", "loop,commit=600", image, at], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"loop devices cannot be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def new_disk(folder: Path) -> Path:
    """Make an ext4 in a file."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts disks")
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip("mkfs.ext4 is not installed")
    image = folder / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run([mkfs, "-q", "-F", image], check=True)
    return image


class Cuts:
    """Copies of a disk, taken at points of what happens on it."""

    def __init__(self, image: Path, root: Path) -> None:
        self.image = image
        self.root = root
        self.taken: list[tuple[str, Path]] = []

    def take(self, point: str) -> None:
        for how in ("asked for", "and more"):
            if how == "and more":
                (self.root / "of somebody else").write_text(point)
                durable.sync_folder(self.root)
                with (self.root / "of somebody else").open() as file:
                    os.fsync(file)
            copy = self.image.with_name(f"cut-{len(self.taken)}")
            subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
            self.taken.append((f"{point}, {how}", copy))

    def before(self, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Cut at each call, before it takes effect."""

        def wrapped(*arguments: Any, **more: Any) -> Any:
            self.take(point)
            return function(*arguments, **more)

        return wrapped
