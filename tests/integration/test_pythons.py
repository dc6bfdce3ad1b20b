"""Steps on other Pythons of the host than the one that Stepwell runs on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Prepared
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.options import IsolateOptions, prefixes
from stepwell_runners.pythons import OWN, Python, pythons

PLACES = (Path.home() / ".pyenv" / "versions", Path("/opt"))


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """PATH as a list that may be added to, until pythons() is asked."""

    class Folders(list[str]):
        def append(self, folder: str) -> None:
            super().append(folder)
            monkeypatch.setenv("PATH", ":".join(self))
            pythons.cache_clear()

    yield Folders(os.environ["PATH"].split(":"))
    pythons.cache_clear()


def _made(prefix: Path, version: str, start: bytes) -> str:
    program = prefix / "bin" / f"python{version}"
    program.parent.mkdir(parents=True)
    program.write_bytes(start)
    library = prefix / "lib" / f"python{version}"
    library.mkdir(parents=True)
    (library / "os.py").touch()
    return str(program.parent)


def test_scripts_and_prefixes_that_hold_more_than_a_python_do_not_count(path: list[str], tmp_path: Path) -> None:
    path.append(_made(tmp_path / "real", "3.28", b"\x7fELF"))
    path.append(_made(tmp_path / "shim", "3.27", b"#!/bin/sh\n"))
    path.append(_made(tmp_path / ".local", "3.26", b"\x7fELF"))
    assert pythons()["3.28"] == Python("3.28", str(tmp_path / "real" / "bin" / "python3.28"))
    assert not pythons().keys() & {"3.27", "3.26"}
    assert str(tmp_path / "real") in prefixes() and str(tmp_path / ".local") not in prefixes()


async def test_a_step_runs_on_the_python_it_asks_for_with_tools_and_setup(path: list[str], tmp_path: Path) -> None:
    for place in PLACES:
        for folder in sorted(place.glob("*/bin")):
            path.append(str(folder))
    other = next((version for version in pythons() if version not in (OWN, "3.8", "3.9")), None)
    if other is None:
        pytest.skip(f"this host has no other Python than {OWN}")
    state = tmp_path / "state"
    (state / "work").mkdir(parents=True)
    isolates = ZygoteIsolates(state, lambda _: state, IsolateOptions())
    await isolates.start()
    try:
        if not isolates.walled:
            pytest.skip("this host does not give the wall")
        executor = LocalExecutor.at(state, isolates)
        say = "import sys; print(*sys.version_info[:2], sep='.')"
        setup = 'python -c \'import site; open(site.getsitepackages()[0] + "/mine.py", "w").close()\''
        for more in ({}, {"tools": ["iniconfig==2.3.1"]}, {"tools": ["iniconfig==2.3.1"], "setup": setup}):
            imports = {"tools": "import iniconfig; ", "setup": "import mine; "}
            program = "".join(text for name, text in imports.items() if name in more) + say
            log = Log()
            asked = attempt(f'python -c "{program}"; python3 -V', python=other, **more)
            outcome = await executor.execute(asked, Prepared(), log)
            assert outcome.ok, (outcome, log.text, log.notes)
            assert log.text.startswith(f"{other}\nPython {other}."), log.text
        refused = await executor.execute(attempt("true", python="2.7"), Prepared(), Log())
        assert refused.final and refused.error
        assert all(version in refused.error["message"] for version in pythons())
    finally:
        await isolates.stop()
