"""Objects as git keeps them: in files of their own, in packs and in quarantine; large and damaged ones are refused."""

import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import Invalid, NotFound
from stepwell.repos import Repositories
from stepwell.repos.reader import Reader

LIMIT = 1 << 20


def raw(repository: Path, kind: str, id_: str) -> bytes:
    return subprocess.check_output(["git", "--git-dir", repository, "cat-file", kind, id_])


def check(reader: Reader, origin: Path, commit: str) -> None:
    """Compare all of a commit with what git says."""
    tree = raw(origin, "commit", commit).split()[1].decode()
    blob = subprocess.check_output(["git", "--git-dir", origin, "rev-parse", f"{commit}:text"], text=True).strip()
    assert reader.tree_of(commit) == tree
    assert reader.raw_tree(tree, limit=LIMIT) == raw(origin, "tree", tree)
    assert reader.raw_blob(blob, limit=LIMIT) == raw(origin, "blob", blob)
    for id_ in (commit, blob):
        with pytest.raises(NotFound):
            reader.raw_tree(id_, limit=LIMIT)
    for id_ in (commit, tree):
        with pytest.raises(NotFound):
            reader.raw_blob(id_, limit=LIMIT)
    with pytest.raises(Invalid, match="At most 5 bytes"):
        reader.raw_blob(blob, limit=5)
    with pytest.raises(NotFound):
        reader.tree_of(blob)


@pytest.mark.parametrize("packed", [False, True])
def test_objects_are_those_that_git_reads(repositories: Repositories, work: Any, packed: bool) -> None:
    """In packs each version is a delta on another, ten deep and more."""
    lines = [f"line {number} {zlib.crc32(str(number).encode())}\n" for number in range(400)]
    commits = [work.commit(files={"text": "".join(lines[:end])}) for end in range(10, 400, 20)]
    work.run("push", "-q", "origin", "main")
    origin = repositories.path("repo1")
    if packed:
        subprocess.run(["git", "--git-dir", origin, "repack", "-adfq", "--depth=50"], check=True)
    assert bool(list((origin / "objects/pack").glob("*.pack"))) is packed
    for commit in commits:
        check(repositories.reader("repo1"), origin, commit)


def test_objects_of_a_push_are_read_in_its_quarantine(repositories: Repositories, work: Any, tmp_path: Path) -> None:
    before = work.commit(files={"text": "before\n"})
    work.run("push", "-q", "origin", "main")
    after = work.commit(files={"text": "after\n"})
    origin = repositories.path("repo1")
    quarantine = origin / "objects/incoming"
    subprocess.run(["cp", "-r", work.folder / ".git/objects", quarantine], check=True)
    with repositories.quarantined("repo1", quarantine) as reader:
        for commit in (before, after):
            check(reader, work.folder / ".git", commit)


def test_a_large_object_is_told_from_its_head(repositories: Repositories, work: Any) -> None:
    commit = work.commit(files={"text": "some text\n"})
    work.run("push", "-q", "origin", "main")
    origin = repositories.path("repo1")
    blob = work.run("rev-parse", f"{commit}:text")
    place = origin / "objects" / blob[:2] / blob[2:]
    place.chmod(0o644)
    place.write_bytes(zlib.compress(b"blob 4194304\0" + bytes(4 << 20)))
    with pytest.raises(Invalid, match="4,194,304 bytes"):
        repositories.reader("repo1").raw_blob(blob, limit=LIMIT)
    place.unlink()
    with pytest.raises(NotFound):
        repositories.reader("repo1").raw_blob(blob, limit=LIMIT)
