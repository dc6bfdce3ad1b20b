"""`stepwell check` reads a working tree as a server reads a commit."""

from pathlib import Path

import pytest
import typer

from stepwell.cli.check import check, describe, read_files, root_of
from stepwell.errors import Invalid

GOOD = '''
from stepwell import Pipeline, cron, push

class Ship(Pipeline):
    """Ship it."""
    on = [push("main"), cron("0 3 * * *")]
    async def run(self, event, step):
        pass
'''


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / ".stepwell" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_declarations_are_told(tmp_path: Path) -> None:
    found = describe(tree(tmp_path, pipeline=GOOD))
    assert found.error is None
    assert [(one["name"], one["doc"], len(one["on"])) for one in found.pipelines] == [("Ship", "Ship it.", 2)]


def test_wrong_declaration_is_told_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "from stepwell import Pipeline, push\nclass Ship(Pipeline):\n    on = [push(branch='main')]\n"
    with pytest.raises(typer.Exit):
        check(tree(tmp_path, pipeline=wrong))
    assert "✗ .stepwell/pipeline.py:3: push() got an unexpected keyword argument 'branch'" in capsys.readouterr().err


def test_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    found = describe(tree(tmp_path, pipeline="x = 1\nclass Ship(\n"))
    assert found.error is not None
    assert found.error["message"].startswith(".stepwell/pipeline.py:2: ")


def test_missing_module_says_where_packages_belong(tmp_path: Path) -> None:
    found = describe(tree(tmp_path, pipeline="import requests\n"))
    assert found.error is not None
    assert "tools=" in found.error["message"] and "'requests'" in found.error["message"]


def test_endless_import_is_ended(tmp_path: Path) -> None:
    found = describe(tree(tmp_path, pipeline="while True: pass\n"), seconds=-2.0)
    assert found.error is not None and found.error["type"] == "TooSlow"


def test_root_is_found_upwards_and_its_absence_has_a_remedy(tmp_path: Path) -> None:
    below = tree(tmp_path, pipeline=GOOD) / "src" / "deep"
    below.mkdir(parents=True)
    assert root_of(below) == tmp_path.resolve()
    with pytest.raises(Invalid, match="stepwell init"):
        root_of(Path("/"))


def test_files_are_read_by_path_and_bytecode_is_not(tmp_path: Path) -> None:
    root = tree(tmp_path, pipeline=GOOD, more="x = 1")
    (root / ".stepwell" / "__pycache__").mkdir()
    (root / ".stepwell" / "__pycache__" / "more.pyc").write_bytes(b"\xff")
    (root / ".stepwell" / "picture.png").write_bytes(b"\x89PNG\xff")
    assert sorted(read_files(root)) == ["more.py", "pipeline.py"]
