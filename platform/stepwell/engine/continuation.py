"""Continuing: a run goes on under a fresh journal, so that a loop without end costs no more than its last round.

The first entry of the fresh journal says all that is still true of the run, and what was before it goes in the same
transaction: there is no moment at which a crash could find both, or neither. Numbers of entries and the numbers in keys
count on, so nothing that names an entry, a step, a log or a called run can ever mean another one.
"""

import platform
from collections.abc import Mapping
from typing import Any

from stepwell.authoring.calling import params_of
from stepwell.authoring.version import REPLAY
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.rounds import as_told
from stepwell.engine.state import EVENT_IDS, OPEN, RunState


def draft_continuation(live: Live, parts: Parts, event: Mapping[str, Any]) -> None:
    """Draft the fresh journal of a run whose code has left it; `event` is in what its event differs."""
    state = live.state
    for step in list(state.steps.values()):
        if step.kind == "call" and step.state in OPEN:
            parts.commits.append(live, "dropped", step.key, None)  # its run is cancelled
    events, paused = list(state.events.values()), state.paused
    parts.commits.append(live, "continued", "", _first(state, event, parts.clock.now()))
    for kept in events:
        parts.commits.append(live, "event", "", {"type": kept.type, "payload": kept.payload, "id": kept.id})
    if paused is not None:
        parts.commits.append(live, "paused", "", {"by": paused["by"], "reason": paused["reason"]})


def _first(state: RunState, event: Mapping[str, Any], now: float) -> dict[str, Any]:
    numbers = (int(key.rpartition("#")[2]) for key in state.steps)
    kept = {name: value for name, value in state.first.items() if name != "held"}
    return {
        **kept, "params": params_of(state.params, event), "replay": REPLAY, "python": platform.python_version(),
        "round": state.round + 1, "offset": max([state.offset, *numbers]), "created_at": state.created_at,
        "started_at": state.started_at, "event_ids": state.last_ids[-EVENT_IDS:],
        "began_at": now, "rounds": as_told(state, now),
    }  # fmt: skip
