"""Forks: a run's own refs over the origin's objects, as they are now; made by hand in far less than a millisecond.

`git clone --shared` takes 8 to 3,000 ms. What costs most is a new inode, a directory above all: so a fork is HEAD and
packed refs, and all that forks have alike lies beside, made once (`create_common`). One over the other they are a
repository. Pins stay out of it: they would tell one run about the others. The origin must keep the commit as long as
the fork lives: see pins.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stepwell.repos.pins import PREFIX
from stepwell.repos.refs import BRANCHES, ID, TAGS, PackedRefs, loose_files, loose_refs, packed_content, read_packed
from stepwell.repos.repositories import LEAN, write_bare
from stepwell.store.small_files import make_folder, write


def create_common(place: Path, config: str, objects: str) -> None:
    """Make what forks have alike: this config, and where their objects are seen. Blocks."""
    write_bare(place, f"ref: {BRANCHES}/main\n", config, (*LEAN, BRANCHES, TAGS))
    (place / "objects" / "info" / "alternates").write_text(f"{objects}\n", "utf-8")


def create_fork(origin: Path, fork: Path, commit: str, branch: str | None = None) -> None:
    """Make a fork with all branches and tags of now; HEAD is the branch, set to the commit, or the commit itself.

    Blocks for less than a millisecond. Raises FileExistsError.
    """
    make_folder(f"{fork}")
    write(f"{fork}/HEAD", (f"ref: {BRANCHES}/{branch}\n" if branch else f"{commit}\n").encode())
    # Loose before packed: a ref that moves from one to the other meanwhile is then seen at least once.
    branches = dict(loose_refs(f"{origin}/{BRANCHES}", BRANCHES))
    copy_refs(f"{origin}/{TAGS}", f"{fork}/{TAGS}", _copy_ref)  # they would have to be peeled
    packed = PackedRefs(packed_content(origin))
    packed.cut(PREFIX.encode(), PREFIX[:-1].encode() + b"0")  # "0" follows "/"
    packed.put({ref: value for ref, value in branches.items() if ID.fullmatch(value)})
    if branch:
        _put_branch(packed, f"{BRANCHES}/{branch}".encode(), commit.encode())
    write(f"{fork}/packed-refs", bytes(packed))


def remove_fork(fork: Path) -> None:
    """Remove a fork; nothing happens when there is none."""
    try:
        shutil.rmtree(fork)
    except FileNotFoundError:
        return


def copy_refs(source: str, target: str, copy: Callable[[str, str], None]) -> None:
    """Copy the loose refs below a directory, and make what is needed above them; texts, for paths are slow."""
    for path in loose_files(source):
        into = f"{target}{path[len(source) :]}"
        os.makedirs(os.path.dirname(into), exist_ok=True)  # noqa: PTH103, PTH120
        copy(path, into)


def refs_of(fork: Path) -> dict[str, str]:
    """Return all refs of a fork with their ids."""
    packed = {ref: value.partition("\n")[0] for ref, value in read_packed(fork / "packed-refs").items()}
    loose = (path for path in (fork / "refs").rglob("*") if path.is_file())
    return packed | {path.relative_to(fork).as_posix(): path.read_text("utf-8").strip() for path in loose}


def _copy_ref(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # deleted or packed meanwhile
        Path(target).write_bytes(Path(source).read_bytes())


def _put_branch(packed: PackedRefs, ref: bytes, id_: bytes) -> None:
    """Set a branch. Since the push it may have become a folder of branches or the other way round: those give way."""
    packed.cut(ref + b"/", ref + b"0")
    above = ref
    while (above := above.rpartition(b"/")[0]) != BRANCHES.encode():
        packed.cut(above, above + b"\0")
    packed.put({ref: id_})
