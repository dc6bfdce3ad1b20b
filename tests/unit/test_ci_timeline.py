from typing import Any

import pytest
from fixture_runs import NOW, waited_journal
from hypothesis import given
from hypothesis import strategies as st

from stepwell.ci.timeline import Span, timeline
from stepwell.engine.entries import Entry

Told = tuple[float, str, str, Any]


def journal(*told: Told) -> list[Entry]:
    first: Told = (0.0, "created", "", {})
    return [
        Entry("r", n, at, kind, key, 1 if kind in ("started", "done", "retry", "lost") else 0, 1, data)  # type: ignore[arg-type]
        for n, (at, kind, key, data) in enumerate([first, *told], 1)
    ]


def ask(name: str, kind: str = "run", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, **more}


def spans(entries: list[Entry], now: float = 100.0) -> dict[str, list[tuple[Any, ...]]]:
    return {
        lane.key: [(span.kind, span.start, span.end, span.outcome) for span in lane.spans]
        for lane in timeline(entries, now).lanes
    }


def test_a_command_is_queued_and_then_at_work() -> None:
    told = journal((1, "asked", "a#1", ask("a")), (3, "started", "a#1", {}), (9, "done", "a#1", {"ok": False}))
    assert spans(told) == {"a#1": [("queued", 1, 3, ""), ("work", 3, 9, "failed")]}


def test_a_step_waits_for_its_environments_time_and_for_people() -> None:
    told = journal(
        (1, "asked", "a#1", ask("a", due=5.0, held=True)), (3, "released", "a#1", {"by": "ann"}),
        (5, "fired", "a#1", None), (6, "started", "a#1", {}), (9, "done", "a#1", {"ok": True}),
    )  # fmt: skip
    begun = [("queued", 5, 6, ""), ("work", 6, 9, "passed")]
    assert spans(told) == {"a#1": [("person", 1, 3, ""), ("wait", 3, 5, ""), *begun]}
    told[2:4] = [told[3]._replace(seq=3), told[2]._replace(seq=4, at=5.5)]
    assert spans(told) == {"a#1": [("person", 1, 5.5, ""), ("queued", 5.5, 6, ""), begun[1]]}


def test_an_inline_step_worked_before_the_entry_that_tells_of_it() -> None:
    inline = {"name": "version", "kind": "do"}
    told = journal((5, "done", "version#1", {"ok": True, "seconds": 2.0, "inline": inline}))
    assert spans(told) == {"version#1": [("work", 3, 5, "passed")]}
    assert timeline(told, 5).lanes[0].name == "version"


def test_an_inline_step_that_is_tried_again_waits_between() -> None:
    inline = {"name": "v", "kind": "do"}
    told = journal(
        (5, "retry", "v#1", {"seconds": 2.0, "inline": inline, "error": {}, "due": 9}), (9, "fired", "v#1", None),
        (12, "done", "v#1", {"ok": True, "seconds": 1.0}),
    )  # fmt: skip
    assert spans(told)["v#1"] == [
        ("work", 3, 5, "failed"), ("retry", 5, 9, ""), ("queued", 9, 11, ""), ("work", 11, 12, "passed"),
    ]  # fmt: skip


def test_a_held_step_waits_for_a_person_and_then_in_the_queue() -> None:
    told = journal(
        (1, "asked", "d#1", ask("d", held=True)), (40, "released", "d#1", {"by": "ida"}), (41, "started", "d#1", {}),
        (45, "lost", "d#1", {"reason": ""}), (46, "started", "d#1", {}),
    )  # fmt: skip
    assert spans(told, 50)["d#1"] == [
        ("person", 1, 40, ""), ("queued", 40, 41, ""), ("work", 41, 45, "lost"), ("queued", 45, 46, ""),
        ("work", 46, 50, "running"),
    ]  # fmt: skip


def test_waits_end_by_time_by_event_and_by_being_dropped() -> None:
    told = journal(
        (1, "asked", "s#1", ask("s", "sleep")), (1, "asked", "e#1", ask("e", "event")),
        (1, "asked", "x#1", ask("x", "event")), (1, "asked", "~1", ask("", "timer")),
        (4, "took", "e#1", {"event": 9}), (6, "fired", "s#1", None),
        (7, "fired", "~1", None), (8, "dropped", "x#1", None),
    )  # fmt: skip
    assert spans(told) == {"s#1": [("wait", 1, 6, "")], "e#1": [("wait", 1, 4, "")], "x#1": [("wait", 1, 8, "")]}


def test_a_step_that_another_journal_asked_for_has_its_name() -> None:
    told = journal((2, "started", "build image#2", {}), (5, "done", "build image#2", {"ok": True}))
    (lane,) = timeline(told, 5).lanes
    assert (lane.name, lane.spans) == ("build image", (Span("work", 2, 5, 1, "passed"),))


def test_a_called_run_and_a_binding_are_work() -> None:
    told = journal(
        (1, "asked", "c#1", ask("c", "call")), (2, "called", "c#1", {"run": "x", "number": 2}),
        (3, "asked", "b#1", ask("b", "binding")), (4, "done", "b#1", {"ok": True}), (9, "done", "c#1", {"ok": True}),
    )  # fmt: skip
    assert spans(told) == {
        "c#1": [("queued", 1, 2, ""), ("work", 2, 9, "passed")], "b#1": [("work", 3, 4, "passed")],
    }  # fmt: skip


def test_the_time_of_a_run_is_divided_without_rest() -> None:
    told = journal(
        (2, "asked", "a#1", ask("a")), (3, "started", "a#1", {}), (3, "asked", "q#1", ask("q", "approval")),
        (9, "done", "a#1", {"ok": True}), (50, "done", "q#1", {"ok": True}), (51, "ended", "", {"state": "passed"}),
    )  # fmt: skip
    found = timeline(told, 1000)
    assert found.stretches == (
        Span("code", 0, 2), Span("queued", 2, 3), Span("work", 3, 9), Span("person", 9, 50), Span("code", 50, 51)
    )  # fmt: skip
    assert found.seconds == {"code": 3, "queued": 1, "work": 6, "person": 41}


def test_a_run_held_back_or_paused_tells_so() -> None:
    told = [Entry("r", 1, 0.0, "created", "", 0, 0, {"held": True})]
    told += journal((5, "paused", "", {}), (8, "resumed", "", {}))[1:]
    assert timeline(told, 9).seconds == {"queued": 5, "paused": 3, "code": 1}


def test_a_run_of_three_days_was_at_work_for_three_minutes() -> None:
    found = timeline(waited_journal(), NOW)
    assert found.seconds["work"] == pytest.approx(167)
    assert found.seconds["person"] == pytest.approx(259_300 - 75.4)
    unit = next(lane for lane in found.lanes if lane.name == "unit 3.11")
    assert [(span.kind, span.attempt, span.outcome) for span in unit.spans if span.kind == "work"] == [
        ("work", 1, "failed"), ("work", 2, "passed"),
    ]  # fmt: skip


KEYS = ["a#1", "b#1", ""]
TYPES = ["asked", "started", "done", "retry", "lost", "fired", "took", "dropped", "released", "paused", "resumed"]


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from(TYPES), st.sampled_from(KEYS), st.booleans())))
def test_whatever_a_journal_says_the_parts_make_the_whole(rows: list[tuple[float, str, str, bool]]) -> None:
    rows.sort(key=lambda row: row[0])
    data = {"kind": "run", "name": "n", "ok": True, "seconds": 3.0}
    told = journal(*((at, kind, key, {**data, "held": held}) for at, kind, key, held in rows))
    found = timeline(told, 60)
    assert sum(found.seconds.values()) == pytest.approx(60)
    assert all(0 <= span.start < span.end <= 60 for lane in found.lanes for span in lane.spans)


def restarted(*told: Told, until: int, at: float, **more: Any) -> list[Entry]:
    """The journal of a run that adopted its entries up to `until`, and was restarted at a time."""
    found = journal(*told)
    origins = more.get("origins", [["first", until]])
    found[0] = found[0]._replace(data={"ancestry": {
        "run": "first", "step": "c#1", "until": until, "at": at, "seed": "first", "number": 1, "origins": origins,
    }})  # fmt: skip
    return found


ADOPTED: tuple[Told, ...] = (
    (1, "asked", "a#1", ask("a")), (2, "started", "a#1", {}), (5, "done", "a#1", {"ok": True}),
    (5, "asked", "b#1", ask("b")),
)  # fmt: skip


def test_the_time_between_an_ended_run_and_its_restart_is_cut() -> None:
    own: tuple[Told, ...] = (
        (1001, "started", "b#1", {}),
        (1003, "done", "b#1", {"ok": True}),
        (1003, "ended", "", {"state": "passed"}),
    )
    found = timeline(restarted(*ADOPTED, *own, until=5, at=1000), 2000)
    assert (found.begin, found.end, found.adopted) == (995, 1003, 5)
    assert found.seconds == {"code": 1, "queued": 2, "work": 5}
    assert {lane.name: lane.spans for lane in found.lanes} == {
        "a": (Span("queued", 996, 997), Span("work", 997, 1000, 1, "passed")),
        "b": (Span("queued", 1000, 1001), Span("work", 1001, 1003, 1, "passed")),
    }  # fmt: skip


def test_what_an_ended_run_left_open_waits_from_the_restart_on() -> None:
    asked: Told = (1, "asked", "b#1", ask("b"))
    worked: tuple[Told, ...] = (
        (1, "asked", "a#1", ask("a")),
        (2, "started", "a#1", {}),
        (5, "done", "a#1", {"ok": True}),
    )
    found = spans(restarted(asked, *worked, (1002, "started", "b#1", {}), until=5, at=1000), 1004)
    assert found["b#1"] == [("queued", 1000, 1002, ""), ("work", 1002, 1004, "running")]


def test_the_gaps_of_a_run_restarted_twice_are_cut_both() -> None:
    second: tuple[Told, ...] = (
        (501, "started", "b#1", {}),
        (503, "done", "b#1", {"ok": True}),
        (503, "asked", "c#1", ask("c")),
    )
    origins = [["first", 5], ["second", 8]]
    told = restarted(*ADOPTED, *second, (1001, "started", "c#1", {}), until=8, at=1000, origins=origins)
    found = timeline(told, 1002)
    assert (found.begin, found.end, found.adopted) == (993, 1002, 7)
    assert [(span.start, span.end) for span in found.lanes[0].spans] == [(994, 995), (995, 998)]
    part = timeline(told[:3], told[2].at)  # as much of it as a page reads
    assert part.end - part.begin == 2
