"""What is looked through for secrets before a promotion is looked through to its end, or the promotion is refused."""

import subprocess
from pathlib import Path

import pytest

from stepwell.errors import Invalid
from stepwell.repos.intake import _Git


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
