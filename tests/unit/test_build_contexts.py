"""The context of a build is bounded, whatever a stranger has put into the workspace, and goes where it has to only."""

import io
import tarfile
from pathlib import Path

import pytest

from stepwell.errors import Invalid
from stepwell.store.tars import UnlistedTar
from stepwell_runners import archives, build_context, reduce
from stepwell_runners.build_context import ImagePlan, pack
from stepwell_runners.command_plan import Asker
from stepwell_runners.reduce import Stack


class Counted(Stack):
    """A stack that tells which directories were looked into."""

    def names(self, path: str) -> list[str]:
        self.looked = [*getattr(self, "looked", []), path]
        return super().names(path)


@pytest.fixture
def stack(tmp_path: Path) -> Counted:
    for name in ("Dockerfile", "src/main.py", "out/deep/one", "out/deep/two", "out/Dockerfile", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("FROM a\n")
    (tmp_path / "host").symlink_to("/etc/passwd")
    return Counted([tmp_path])


def packed(stack: Stack, file: str = "Dockerfile", ignored: str | None = None, context: str = "") -> list[str]:
    if ignored is not None:
        (stack.lowers[0] / ".dockerignore").write_text(ignored)
    target = io.BytesIO()
    pack(ImagePlan(Asker("acme", "acme/api"), context, file, {}, "", True, 60.0), stack, target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        assert all(member.isreg() or member.isdir() or member.name == "host" for member in archive)
        return sorted(member.name for member in archive if not member.isdir())


def test_what_is_ignored_is_not_looked_into(stack: Counted) -> None:
    assert packed(stack, ignored="out\n.git\n") == [".dockerignore", "Dockerfile", "host", "src/main.py"]
    assert stack.looked == ["", "src"]
    assert "out/Dockerfile" in packed(stack, "out/Dockerfile")  # but for the Dockerfile
    assert "out/deep/one" in packed(stack, ignored="out\n!out/deep/one\n")
    assert packed(stack, context="out", ignored="") == ["Dockerfile", "deep/one", "deep/two"]


def test_a_context_of_very_many_files_is_refused(stack: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_context, "MOST_ENTRIES", 5)
    with pytest.raises(Invalid, match=r"more than 5 files and directories\. Name a smaller directory"):
        packed(stack)
    assert packed(stack, ignored="out\nsrc\n.git\n") == [".dockerignore", "Dockerfile", "host"]


def test_a_context_that_takes_very_long_is_refused(stack: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_context, "PACKING_SECONDS", -1.0)
    with pytest.raises(Invalid, match="Reading the context took longer"):
        packed(stack)


def test_a_context_of_a_file_that_is_all_hole_is_refused_unread(stack: Counted) -> None:
    with (stack.lowers[0] / "hole").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Invalid, match="more than 2 GiB"):
        packed(stack)


def test_what_a_container_left_is_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduce, "MOST_ENTRIES", 3)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in ("workspace", "workspace/a", "workspace/b", "workspace/c", "workspace/d"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
    data.seek(0)
    words = "more than 3 files and directories"
    with UnlistedTar.open(fileobj=data, mode="r|") as archive, pytest.raises(Invalid, match=words):
        archives.unpack(archive, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("way", ["", "|"])
def test_a_tar_of_any_number_of_members_remembers_none(way: str) -> None:
    data = io.BytesIO()
    with UnlistedTar.open(fileobj=data, mode=f"w{way}") as archive:  # type: ignore[call-overload]
        for number in range(50):
            member = tarfile.TarInfo(f"{number}")
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
            assert archive.members == []
    data.seek(0)
    with UnlistedTar.open(fileobj=data, mode=f"r{way}") as archive:  # type: ignore[call-overload]
        for number, member in enumerate(archive):
            content = archive.extractfile(member)
            assert member.name == f"{number}" and content is not None and content.read() == b"x"
            assert len(archive.members) <= 1
    assert number == 49
