from dataclasses import replace
from pathlib import Path

import pytest
from fixture_runs import NOW, busy_run, failed_run, passed_run, step, summary

from stepwell.ci.runs import StepLog
from stepwell.engine.rounds import PastStep, Round
from stepwell.errors import NotFound
from stepwell.store.log_files import Log
from stepwell_web import runview


def test_a_run_opens_on_its_first_failed_step() -> None:
    chosen = runview.choose(busy_run(), None)
    assert chosen is not None
    assert chosen.name == "unit 3.13"


def test_a_run_without_steps_opens_on_nothing() -> None:
    assert runview.choose(failed_run(), None) is None


def test_steps_have_short_addresses_of_their_own() -> None:
    steps = (step("a b", "passed", 0, 1), step("a/b", "passed", 0, 1, key="a/b#1"), step("ü", "passed", 0, 1))
    assert list(runview.slugs(steps).values()) == ["a-b", "a-b~2", "ü"]


def test_a_step_is_found_by_address_and_by_key() -> None:
    view = busy_run()
    for wanted in ("unit-3.12", "unit 3.12#1"):
        chosen = runview.choose(view, wanted)
        assert chosen is not None
        assert chosen.key == "unit 3.12#1"
    assert runview.choose(view, "nonsense") is None


def test_a_call_links_to_the_run_that_it_made() -> None:
    call = step("deploy", "waiting", 0, None, kind="call", command="", child={"run": "c0ffee", "number": 43})
    view = replace(busy_run(), steps=(call,))
    panel = runview.panel(view, call, StepLog(Log(Path("none")), 0, False), 0, runview.Shown())
    summary = view.summary
    assert panel.child == ("#43", f"/{summary.tenant}/{summary.repository}/runs/43")
    assert panel.empty == "Its log is in the run that it called."


def test_a_promotion_says_what_it_moved() -> None:
    words = "moved refs/heads/stable from abc1234 to def5678"
    moved = step("stable", "passed", 0, 1, kind="binding", command="", reason=words)
    view = replace(busy_run(), steps=(moved,))
    panel = runview.panel(view, moved, StepLog(Log(Path("none")), 0, False), 0, runview.Shown())
    assert panel.empty == f"It {words}."


def test_services_beside_a_step_have_logs_of_their_own() -> None:
    one = step("test", "running", 0, None, options={"services": {"db": {"image": "postgres:16"}}})
    view = replace(busy_run(), steps=(one, step("odd", "passed", 0, 1, options={"services": 3})))
    panel = runview.panel(view, one, StepLog(Log(Path("none")), 1, False), 1, runview.Shown())
    assert panel.services == [("db", f"{view.summary.url}/raw?attempt=1&step=test%40db")]
    assert runview.key_of(view, "test@db") == "test#1@db"
    for unknown in ("test@cache", "odd@db", "none@db"):
        with pytest.raises(NotFound):
            runview.key_of(view, unknown)


def test_connections_of_an_attempt_stand_under_its_step() -> None:
    view = busy_run()
    install = next(one for one in view.steps if one.name == "install")
    shown = runview.panel(view, install, StepLog(Log(Path("none")), 1, False), 1, runview.Shown()).connections
    assert shown is not None
    assert shown.about == "22 connections, 2 refused"
    assert shown.places[0] == ("packages.example:443", 4, 5_120, 88_064, "")
    assert shown.places[2][0] == "[2606:4700::6812:2]:8443"
    assert shown.places[3][4].startswith("not a public address")
    other = next(one for one in view.steps if one.name == "lint")
    assert runview.panel(view, other, StepLog(Log(Path("none")), 1, False), 1, runview.Shown()).connections is None


def test_logs_of_earlier_rounds_have_their_own_addresses() -> None:
    past = Round(1, NOW - 9, NOW - 5, 1, (PastStep("look#1", "look", "run", "passed", 1, NOW - 6, 1.0),))
    view = replace(busy_run(), rounds=(past,))
    assert [runview.key_of(view, key) for key in ("look#1", "@1")] == ["look#1", "@1"]
    for unknown in ("look", "look#2", "@2"):
        with pytest.raises(NotFound):
            runview.key_of(view, unknown)


def test_bars_lie_on_the_runs_time_axis() -> None:
    rows = {r.name: r for r in runview.rows(busy_run(), None, NOW)}
    assert rows["checkout"].start == 0
    assert rows["e2e chrome"].start + rows["e2e chrome"].width == 1000
    assert rows["coverage"].width == 0
    assert all(0 <= r.start <= r.start + r.width <= 1000 for r in rows.values())


def test_many_passed_steps_fold_on_a_phone_but_never_the_open_one() -> None:
    view = busy_run()
    rows = runview.rows(view, view.steps[0], NOW)
    assert not rows[0].folded
    assert rows[1].folded
    assert not any(r.folded for r in runview.rows(passed_run(), None, NOW))


def test_the_graph_draws_steps_after_all_they_need() -> None:
    seen: set[str] = set()
    for node in runview.nodes(busy_run(), None, NOW):
        assert set(node.needs) <= seen
        seen.add(node.id)


def test_times_grow_in_the_graph_as_in_the_list() -> None:
    view = busy_run()
    told = {row.name: row.since for row in runview.rows(view, None, NOW)}
    since = {node.label: node.since for node in runview.nodes(view, None, NOW)}
    assert any(since.values()) and since == {name: told[name] for name in since}


def test_an_approval_that_waits_is_not_told_of_again_beside_the_head_of_the_run() -> None:
    none = StepLog(Log(Path("none")), 0, False)
    asks = step("Ship it?", "waiting", 0, None, kind="approval", reason="0 of 1 approved for production")
    view = replace(busy_run(), summary=summary(state="waiting", counts={"waiting": 1}), steps=(asks,), approvals=())
    panel = runview.panel(view, asks, none, 0, runview.Shown())
    assert (panel.about, "State" in dict(panel.facts), panel.empty) == ("", False, "People are asked above.")
    other = replace(asks, key="other#1", reason="1 of 2 approved for staging")
    panel = runview.panel(replace(view, steps=(asks, other)), other, none, 0, runview.Shown())
    assert panel.about == "1 of 2 approved for staging"


def test_a_step_that_sleeps_says_until_when() -> None:
    view = busy_run()
    night = replace(view.steps[0], kind="sleep", state="waiting", due=NOW + 3600, ended_at=None)
    none = StepLog(Log(Path("none")), 0, False)
    panel = runview.panel(view, night, none, 0, runview.Shown())
    assert (panel.empty, panel.until) == ("It sleeps until", NOW + 3600)
    panel = runview.panel(view, replace(night, state="passed"), none, 0, runview.Shown())
    assert (panel.empty, panel.until) == ("A sleep has no log.", None)
