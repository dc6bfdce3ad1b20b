"""`reuse=` in real isolates: what is adopted, and when a step runs although its key is known."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Attempt, CacheRights, Outcome, Prepared
from stepwell.store.blobs import BlobFiles
from stepwell.store.log_files import LogName
from stepwell.store.reuses import ReuseFiles
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.trees import Trees

WORK = "cat /proc/sys/kernel/random/uuid > made; cp made kept; echo worked"


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[LocalExecutor]:
    trees = Trees(tmp_path)
    isolates = ZygoteIsolates(tmp_path, trees.resolve)
    await isolates.start()
    yield LocalExecutor.at(tmp_path, isolates, trees)
    await isolates.stop()


async def run(executor: LocalExecutor, asked: Attempt, log: Log | None = None, **prepared: Any) -> Outcome:
    return await executor.execute(asked, Prepared(**prepared), log or Log())


def step(run: int, base: tuple[str, ...] = (), command: str = WORK, **options: Any) -> Attempt:
    asked = attempt(command, base, **{"reuse": ["in/**"], **options})
    return replace(asked, run=f"run-{run}", run_number=run)


async def inputs(executor: LocalExecutor, text: str, more: str = "true") -> tuple[str, ...]:
    """A layer with the files that the steps name, and others."""
    outcome = await run(executor, attempt(f"mkdir in; echo {text} > in/a; {more}", key=f"{text}{more}#1"))
    assert outcome.layer
    return (outcome.layer,)


async def content(executor: LocalExecutor, layer: str | None, path: str) -> str:
    assert layer
    asked = replace(attempt("", (layer,)), kind="read", options={"path": path})
    return str((await run(executor, asked)).value)


async def test_result_files_artifacts_and_log_become_the_runs_own(executor: LocalExecutor, tmp_path: Path) -> None:
    base = await inputs(executor, "1")
    wanted: dict[str, Any] = {"artifacts": ["kept"]}
    one = await run(executor, step(1, base, **wanted))
    log = LogName("run-1", "step#1", 1)
    (tmp_path / "logs" / log.folder).mkdir(parents=True)
    (tmp_path / "logs" / log.folder / log.file).write_text("worked\n")  # the engine's writer does this
    two = await run(executor, step(2, base, **wanted, timeout=9.0, retries={"max": 3}))
    assert one.ok and one.reused is None and one.collected
    assert two == replace(one, layer=two.layer, seconds=0.0, reused={"run": "run-1", "number": 1})
    assert two.layer != one.layer and await content(executor, two.layer, "made") == await content(
        executor, one.layer, "made"
    )
    copied = LogName("run-2", "step#1", 1)
    assert (tmp_path / "logs" / copied.folder / copied.file).read_text() == "worked\n"
    await executor.erase(["run-1"], [one.layer or ""])  # retention takes the first run with all it has
    BlobFiles(tmp_path / "blobs").remove("run-1")
    ReuseFiles(tmp_path / "reuse").remove("run-1")
    three = await run(executor, step(3, base, **wanted))
    assert three.reused == {"run": "run-1", "number": 1}  # by way of the second
    listed = json.loads(BlobFiles(tmp_path / "blobs").path("run-3", one.collected["id"]).read_bytes())
    assert [path for path, _, _ in listed["artifacts"]] == ["kept"]


async def test_a_step_runs_when_what_it_is_has_changed(executor: LocalExecutor) -> None:
    base = await inputs(executor, "1", "echo > other")
    assert (await run(executor, step(1, base))).ok
    others: list[dict[str, Any]] = [
        {"command": f"{WORK} again"}, {"env": {"A": "1"}}, {"cwd": "in"}, {"reuse": ["in/**", "other"]},
        {"check": False},
    ]  # fmt: skip
    for number, other in enumerate(others, 2):
        assert (await run(executor, step(number, base, **other))).reused is None, other
    renamed = replace(step(8, base), name="another", key="another#1")
    for changed in (renamed, step(9, await inputs(executor, "2"))):
        assert (await run(executor, changed)).reused is None
    assert (await run(executor, step(10, base))).reused


async def test_a_step_runs_when_its_files_are_gone_or_would_undo_a_later_change(executor: LocalExecutor) -> None:
    rewrite = "echo formatted > doc; echo > made"
    base = await inputs(executor, "1", "echo old > doc")
    later = await inputs(executor, "1", "echo new > doc")
    one = await run(executor, step(1, base, rewrite))
    assert one.ok and (await run(executor, step(2, base, rewrite))).reused
    other = await run(executor, step(3, later, rewrite))
    assert other.reused is None
    again = await run(executor, step(4, later, rewrite))
    assert again.reused == {"run": "run-3", "number": 3} and again.layer
    await executor.drop([again.layer])
    assert (await run(executor, step(5, later, rewrite))).reused is None


async def test_two_steps_of_one_name_are_both_reused_in_every_later_run(executor: LocalExecutor) -> None:
    base = await inputs(executor, "1")
    for number in (1, 2, 3):
        for place in (1, 2):
            asked = replace(step(number, base, keep=False), key=f"step#{place}")
            outcome = await run(executor, asked)
            assert outcome.reused == (None if number == 1 else {"run": "run-1", "number": 1}), (number, place)


async def test_what_must_run_runs(executor: LocalExecutor) -> None:
    base, log = await inputs(executor, "1"), Log()
    for number in (1, 2):
        said = Log()
        failed = await run(executor, step(number, base, "exit 3", check=False), said)
        assert said.notes == [
            "Later runs cannot reuse this step: it ended with exit code 3, and only what ended with 0 is reused."
        ]
        assert failed.ok and failed.reused is None and failed.exit_code == 3
        misspelt = await run(executor, step(number, base, reuse=["in/**", "im/**"]), log)
        assert misspelt.reused is None
    assert log.notes[0] == "reuse= names no file by 'im/**', so the step runs. Check the pattern."
    folder = Log()
    await run(executor, step(2, base, reuse=["in/"]), folder)
    assert folder.notes[0].endswith('so the step runs. For all files below a folder write "in/**".')
    assert (await run(executor, step(3, base))).ok
    assert (await run(executor, step(4, base), reuses=False)).reused is None  # somebody runs it again
    stranger = replace(step(5, base), metadata={"repository": "another"})
    assert (await run(executor, stranger)).reused is None
    options: list[dict[str, Any]] = [{"secrets": ["KEY"]}, {"environment": "production"}]
    for option in options:
        refused = await run(executor, step(6, base, **option))
        assert not refused.ok and refused.final and "exclude each other" in str(refused.error)
    elsewhere = CacheRights(("topic",), "topic")
    assert (await run(executor, step(7, base), caches=elsewhere)).reused is None
    same = await run(executor, replace(step(3, base), key="step#2"))
    assert same.reused  # of run 4 by now, an earlier run
    assert (await run(executor, replace(step(3, base), key="step#3"))).reused is None  # of this very run
