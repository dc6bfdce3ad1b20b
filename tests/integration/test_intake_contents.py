"""What is looked through for secrets before a promotion is looked through to its end, or the promotion is refused."""

import os
import subprocess
from pathlib import Path

import pytest
from bombs import MEBI, delta_bomb, packed

from stepwell.errors import Invalid
from stepwell.repos import intake
from stepwell.repos.intake import Wanted, _Git, take_in


@pytest.mark.parametrize("is_damaged", [False, True])
def test_content_that_git_cannot_give_to_its_end_is_refused(tmp_path: Path, is_damaged: bool) -> None:
    repository = tmp_path / "r.git"
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    hashed: list[str | Path] = ["git", "--git-dir", repository, "hash-object", "-w", "--stdin"]
    id_ = subprocess.run(hashed, input=bytes(200_000), capture_output=True, check=True).stdout.decode().strip()
    loose = repository / "objects" / id_[:2] / id_[2:]
    if is_damaged:
        whole = loose.read_bytes()
        loose.unlink()
        loose.write_bytes(whole[: len(whole) // 2])
    with _Git(repository, repository / "objects", []).contents() as contents:
        if is_damaged:
            with pytest.raises(Invalid, match="cannot be read back"):
                list(contents)
        else:
            assert sum(len(piece) for object_, piece in contents if object_ == id_) == 200_000


def test_a_pack_that_asks_for_more_memory_than_git_is_given_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step may leave any file as a pack in its .git."""
    monkeypatch.setattr(intake, "_MEMORY", 128 * MEBI)
    repository, bomb = tmp_path / "r.git", tmp_path / "bomb.pack"
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    bomb.write_bytes(packed(delta_bomb()))
    wanted = Wanted([("refs/heads/x", "1" * 40)], [], repository, [])
    with pytest.raises(Invalid, match=r"git index-pack says: .*[Oo]ut of memory"):
        take_in([], [os.open(bomb, os.O_RDONLY)], wanted, tmp_path / "scratch", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
