"""A command loads what reads a working tree only where there is one."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from stepwell.cli.where import find_place

place = find_place(Path(sys.argv[1]))
print(place.login.url, place.tree is not None, "git" in sys.modules)
"""


def found(directory: Path, **more: str) -> list[str]:
    known = {"STEPWELL_URL": "http://ci.example.com", "STEPWELL_TOKEN": "sw_x", "PATH": "/usr/bin:/bin", **more}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)], env=known, capture_output=True, text=True, check=True
    ).stdout.split()


def test_no_tree_is_looked_for_where_there_is_none(tmp_path: Path) -> None:
    assert found(tmp_path) == ["http://ci.example.com", "False", "False"]


@pytest.mark.parametrize("within", [".", "src/deep"])
def test_the_tree_around_a_directory_is_found(tmp_path: Path, within: str) -> None:
    (tmp_path / within).mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert found(tmp_path / within) == ["http://ci.example.com", "True", "True"]


def test_a_tree_that_git_is_told_of_is_found_from_elsewhere(tmp_path: Path) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    told = {"GIT_DIR": str(tree / ".git"), "GIT_WORK_TREE": str(tree)}
    assert found(elsewhere, **told)[2] == "True"
