"""What a commit names and does not hold: said once in a run, in words that tell what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from git_steps import Origin

from stepwell.repos.repositories import Repositories
from stepwell_runners import absent
from stepwell_runners.absent import Absences, paths_of, patterns_of

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{:064x}\nsize 12345\n"
MODULES = '[submodule "lib"]\n\tpath = libs/lib\n\turl = https://example.org/lib.git\n[submodule "x"]\n  path=none\n'


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    (tmp_path / "state").mkdir()
    return Origin(tmp_path / "state")


@pytest.fixture
def told(tmp_path: Path, origin: Origin) -> Callable[[str], list[str]]:
    """Tell the run of a commit; what was noted."""
    absences = Absences(Repositories(tmp_path / "state"))

    def tell(commit: str, run: str = "run-1") -> list[str]:
        notes: list[str] = []
        absences.tell(run, "r1", commit, notes.append)
        return notes

    return tell


def committed(origin: Origin, files: dict[str, str], submodule: str = "") -> str:
    commit = origin.commit("more", files)
    if submodule:
        origin.git("update-index", "--add", "--cacheinfo", f"160000,{origin.first},{submodule}")
        origin.git("commit", "-q", "--amend", "-m", "with a submodule")
        commit = origin.git("rev-parse", "HEAD")
    origin.git("push", "-q", str(origin.path), "main")
    return commit


def test_a_run_is_told_once_of_submodules_and_pointers(origin: Origin, told: Callable[..., list[str]]) -> None:
    files = {f"art/{number}.bin": POINTER.format(number) for number in range(5)} | {"art/real.bin": "x" * 200}
    files |= {".gitmodules": MODULES, ".gitattributes": "*.txt text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"}
    commit = committed(origin, files, "libs/lib")
    assert told(commit) == [
        "The commit has a submodule ('libs/lib'), not checked out: the directory is empty. "
        "If steps need it, get it with git submodule update --init in a step with network=True.",
        "The commit has 5 files ('art/0.bin', 'art/1.bin', 'art/2.bin' and 2 more) in Git LFS, not fetched: there is a "
        "pointer instead of the content. If steps need it, get it with git lfs pull in a step with network=True.",
    ]
    assert told(commit) == [] and len(told(commit, "run-2")) == 2


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ("/art/deep/* filter=lfs", "'art/deep/a'"), ("art/** -text filter=lfs", "'art/a', 'art/deep/a'"),
        ("a filter=lfs", "'art/a', 'art/deep/a'"), ("# *.x filter=lfs\n", ""), ("a -filter", ""), ("b filter=lfs", ""),
    ],
)  # fmt: skip
def test_pointers_are_those_that_the_attributes_name(
    origin: Origin, told: Callable[..., list[str]], attributes: str, names: str
) -> None:
    files = {".gitattributes": attributes, "art/a": POINTER.format(1), "art/deep/a": POINTER.format(2)}
    notes = told(committed(origin, files))
    assert [note.partition("(")[2].partition(")")[0] for note in notes] == ([names] if names else [])


def test_hostile_lists_are_bounded_and_shown_as_text(
    origin: Origin, told: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absent, "_MOST_READ", 3)
    files = {f"{number}\x1b[31m.bin": POINTER.format(number) for number in range(9)}
    files |= {".gitattributes": "*.bin filter=lfs\n", ".gitmodules": "[submodule]\n path = ../../..\n path = a\n"}
    (note,) = told(committed(origin, files))
    assert "at least 3 files ('0\\x1b[31m.bin'" in note and "\x1b" not in note
    monkeypatch.setattr(absent, "_MOST_TEXT", 10)
    assert told(origin.commit("again", {"z": "1"}), "run-2") == []


def test_nothing_is_said_where_nothing_is_absent(origin: Origin, told: Callable[..., list[str]]) -> None:
    assert told(origin.last) == []


@pytest.mark.parametrize(
    "text", ["\n" * 250_000, "path = a" + " " * 250_000 + "b", "#\n" * 100_000, "* filter=lfs\n" * 9_000]
)
def test_a_text_that_would_take_hours_takes_no_time(text: str) -> None:
    assert len(list(paths_of(text))) == text.count("path")
    assert len(list(patterns_of(text))) == text.count("filter")
