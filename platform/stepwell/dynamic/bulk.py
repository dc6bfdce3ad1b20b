"""The same for many runs: pause, resume, cancel, terminate or restart those that a selection means.

One call does a bounded part and says where it stopped; the next goes on there. What it does to a run is on disk before
it is reported, and a call that was cut off may be made again: the runs that it has changed fit no more, and a run that
it has restarted is not restarted twice. What is refused to one run is reported and keeps no other from being changed.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from stepwell.dynamic.restarting import restart
from stepwell.dynamic.survey import Survey, cursor_of
from stepwell.engine.engine import Engine
from stepwell.engine.entries import FINISHED
from stepwell.engine.selection import Selection
from stepwell.engine.specs import check_by
from stepwell.engine.state import RunState
from stepwell.errors import Invalid, StepwellError

if TYPE_CHECKING:
    from stepwell.store.journal import RunRow

Action = Literal["pause", "resume", "cancel", "terminate", "restart"]
AT_ONCE = 32
"""Runs changed at the same time; they share transactions."""
MOST = 1_000
"""Runs that one call changes, those that refuse it included."""

_OPEN = frozenset({"queued", "running", "waiting"})
APPLIES: Mapping[str, frozenset[str]] = {
    "pause": _OPEN, "resume": frozenset({"paused"}), "cancel": _OPEN | {"paused"}, "terminate": _OPEN | {"paused"},
    "restart": FINISHED,
}  # fmt: skip
"""States in which a run may be meant."""

Added = Callable[[RunState], Mapping[str, Any]]
"""An ended run → what its successor's metadata say besides; a StepwellError refuses to have it restarted."""


def _nothing(run: RunState) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Bulk:
    """What is to be done, to which runs, by whom. Without states all that apply are meant, but no run that has passed.

    `undo` belongs to cancel. `step` belongs to restart: a key or name, or the step at which each run ended;
    `id` names the restart, so that the same one again gives no run a second successor. `everything` must be said when
    neither tenant, scope, metadata nor age narrows.
    """

    action: Action
    which: Selection
    by: str
    reason: str = ""
    undo: bool = False
    step: str = ""
    id: str = ""
    metadata: Added = _nothing
    everything: bool = False


@dataclass(frozen=True)
class Changed:
    """A run that was changed, with its state afterwards; `successor` is the run that a restart has made of it."""

    run: str
    tenant: str
    scope: str
    number: int
    state: str
    successor: str | None = None


@dataclass(frozen=True)
class Refused:
    """A run that stayed as it was, and why."""

    run: str
    tenant: str
    scope: str
    number: int
    why: str


@dataclass(frozen=True)
class Report:
    """What one call did. `next` is where to go on, or None when every run has been looked at."""

    changed: tuple[Changed, ...]
    refused: tuple[Refused, ...]
    looked_at: int
    next: str | None


async def sweep(engine: Engine, bulk: Bulk, after: str | None = None, most: int = MOST) -> Report:
    """Do it to at most `most` runs, from the beginning or from where a report ended (`after`).

    Runs that were created after the beginning are left alone. Raises Invalid when it could mean no run, or everybody's.
    """
    which = _checked(bulk)
    of = f"{bulk.action} {bulk.id} {which.fingerprint}"
    survey = Survey(engine, which, cursor_of(after, of, engine.clock.now()))
    changed: list[Changed] = []
    refused: list[Refused] = []
    while not survey.over and (left := most - len(changed) - len(refused)) > 0:
        rows = await survey.more(min(AT_ONCE, left))
        for outcome in await asyncio.gather(*(_change(engine, bulk, row) for row in rows)):
            if isinstance(outcome, Changed):
                changed.append(outcome)
            else:
                refused.append(outcome)
    return Report(tuple(changed), tuple(refused), survey.looked_at, survey.next)


async def _change(engine: Engine, bulk: Bulk, row: "RunRow") -> Changed | Refused:
    try:
        successor = await _ACTIONS[bulk.action](engine, bulk, row)
        now = await engine.glance(row.id)
    except StepwellError as error:
        return Refused(row.id, row.tenant, row.scope, row.number, str(error))
    return Changed(row.id, row.tenant, row.scope, row.number, now.state if now else row.state, successor)


async def _pause(engine: Engine, bulk: Bulk, row: "RunRow") -> None:
    await engine.pause(row.id, bulk.by, bulk.reason)


async def _resume(engine: Engine, bulk: Bulk, row: "RunRow") -> None:
    await engine.resume(row.id, bulk.by)


async def _cancel(engine: Engine, bulk: Bulk, row: "RunRow") -> None:
    await engine.cancel(row.id, bulk.by, bulk.reason, bulk.undo)


async def _terminate(engine: Engine, bulk: Bulk, row: "RunRow") -> None:
    await engine.terminate(row.id, bulk.by, bulk.reason)


async def _restart(engine: Engine, bulk: Bulk, row: "RunRow") -> str:
    successor = hashlib.sha256("\0".join(("bulk", bulk.id, row.id)).encode()).hexdigest()[:32]
    return await restart(engine, row, bulk.step, successor, bulk.metadata)


_ACTIONS: Mapping[str, Callable[[Engine, Bulk, "RunRow"], Awaitable[str | None]]] = {
    "pause": _pause, "resume": _resume, "cancel": _cancel, "terminate": _terminate, "restart": _restart,
}  # fmt: skip


def _checked(bulk: Bulk) -> Selection:
    """Give the selection with its states; refuse what is too wide or can mean nothing."""
    applies = APPLIES.get(bulk.action)
    if applies is None:
        raise Invalid(f"There is no bulk operation {str(bulk.action)[:40]!r}. Known are: {', '.join(APPLIES)}.")
    check_by(bulk.by)
    if not isinstance(bulk.which, Selection):
        raise Invalid(f"The runs that are meant have value {str(bulk.which)[:80]!r}. Give a Selection(…).")
    wrong = sorted(bulk.which.states - applies)
    if wrong:
        said = f"A run that is {wrong[0]!r} cannot be meant by {bulk.action!r}"
        raise Invalid(f"{said}. States that can: {', '.join(sorted(applies))}.")
    if not bulk.which.narrow and not bulk.everything:
        raise Invalid(f"{bulk.action!r} would mean the runs of everybody. Name a tenant, or say everything=True.")
    if bulk.action == "restart" and not bulk.id:
        raise Invalid("A restart of many runs has no id. Give it one, or the same again would restart them twice.")
    return replace(bulk.which, states=bulk.which.states or applies - {"passed"})
