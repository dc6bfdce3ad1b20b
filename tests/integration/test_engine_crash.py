"""Stop the host at every commit of a run, before and after it is acknowledged; go on; nothing may differ.

Each program is played once whole, then once for each of its commits: a host is stopped there, another one opens the
same journal with fresh isolates and plays on. `STEPWELL_SOAK=1` takes every commit, otherwise some of them.
"""

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crashes import Moment, Program, World, shape

from stepwell.engine.fold import fold
from stepwell.engine.local import ProcessIsolates

MOMENTS: tuple[Moment, ...] = ("before", "after")
SAMPLE = 1_000_000 if os.environ.get("STEPWELL_SOAK") else 2
"""Commits of a program at which the host is stopped, for each moment."""
pytestmark = pytest.mark.timeout(1800 if os.environ.get("STEPWELL_SOAK") else 300)


@pytest.fixture
async def isolates() -> AsyncIterator[ProcessIsolates]:
    isolates = ProcessIsolates()
    yield isolates
    await isolates.close()


@pytest.mark.parametrize("name", Program.names())
async def test_a_crash_at_any_commit_changes_nothing(name: str, tmp_path: Path, isolates: ProcessIsolates) -> None:
    program = Program(name)
    whole = World(tmp_path / "whole", program, isolates)
    expected, commits = await whole.play()
    assert expected is not None
    assert expected.state == program.ends, expected.reason
    assert program.log is None or sorted(whole.log.lines) == sorted(program.log)
    for moment in MOMENTS:
        for commit in _some(range(1, commits + 1), f"{name} {moment}"):
            world = World(tmp_path / f"{moment} {commit}", program, isolates)
            await _crash_and_go_on(world, commit, moment, whole, shape(expected))


@pytest.mark.parametrize("name", Program.names())
async def test_a_host_stopped_again_and_again_gets_there(name: str, tmp_path: Path, isolates: ProcessIsolates) -> None:
    program, chance = Program(name), random.Random(name)
    world, state, lives = World(tmp_path / "world", program, isolates), None, 0
    while state is None:
        lives += 1
        state, _ = await world.play(chance.randint(4, 12), chance.choice(MOMENTS))
        assert not world.lost(), f"acknowledged and lost in life {lives}: {world.lost()}"
    assert state.state == program.ends, state.reason
    whole, _ = await World(tmp_path / "whole", program, isolates).play()
    assert whole is not None and shape(state) == shape(whole), f"after {lives} lives"


async def _crash_and_go_on(world: World, commit: int, moment: Moment, whole: World, expected: object) -> None:
    told = f"stopped {moment} commit {commit}"
    await world.play(commit, moment)  # may end first: how commits are shared is a matter of luck
    assert not world.lost(), f"{told}: acknowledged and lost: {world.lost()}"
    entries, before = world.entries(), world.done()
    over = [key for key, step in fold(entries).steps.items() if step.state in {"passed", "failed"}] if entries else []
    state, _ = await world.play()
    assert state is not None and shape(state) == expected, told
    after, wanted = world.done(), whole.done()
    again = {label for label in over if after[label] != before[label]}
    assert not again, f"{told}: completed steps ran again: {again}"
    # What was in flight may have had its effect without being known to be over: once more, and no more than that.
    # What is cancelled may have begun or not: in the play without a crash it may have been the other way.
    cancelled = {key for key, step in state.steps.items() if step.state in {"cancelled", "skipped"}}
    repeated = after - wanted
    unexplained = {label for label in repeated if not before[label]} - cancelled
    most = {
        label: 2 if label in cancelled else 1 for label in repeated
    }  # cancelled: begun in both lives, not in `whole`
    assert all(repeated[label] <= most[label] for label in most) and not unexplained, f"{told}: {repeated} ran again"
    missing = set(wanted - after) - cancelled
    assert not missing, f"{told}: {missing} did not run"
    silent = set(whole.log.lines) - set(world.log.lines)
    assert not silent, f"{told}: {silent} was not printed"


def _some(commits: range, seed: str) -> list[int]:
    return sorted(random.Random(seed).sample(commits, min(SAMPLE, len(commits))))
