"""Toolchains installed from the package index that this host is configured for."""

import asyncio
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from lent_tools import keep, lend
from logged import Log

from stepwell.engine.seams import Attempt, Code, Prepared
from stepwell.errors import Invalid
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.options import IsolateOptions
from stepwell_runners.shelf import Shelf
from stepwell_runners.toolchains import Note, Toolchain, Toolchains

pytestmark = pytest.mark.timeout(300)  # of an index that may be far away
TOOL = "iniconfig==2.3.1"  # small, pure Python


async def _ready(toolchains: Toolchains, tools: Sequence[str], note: Note) -> Toolchain:
    async with toolchains.held(tools, note) as toolchain:
        return toolchain


def _kept(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "tools").iterdir() if path.name != ".sizes")


async def test_a_key_is_installed_once_however_many_ask(tmp_path: Path) -> None:
    toolchains = Toolchains(Shelf(tmp_path / "tools"))
    notes: list[str] = []
    found = await asyncio.gather(*(_ready(toolchains, [TOOL], notes.append) for _ in range(3)))
    assert len({toolchain.tool.path for toolchain in found}) == 1
    assert sum(note.startswith("Installing") for note in notes) == 1
    assert sum(note.startswith("Successfully installed") for note in notes) == 1
    assert _kept(tmp_path) == [found[0].tool.name]


async def test_what_cannot_be_had_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    toolchains = Toolchains(Shelf(tmp_path / "tools"))
    with pytest.raises(Invalid, match=r"iniconfig==0\.0\.99 cannot be installed.*(?i:no matching|could not find)"):
        await _ready(toolchains, ["iniconfig==0.0.99"], lambda _: None)
    assert _kept(tmp_path) == []


@pytest.mark.parametrize("tool", ["-r x", "--index-url=https://x.test", "a @ https://x.test/a.whl", "../a", "a;b", ""])
async def test_only_names_with_versions_are_taken(tmp_path: Path, tool: str) -> None:
    with pytest.raises(Invalid, match="Write a package with its version"):
        await _ready(Toolchains(Shelf(tmp_path / "tools")), [tool], lambda _: None)


async def test_a_cancelled_installation_leaves_nothing(tmp_path: Path) -> None:
    toolchains = Toolchains(Shelf(tmp_path / "tools"))
    begun = asyncio.Event()
    running = asyncio.create_task(_ready(toolchains, [TOOL], lambda _: begun.set()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert _kept(tmp_path) == []


@pytest.fixture(scope="module")
def tools_kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "tools"


@pytest.mark.parametrize("wall", ["full", "none"])
async def test_scripts_and_modules_work_in_steps(tmp_path: Path, tools_kept: Path, wall: str) -> None:
    """They are installed outside of the wall, so once for both."""
    state = tmp_path / "state"
    (state / "work").mkdir(parents=True)
    lend(tools_kept, state)
    isolates = ZygoteIsolates(state, lambda _: state, IsolateOptions(wall="full" if wall == "full" else "none"))
    await isolates.start()
    try:
        if wall == "full" and not isolates.walled:
            pytest.skip("this host does not give the wall")
        executor = LocalExecutor.at(state, isolates)
        program = "mkdir pkg; echo 'def f() -> int: return 1' > pkg/__init__.py"
        program += "; printf 'from pkg import f\\n\\n\\ndef test_f() -> None: assert f() == 1\\n' > test_f.py"
        program += "; ruff check . && mypy . && python -m pytest -q && pytest --version; ls -A"
        options = {"command": program, "tools": ["ruff==0.17.6", "mypy==2.4.1", "pytest==9.2.0"]}
        code = Code("d", {}, "pipeline.py:Ship")
        attempt = Attempt("r", "acme", "acme/api", {}, code, "s#1", "s", "run", 1, options, ())
        log = Log()
        outcome = await executor.execute(attempt, Prepared(), log)
        assert outcome.ok, (outcome, log.data, log.notes)
        assert b"All checks passed!" in log.data and b"no issues found in 2 source files" in log.data
        assert b"1 passed" in log.data and log.data.endswith(b"pytest 9.2.0\npkg\ntest_f.py\n")
    finally:
        await isolates.stop()
    keep(state, tools_kept)


async def test_no_code_of_a_package_named_by_address_runs_on_the_host(tmp_path: Path) -> None:
    ran, source, wheels = tmp_path / "ran", tmp_path / "evil", tmp_path / "wheels"
    source.mkdir()
    wheels.mkdir()
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (source / "pyproject.toml").write_text(build)
    (source / "backend.py").write_text(f"open({str(ran)!r}, 'w').close()")
    info = "good-1.dist-info"
    files = {
        "good.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: good\nVersion: 1\nRequires-Dist: evil @ {source.as_uri()}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(wheels / "good-1-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    with pytest.raises(Invalid, match="would have to be built"):
        await _ready(Toolchains(Shelf(tmp_path / "tools"), environ=environ), ["good==1"], lambda _: None)
    assert not ran.exists()
