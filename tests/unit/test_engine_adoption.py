"""What a restarted run adopts of the journal of the run that it restarts."""

from typing import Any

import pytest

from stepwell.engine.adoption import adopt
from stepwell.engine.entries import Entry
from stepwell.engine.fold import fold
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, NotFound

CREATED = {
    "tenant": "acme", "scope": "acme/api", "number": 12, "title": "Ship", "metadata": {}, "code": "d",
    "entry": "pipeline.py:Ship", "params": {},
}  # fmt: skip
NOW = 1000.0


def journal(*lines: tuple[Any, ...], run: str = "old") -> list[Entry]:
    """Entries from (type, key, data, attempt), one second apart, from second 101 on."""
    rows: list[tuple[Any, ...]] = [("created", "", CREATED), *lines]
    return [
        Entry(run, seq, 100.0 + seq, line[0], line[1], line[3] if len(line) > 3 else 0, 7, line[2])
        for seq, line in enumerate(rows, 1)
    ]


def ask(key: str, kind: str = "run", **more: Any) -> tuple[Any, ...]:
    data: dict[str, Any] = {
        "kind": kind,
        "name": key.partition("#")[0],
        "fingerprint": "f",
        "options": {},
        "base": [],
        "due": None,
    }
    return ("asked", key, {**data, "where": "p.py:1", **more})


def passed(key: str, **more: Any) -> tuple[Any, ...]:
    return ("done", key, {"ok": True, "value": 1, "seconds": 1.0, **more}, 1)


def inline(key: str) -> tuple[Any, ...]:
    return passed(key, inline={"kind": "do", "name": key.partition("#")[0], "fingerprint": "f"})


def started(key: str, attempt: int = 1) -> tuple[Any, ...]:
    return ("started", key, {"runner": "local"}, attempt)


APPROVED = ("decision", "yes#1", {"by": "ann", "approve": True})


def restarted(entries: list[Entry], step: str, *, same_code: bool = True) -> RunState:
    """State of the successor, as its own journal tells it."""
    adoption = adopt(entries, step, run="new", now=NOW, same_code=same_code)
    created = {**entries[0].data, "number": 15, "ancestry": adoption.ancestry.as_json()}
    first = Entry("new", 1, entries[0].at, "created", "", 0, 0, created)
    assert all(entry.turn == 0 and entry.run == "new" for entry in adoption.entries)
    return fold([first, *adoption.entries])


def test_what_ended_before_the_step_is_adopted_with_its_attempts_and_its_layer() -> None:
    entries = journal(
        ask("a#1"), started("a#1"), ("lost", "a#1", {"reason": "gone"}, 1), started("a#1", 2),
        passed("a#1", layer="L"), inline("b#1"), ask("c#1"), started("c#1"), passed("c#1"),
    )  # fmt: skip
    state = restarted(entries, "c#1")
    assert {key: step.state for key, step in state.steps.items()} == {"a#1": "passed", "b#1": "passed"}
    assert ([one.state for one in state.steps["a#1"].attempts], state.layers) == (["lost", "passed"], [(6, "L")])
    assert (state.steps["a#1"].origin, state.steps["b#1"].origin) == ("old", "old")


def test_a_function_is_restarted_from_its_first_mention() -> None:
    retry = ("retry", "b#1", {"error": {}, "due": 110.0, "inline": inline("b#1")[2]["inline"]}, 1)
    entries = journal(ask("a#1"), retry, passed("a#1"), ("fired", "b#1", None), inline("b#1"))
    assert list(restarted(entries, "b#1").steps) == ["a#1"]
    assert restarted(entries, "b#1").steps["a#1"].state == "queued"


def test_steps_that_had_not_ended_run_again_from_their_first_attempt() -> None:
    retry = ("retry", "d#1", {"error": {}, "due": 110.0, "inline": inline("d#1")[2]["inline"]}, 1)
    entries = journal(
        ask("a#1"), started("a#1"), ("retry", "a#1", {"error": {}, "due": 109.0}, 1), retry, ("fired", "a#1", None),
        started("a#1", 2), ask("b#1"), passed("a#1"),
    )  # fmt: skip
    state = restarted(entries, "b#1")
    step = state.steps["a#1"]
    assert (list(state.steps), step.state, step.attempt, step.failures, step.origin) == (["a#1"], "queued", 0, 0, "")
    assert state.timers == {}


def test_open_waits_begin_anew_but_for_moments_of_the_calendar() -> None:
    entries = journal(
        ask("nap#1", "sleep", due=702.0, options={"seconds": 600}),
        ask("date#1", "sleep", due=5000.0, options={"seconds": 4897, "until": 5000.0}),
        ask("~1", "timer", due=114.0),
        ask("over#1", "sleep", due=105.5), ("fired", "over#1", None),
        ask("b#1"),
    )  # fmt: skip
    state = restarted(entries, "b#1")
    assert state.timers == {"nap#1": NOW + 600, "date#1": 5000.0, "~1": NOW + 10}
    assert state.steps["over#1"].state == "passed"


def test_events_come_along_unless_they_were_taken() -> None:
    def event(type: str, id: str) -> tuple[Any, ...]:
        return ("event", "", {"type": type, "payload": id, "id": id})

    entries = journal(
        ask("w#1", "event"), event("go", "taken before"), ("took", "w#1", {"event": 3}), event("go", "taken after"),
        event("go", "kept before"), ("paused", "", {"by": "ann"}), ("resumed", "", {"by": "ann"}), ask("b#1"),
        ask("w#2", "event"), ("took", "w#2", {"event": 5}), event("x", "never taken"), event("go", "came and went"),
        ask("w#3", "event"), ("took", "w#3", {"event": 13}),
    )  # fmt: skip
    state = restarted(entries, "b#1")
    assert [event.id for event in state.events.values()] == ["taken after", "kept before", "never taken"]
    assert state.event_ids == {"taken before", "taken after", "kept before", "never taken"}
    assert (state.steps["w#1"].event, state.steps["w#1"].value) == (3, "taken before")


def test_times_stay_as_the_code_read_them_and_people_see_the_restart() -> None:
    entries = journal(ask("a#1"), passed("a#1"), ask("b#1"))
    state = restarted(entries, "b#1")
    assert (state.steps["a#1"].asked_at, state.created_at, state.started_at) == (102.0, NOW, None)
    assert (state.updated_at, state.number, state.known_number, state.seed) == (NOW, 15, 12, "old")


APPROVAL = (
    ask("a#1"), passed("a#1"), ask("yes#1", "approval"), APPROVED, passed("yes#1"), ask("b#1"), passed("b#1"),
    ask("c#1"),
)  # fmt: skip


def test_an_approval_is_adopted_with_the_code_it_was_given_for() -> None:
    state = restarted(journal(*APPROVAL), "c#1")
    assert (list(state.steps), state.steps["yes#1"].state) == (["a#1", "yes#1", "b#1"], "passed")
    assert state.ancestry is not None and state.ancestry.same_code


def test_with_other_code_people_are_asked_again() -> None:
    entries = journal(*APPROVAL)
    state = restarted(entries, "c#1", same_code=False)
    assert (list(state.steps), state.steps["a#1"].state) == (["a#1", "yes#1"], "passed")
    assert (state.steps["yes#1"].state, state.steps["yes#1"].decisions) == ("waiting", [])
    assert list(state.approvals) == ["yes#1"]
    assert state.ancestry is not None and (state.ancestry.step, state.ancestry.same_code) == ("yes#1", False)


def test_with_other_code_a_step_that_people_released_is_held_again() -> None:
    decision = ("decision", "a#1", {"by": "ann", "approve": True})
    released = ("released", "a#1", {"by": "ann"})
    entries = journal(ask("a#1", held=True), decision, released, started("a#1"), passed("a#1"), ask("b#1"))
    assert restarted(entries, "b#1").steps["a#1"].state == "passed"
    step = restarted(entries, "b#1", same_code=False).steps["a#1"]
    assert (step.state, step.held, step.decisions) == ("waiting", True, [])


def test_half_an_approval_is_adopted_with_the_same_code_only() -> None:
    entries = journal(ask("yes#1", "approval"), APPROVED, ask("b#1"))
    assert len(restarted(entries, "b#1").steps["yes#1"].decisions) == 1
    assert restarted(entries, "b#1", same_code=False).steps["yes#1"].decisions == []


def test_what_came_after_a_cancellation_is_no_place_to_restart_from() -> None:
    entries = journal(ask("a#1"), ("cancel", "", {"by": "ann", "reason": ""}), ask("clean#1"))
    assert list(restarted(entries, "a#1").steps) == []
    with pytest.raises(Conflict, match="after the run was cancelled"):
        restarted(entries, "clean#1")


def test_an_unknown_step_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"Run #12 has no step 'x#1'\. Its steps: 'a#1'\."):
        restarted(journal(ask("a#1")), "x#1")


def test_restarts_of_restarts_know_where_each_step_ended() -> None:
    entries = journal(ask("a#1"), passed("a#1"), ask("b#1"), passed("b#1"), ask("c#1"))
    first = adopt(entries, "b#1", run="second", now=NOW, same_code=True)
    created = {**CREATED, "number": 13, "ancestry": first.ancestry.as_json()}
    second = [Entry("second", 1, 101.0, "created", "", 0, 0, created), *first.entries]
    lived = [ask("b#1"), started("b#1"), passed("b#1"), ("turn_failed", "", {"reason": "x"}), ask("c#1")]
    second += [
        Entry("second", 4 + n, NOW + n, line[0], line[1], line[3] if len(line) > 3 else 0, 1, line[2])
        for n, line in enumerate(lived)
    ]
    state = restarted(second, "c#1")
    assert (state.steps["a#1"].origin, state.steps["b#1"].origin) == ("old", "second")
    assert (state.known_number, state.seed) == (12, "old")
    again = restarted(second, "b#1")
    assert (list(again.steps), again.steps["a#1"].origin) == (["a#1"], "old")
