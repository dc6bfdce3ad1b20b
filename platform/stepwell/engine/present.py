"""The present: what is in isolates and containers at this moment, and who waits for room or for a place.

Read from the engine's memory alone, so it costs nothing on disk and is over as soon as it is told. Runs that wait are
named by their ids: what they are called is in their rows, for whoever may read those. Belongs on the engine's loop.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from stepwell.engine.live import EXECUTED, Live
from stepwell.engine.room import Room
from stepwell.engine.slots import Slots

CODE = "code"
"""The kind of what is no step: a run's own code, in its isolate."""
MOST_TOLD = 200
"""Of what goes on, and of what waits, that is told one by one; all of it is counted."""


@dataclass(frozen=True, slots=True)
class Doing:
    """Something that is executed now. `key` is "" for the run's own code, `name` then the `step.do` it is at, if it is
    at one; `image` is "" in an isolate.
    """

    run: str
    tenant: str
    key: str
    name: str
    kind: str
    image: str
    attempt: int
    since: float | None  # seconds since the epoch; None for code between two steps


@dataclass(frozen=True, slots=True)
class Waits:
    """A run (`key` "") or a step of it that would go on if there were room."""

    run: str
    tenant: str
    key: str
    name: str
    reason: str


@dataclass(frozen=True)
class Counted:
    """How much of something goes on. Runs whose code is in an isolate, light steps, heavy steps, what waits."""

    code: int = 0
    isolates: int = 0
    containers: int = 0
    waits: int = 0


@dataclass(frozen=True)
class Present:
    """What goes on now. `doing` and `waits` are of the tenants that were asked for, `counted` are by tenant, of all.

    `turns` and `steps` are how many may go on at a time, `per_tenant` how many steps of one tenant.
    """

    doing: tuple[Doing, ...]
    waits: tuple[Waits, ...]
    counted: Mapping[str, Counted] = field(default_factory=dict)
    turns: int = 0
    steps: int = 0
    per_tenant: int = 0


def look(runs: Iterable[Live], room: Room, slots: Slots, tenants: Collection[str]) -> Present:
    """Look at the runs in memory."""
    counts: dict[str, list[int]] = {}
    doing: list[Doing] = []
    waits: list[Waits] = []
    for live in runs:
        state, tenant = live.state, live.state.tenant
        told = tenant in tenants
        count = counts.setdefault(tenant, [0, 0, 0, 0])
        if live.turn is not None and live.turn.attached:
            count[0] += 1
            if told:
                inline = next(iter(state.inflight.values()), None)
                name, since = (inline.name, inline.since) if inline is not None else ("", None)
                doing.append(Doing(state.id, tenant, "", name, CODE, "", 0, since))
        for key in live.attempts:
            step = state.steps.get(key)
            if step is None or step.kind not in EXECUTED:
                continue
            image = str(step.options.get("image") or "")
            if step.state == "running":
                count[2 if image or step.kind == "image" else 1] += 1
                if told:
                    since = step.attempts[-1].started_at if step.attempts else step.started_at
                    doing.append(Doing(state.id, tenant, key, step.name, step.kind, image, step.attempt, since))
            elif step.state == "queued":
                count[3] += 1
                if told:
                    waits.append(Waits(state.id, tenant, key, step.name, slots.reason(tenant)))
    for wish in room.wishes:
        counts.setdefault(wish.tenant, [0, 0, 0, 0])[3] += 1
        if wish.tenant in tenants:
            waits.append(Waits(wish.run, wish.tenant, "", "", room.reason(wish.run) or ""))
    counted = {tenant: Counted(*count) for tenant, count in counts.items() if any(count)}
    doing.sort(key=lambda one: (one.key == "", one.since or 0.0))
    return Present(
        tuple(doing[:MOST_TOLD]), tuple(waits[:MOST_TOLD]), counted, room.limit, slots.limit, slots.per_tenant
    )
