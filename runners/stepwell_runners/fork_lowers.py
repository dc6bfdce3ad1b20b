"""The `.git` that workspaces lay over their tree: see run_forks. Each appears as a whole, by rename."""

import contextlib
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from stepwell.repos.captured import alternates, made_by
from stepwell.repos.forks import copy_refs, create_fork, refs_of, remove_fork
from stepwell.repos.process import run_git
from stepwell.store.small_files import make_folder


def lay_first(lower: Path, index: Path | None, origin: Path, commit: str, branch: str | None) -> None:
    """Make the fork, as the `.git` that its first workspace sees; it appears as a whole."""
    fresh = lower.with_name(".new")
    make_folder(str(fresh))
    create_fork(origin, fresh / ".git", commit, branch)
    _appear(fresh, lower, index)


def lay(first: Path, lower: Path, index: Path | None) -> None:
    """Write the same `.git` with another index."""
    fresh = _fresh(lower)
    (fresh / ".git").mkdir(parents=True)
    copy_refs(f"{first}/.git/refs", f"{fresh}/.git/refs", _link)
    for name in ("HEAD", "packed-refs"):
        _link(f"{first}/.git/{name}", f"{fresh}/.git/{name}")
    _appear(fresh, lower, index)


def lay_over(first: Path, lower: Path, index: Path, origin: Path, parts: Sequence[Path]) -> None:
    """Write the `.git` of workspaces that stand on what earlier steps did in git; it appears as a whole."""
    fresh = _fresh(lower)
    made = made_by(parts)
    git, head = fresh / ".git", made.head or (first / ".git/HEAD").read_text("utf-8").strip()
    (git / "objects/pack").mkdir(parents=True)
    (git / "HEAD").write_text(f"{head}\n", "utf-8")
    refs = {**refs_of(first / ".git"), **made.refs}
    lines = (f"{id_} {ref}\n" for ref, id_ in sorted(refs.items()) if id_)
    (git / "packed-refs").write_text("# pack-refs with: sorted \n" + "".join(lines), "utf-8", "surrogateescape")
    for pack in (path for part in parts for path in (part / "objects/pack").glob("pack-*")):
        with contextlib.suppress(FileExistsError):
            _link(str(pack), str(git / "objects/pack" / pack.name))
    shutil.copy2(index, git / "index")
    commit = refs.get(head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    if commit:  # of files that are as in the tree, the index still knows when they were written
        extra = {
            "GIT_INDEX_FILE": str(git / "index"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates([git / "objects"]),
        }
        run_git(origin, ["read-tree", "-i", "-m", commit], extra=extra)
    fresh.rename(lower)


def _fresh(lower: Path) -> Path:
    """Return where a directory is made before it appears."""
    fresh = lower.with_name(".new")
    remove_fork(fresh)
    return fresh


def _appear(fresh: Path, lower: Path, index: Path | None) -> None:
    if index:
        _link(str(index), f"{fresh}/.git/index")
    fresh.rename(lower)


def _link(source: str, target: str) -> None:
    """Share a file that nobody ever writes to; copied, with its times, where links cannot be made."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copy2(source, target)
