"""Large blobs of a tree that is not checked out yet take no more of the disk than a checkout may."""

import errno
import subprocess
from pathlib import Path

import pytest

from stepwell.repos.process import environment
from stepwell_runners.lazy_objects import MissingObject, Objects
from stepwell_runners.lazy_spools import Spools


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "r.git"], check=True)
    return tmp_path / "r.git"


def blob(repository: Path, text: bytes) -> str:
    command: list[str | Path] = ["git", "--git-dir", repository, "hash-object", "-w", "--stdin"]
    return subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode().strip()


def unpacked(scratch: Path) -> int:
    """Bytes in the files without names that this process holds there."""
    held = Path("/proc/self/fd")
    mine = (one for one in held.iterdir() if one.is_symlink() and str(one.readlink()).startswith(str(scratch)))
    return sum(one.stat().st_size for one in mine)


def test_blobs_are_unpacked_once_and_the_oldest_make_room(repository: Path, tmp_path: Path) -> None:
    ids = [blob(repository, bytes([number]) * 1000) for number in range(5)]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    spools = Spools(Objects(repository, environment(), scratch), most_bytes=2500)
    for _ in range(2):
        for number, id_ in enumerate(ids):
            assert spools.read(id_, 10, 5, of=1000) == bytes([number]) * 5
            assert unpacked(scratch) <= 2500
            assert spools.read(id_, 995, 100, of=1000) == bytes([number]) * 5
    assert unpacked(scratch) == 2000


def test_a_blob_larger_than_all_of_them_may_be_is_not_unpacked(repository: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    spools = Spools(Objects(repository, environment(), scratch), most_bytes=999)
    with pytest.raises(OSError, match="larger") as refused:
        spools.read(blob(repository, bytes(1000)), 0, 1, of=1000)
    assert refused.value.errno == errno.EFBIG and unpacked(scratch) == 0
    with pytest.raises(MissingObject):
        spools.read("0" * 40, 0, 1, of=10)
    assert spools.read(blob(repository, b"x" * 900), 0, 1, of=900) == b"x"
