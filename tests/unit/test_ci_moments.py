"""Which files of a step are there to be seen, and what is said where there are none."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fixture_people import ADMIN
from fixture_services import FixtureServices

from stepwell.ci.moments import Changes, FileChange, Moment, Moments, When
from stepwell.ci.runs import Runs
from stepwell.engine.entries import StepStatus
from stepwell.engine.state import StepState
from stepwell.errors import Conflict
from stepwell.settings import Settings
from stepwell.tenants import Actor
from stepwell_web import filesview

FOUND = Changes((FileChange("made", "added", None, 1),), 3)


class Files:
    def missing(self, moment: Moment) -> Sequence[str]:
        return []

    def changes(self, moment: Moment) -> Changes:
        assert moment.layer
        return FOUND

    def archive(self, moment: Moment, when: When) -> Iterator[bytes]:
        yield when.encode()


class OneStep:
    """Knows one step, which everybody may change."""

    def __init__(self, state: StepStatus, layer: str | None = None, **options: Any) -> None:
        self.step = StepState("s#1", "s", "run", state, 0.0, options=options, layer=layer)

    def permitted_step(self, actor: Actor, run_id: str, key: str) -> tuple[Any, StepState]:
        return SimpleNamespace(metadata={}), self.step


def moments(state: StepStatus, layer: str | None = None, **options: Any) -> Moments:
    return Moments(cast(Runs, OneStep(state, layer, **options)), Files())


@pytest.mark.parametrize("state", ["queued", "running", "retrying", "waiting"])
def test_what_a_step_leaves_is_refused_until_it_is_over(state: StepStatus) -> None:
    with pytest.raises(Conflict, match=f"Step 's' is {state}, not over"):
        moments(state).changes(ADMIN, "r", "s#1")
    with pytest.raises(Conflict, match="--before"):
        moments(state).archive(ADMIN, "r", "s#1", "after")
    assert list(moments(state).archive(ADMIN, "r", "s#1", "before")) == [b"before"]


@pytest.mark.parametrize(
    ("state", "options", "why"),
    [
        ("passed", {}, ""),
        ("passed", {"keep": True}, ""),
        ("passed", {"keep": False}, "It has keep=False, so what it wrote was not kept."),
        ("failed", {}, "It failed, so what it wrote was not kept."),
        ("cancelled", {}, "It was cancelled, so what it wrote was not kept."),
    ],
)
def test_a_step_of_which_nothing_was_kept_says_why(state: StepStatus, options: dict[str, Any], why: str) -> None:
    assert moments(state, **options).changes(ADMIN, "r", "s#1") == Changes(why=why)
    assert list(moments(state, **options).archive(ADMIN, "r", "s#1", "after")) == [b"after"]


def test_what_was_kept_is_read() -> None:
    assert moments("passed", "layer").changes(ADMIN, "r", "s#1") == FOUND
    assert FOUND.more == 2


def test_page_offers_the_files_after_a_step_only_where_some_were_kept(tmp_path: Path) -> None:
    view = FixtureServices(Settings(state=tmp_path)).views["run1842"]
    offered = {
        step.state: [word for word, _ in filesview.archives(view, step)] for step in view.steps if step.kind == "run"
    }
    assert offered["passed"] == ["Before", "After"]
    assert offered["failed"] == offered["running"] == ["Before"]
