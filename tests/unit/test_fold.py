"""The fold tells a run's state from its journal, and nothing else."""

from typing import Any

import pytest

from stepwell.engine import fold as folding
from stepwell.engine.entries import Entry, EntryType
from stepwell.engine.fold import apply, fold
from stepwell.engine.state import RunState
from stepwell.errors import Bug

CREATED = {
    "tenant": "acme", "scope": "acme/api", "number": 12, "title": "Ship", "metadata": {"commit": "c0ffee"},
    "code": "d", "entry": "pipeline.py:Ship", "params": {"kind": "push"},
}  # fmt: skip
ANCESTRY = {
    "run": "old", "step": "z#1", "number": 1, "seed": "old", "at": 0.5, "until": 9, "origins": [["old", 9]],
}  # fmt: skip
ERROR = {"type": "CommandFailed", "message": "exit code 1", "traceback": ""}


def journal(*lines: tuple[Any, ...]) -> list[Entry]:
    """Entries from (type, key, data, attempt), one second apart."""
    rows: list[tuple[Any, ...]] = [("created", "", CREATED), *lines]
    return [
        Entry("r", seq, 100.0 + seq, line[0], line[1], line[3] if len(line) > 3 else 0, 1, line[2])
        for seq, line in enumerate(rows, 1)
    ]


def ask(key: str, kind: str = "run", **more: Any) -> tuple[EntryType, str, dict[str, Any]]:
    name = key.partition("#")[0]
    data: dict[str, Any] = {"kind": kind, "name": name, "fingerprint": "f", "options": {}, "base": [], "due": None}
    return ("asked", key, {**data, "where": "p.py:1", **more})


def inline(ok: bool = True, **more: Any) -> dict[str, Any]:
    return {"ok": ok, "seconds": 0.5, "inline": {"kind": "do", "name": "d", "fingerprint": "f"}, **more}


def test_a_created_run_is_queued() -> None:
    state = fold(journal())
    assert (state.state, state.number, state.scope, state.started_at) == ("queued", 12, "acme/api", None)


def test_an_inline_step_is_known_from_its_result_alone() -> None:
    state = fold(journal(("done", "d#1", inline(value=7), 1)))
    step = state.steps["d#1"]
    assert (step.name, step.kind, step.state, step.value, step.seconds) == ("d", "do", "passed", 7, 0.5)
    assert (state.state, state.started_at) == ("running", 101.5)


@pytest.mark.parametrize(
    ("seconds", "began"),
    [(0.5, 101.5), (0.0, 102.0), (99.0, 101.0)],
    ids=["within the run", "no time", "longer than the run"],
)
@pytest.mark.parametrize("ok", [True, False])
def test_an_inline_step_began_as_many_seconds_ago_as_it_took(ok: bool, seconds: float, began: float) -> None:
    state = fold(journal(("done", "d#1", inline(ok, seconds=seconds, error=ERROR), 1)))
    step = state.steps["d#1"]
    assert (step.asked_at, step.started_at, step.attempts[0].started_at, state.started_at) == (began,) * 4
    assert step.ended_at == 102.0


@pytest.mark.parametrize("kind", ["retry", "lost"])
def test_an_attempt_told_of_first_began_as_many_seconds_ago_as_it_took(kind: str) -> None:
    more = {"error": ERROR, "due": 105.0, "reason": "gone", "seconds": 0.5}
    state = fold(journal((kind, "d#1", {**more, "inline": inline()["inline"]}, 1)))
    step = state.steps["d#1"]
    assert (step.asked_at, step.attempts[0].started_at, state.started_at) == (101.5,) * 3


def test_an_adopted_inline_step_took_as_long_as_it_did_before_the_run_was_made() -> None:
    entries = journal(("done", "d#1", inline(value=7), 1))
    entries[0] = entries[0]._replace(data={**CREATED, "ancestry": {**ANCESTRY, "at": 500.0}})
    step = fold(entries).steps["d#1"]
    assert (step.started_at, step.ended_at) == (101.5, 102.0)


@pytest.mark.parametrize("more", [{"value": 7}, {"blob": {"id": "b", "size": 9}}])
@pytest.mark.parametrize("ancestry", [None, ANCESTRY])
def test_a_step_that_passed_at_once_is_what_it_becomes_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], ancestry: dict[str, Any] | None
) -> None:
    entries = journal(("done", "a#1", {"ok": True, "seconds": 0.25, "inline": inline()["inline"], **more}, 3))
    if ancestry:
        entries[0] = entries[0]._replace(data={**entries[0].data, "ancestry": ancestry})
    at_once = fold(entries)
    monkeypatch.setattr(
        folding, "_passed_at_once", lambda state, entry: folding._ended_attempt(state, entry, entry.data)
    )
    bit_by_bit = fold(entries)
    assert at_once.steps == bit_by_bit.steps
    assert at_once.steps["a#1"].attempts[0].number == 3
    assert at_once.counts == bit_by_bit.counts


def test_a_run_waits_only_when_all_its_open_steps_do() -> None:
    waits = journal(ask("w#1", "event"), ask("r#1"))
    assert fold(waits).state == "running"
    assert fold(waits[:2]).state == "waiting"


def test_an_inflight_inline_step_makes_a_waiting_run_running() -> None:
    state = fold(journal(ask("w#1", "event")))
    state.inflight["d#1"] = None  # type: ignore[assignment]
    assert state.state == "running"


def test_attempts_of_an_executors_step_are_told_one_by_one() -> None:
    state = fold(
        journal(
            ask("r#1"),
            ("started", "r#1", {"runner": "local"}, 1),
            ("lost", "r#1", {"reason": "gone"}, 1),
            ("started", "r#1", {"runner": "local"}, 2),
            ("retry", "r#1", {"error": ERROR, "due": 200.0}, 2),
            ("fired", "r#1", None),
            ("started", "r#1", {"runner": "local"}, 3),
            ("done", "r#1", {"ok": True, "value": 1, "seconds": 2.0, "layer": "L", "exit_code": 0}, 3),
        )
    )
    step = state.steps["r#1"]
    assert [(one.number, one.state) for one in step.attempts] == [(1, "lost"), (2, "failed"), (3, "passed")]
    assert [one.reason for one in step.attempts] == ["gone", "", ""]
    assert (step.failures, step.losses, step.layer, state.layers) == (1, 0, "L", [(9, "L")])
    assert (state.timers, state.counts["passed"]) == ({}, 1)


def test_each_attempt_keeps_the_connections_that_it_asked_for() -> None:
    first, second = ({"places": [{"host": host}], "others": 0} for host in ("a.example", "b.example"))
    lines = [
        ask("r#1"), ("started", "r#1", {}, 1),
        ("retry", "r#1", {"error": ERROR, "due": 200.0, "connections": first}, 1),
        ("fired", "r#1", None), ("started", "r#1", {}, 2), ("done", "r#1", {"ok": True, "connections": second}, 2),
    ]  # fmt: skip
    attempts = fold(journal(*lines)).steps["r#1"].attempts
    assert [attempt.connections for attempt in attempts] == [first, second]


def test_a_retry_may_be_the_first_word_of_an_inline_step() -> None:
    retry = {"error": ERROR, "due": 105.0, "inline": {"kind": "do", "name": "d", "fingerprint": "f"}}
    state = fold(journal(("retry", "d#1", retry, 1)))
    assert (state.steps["d#1"].state, state.timers, state.state) == ("retrying", {"d#1": 105.0}, "running")


@pytest.mark.parametrize(
    ("kind", "after", "error"),
    [("sleep", "passed", None), ("event", "failed", "EventTimeout"), ("approval", "failed", "ApprovalTimeout")],
)
def test_a_due_time_ends_a_wait(kind: str, after: str, error: str | None) -> None:
    state = fold(journal(ask("w#1", kind, due=150.0), ("fired", "w#1", None)))
    step = state.steps["w#1"]
    assert (step.state, step.error and step.error["type"]) == (after, error)
    assert (state.timers, state.approvals) == ({}, {})


def test_an_event_taken_before_the_timeout_was_delivered_counts_as_taken() -> None:
    event = ("event", "", {"type": "go", "payload": 5, "id": "e"})
    state = fold(journal(ask("w#1", "event", due=150.0), event, ("fired", "w#1", None), ("took", "w#1", {"event": 3})))
    step = state.steps["w#1"]
    assert (step.state, step.value, step.error, state.events, state.event_ids) == ("passed", 5, None, {}, {"e"})


def test_timers_of_the_code_are_no_steps() -> None:
    entries = journal(ask("~1", "timer", due=150.0))
    assert (fold(entries).steps, fold(entries).timers, fold(entries).state) == ({}, {"~1": 150.0}, "waiting")
    assert fold([*entries, Entry("r", 3, 110.0, "dropped", "~1", 0, 1, None)]).timers == {}


def test_a_held_step_needs_people_until_it_is_released() -> None:
    held = journal(ask("r#1", held=True), ("decision", "r#1", {"by": "ann", "approve": True}))
    state = fold(held)
    assert (state.state, list(state.approvals), len(state.steps["r#1"].decisions)) == ("waiting", ["r#1"], 1)
    apply(state, Entry("r", 4, 110.0, "released", "r#1", 0, 0, {"by": "ann"}))
    assert (state.steps["r#1"].state, state.approvals, state.steps["r#1"].released_by) == ("queued", {}, "ann")


def test_time_in_which_only_people_keep_a_run_is_counted() -> None:
    asked = (ask("ship#1", "approval"), ask("scan#1"), ("started", "scan#1", {"runner": "here"}, 1))
    scanned = ("done", "scan#1", {"ok": True, "seconds": 1}, 1)
    yes = (("decision", "ship#1", {"by": "jun", "approve": True}), ("done", "ship#1", {"ok": True, "value": {}}))
    waits = fold(journal(*asked, scanned))  # at 102 it asks, from 105 on it does nothing else
    assert (waits.asks_since, waits.waited) == (105.0, 1.0)  # one second until the scan was asked for
    on = fold(journal(*asked, scanned, *yes, ask("deploy#1")))
    assert (on.asks_since, on.waited) == (None, 3.0)
    held = fold(journal(ask("deploy#1", held=True), ("released", "deploy#1", {"by": "jun"})))
    assert (held.asks_since, held.waited) == (None, 1.0)
    over = fold(journal(ask("ship#1", "approval"), ("ended", "", {"state": "cancelled"})))
    assert (over.asks_since, over.waited) == (None, 1.0)


def test_a_restarted_run_does_not_count_the_waits_that_it_adopted() -> None:
    yes = (("decision", "ship#1", {"by": "jun", "approve": True}), ("done", "ship#1", {"ok": True, "value": {}}))
    entries = journal(ask("ship#1", "approval"), *yes, ask("deploy#1"))
    entries[0] = entries[0]._replace(data={**CREATED, "ancestry": {**ANCESTRY, "until": 4}})
    assert fold(entries).waited == 0.0


def test_the_end_closes_what_is_open() -> None:
    state = fold(
        journal(
            ask("a#1"), ask("b#1"), ask("w#1", "approval", due=500.0), ("started", "a#1", {"runner": "local"}, 1),
            ("ended", "", {"state": "failed", "error": ERROR}),
        )
    )  # fmt: skip
    assert {key: step.state for key, step in state.steps.items()} == {
        "a#1": "cancelled",
        "b#1": "skipped",
        "w#1": "cancelled",
    }
    assert (state.state, state.reason, state.timers, state.approvals) == ("failed", "exit code 1", {}, {})
    assert state.steps["a#1"].attempts[0].state == "cancelled"


def test_a_cancelled_run_says_by_whom() -> None:
    cancelled = ("cancel", "", {"by": "ann", "reason": "enough"})
    state = fold(journal(cancelled, ("ended", "", {"state": "cancelled", "result": None})))
    assert state.reason == "cancelled by ann: enough"


def test_failed_turns_count_only_in_a_row_and_only_the_codes_own() -> None:
    failed, kept = (
        ("turn_failed", "", {"reason": "x", "counted": True}),
        ("turn_failed", "", {"reason": "y", "counted": False}),
    )
    assert fold(journal(failed, kept, failed)).failed_turns == 2
    state = fold(journal(failed, failed, ("done", "d#1", inline(value=1), 1)))
    assert (state.failed_turns, state.reason) == (0, None)


def test_every_prefix_folds_and_going_on_equals_folding_anew() -> None:
    entries = journal(
        ask("a#1"), ("started", "a#1", {"runner": "local"}, 1), ask("w#1", "event", due=9.0), ("dropped", "w#1", None),
        ("done", "a#1", {"ok": False, "error": ERROR, "seconds": 1.0}, 1),
        ("ended", "", {"state": "failed", "error": ERROR}),
    )  # fmt: skip
    state = RunState("r")
    for n, entry in enumerate(entries, 1):
        apply(state, entry)
        assert state == fold(entries[:n])


def test_counts_always_add_up_to_the_steps() -> None:
    state = fold(journal(ask("a#1"), ask("b#1"), ("done", "d#1", inline(value=1), 1), ("dropped", "a#1", None)))
    assert {name: n for name, n in state.counts.items() if n} == {"queued": 1, "passed": 1, "cancelled": 1}


def test_a_snapshot_does_not_follow_its_original() -> None:
    state = fold(journal(ask("a#1")))
    twin = state.snapshot()
    apply(state, Entry("r", 3, 110.0, "started", "a#1", 1, 1, {"runner": "local"}))
    assert (twin.steps["a#1"].state, twin.counts, twin.steps["a#1"].attempts) == ("queued", {"queued": 1}, [])


def test_a_gap_in_a_journal_is_a_bug_and_said_so() -> None:
    with pytest.raises(Bug):
        fold([*journal(), Entry("r", 3, 1.0, "cancel", "", 0, 0, {})])
    with pytest.raises(Bug):
        fold([])
